//! The examples and workflows are what the action takes and what GitHub runs: their inputs and outputs are declared, the program
//! accepts their values, actions are pinned, and no linter has anything to say; and each linter is seen to say something.

use crate::{
    docs::{action, path},
    support::{Result, run::Savepoint, scratch},
};
use anyhow::{Context, bail, ensure};
use saphyr::{LoadableYamlNode, Yaml};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Every workflow of ours, and every example.
fn workflows() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for folder in [".github/workflows", "examples"] {
        for entry in fs::read_dir(path(folder))? {
            let file = entry?.path();
            if file.extension().is_some_and(|e| e == "yml") {
                let name = file.file_name().context("no name")?.to_string_lossy().into_owned();
                found.push((format!("{folder}/{name}"), fs::read_to_string(&file)?));
            }
        }
    }
    found.sort();
    ensure!(found.len() > 15, "workflows were not found: {found:?}");
    Ok(found)
}

/// One use of this action: its step's id, its inputs, and the variables that it is given.
#[derive(Debug)]
struct Step {
    file: String,
    id: Option<String>,
    inputs: BTreeMap<String, String>,
    env: Vec<String>,
}

/// A scalar as GitHub reads it: text, whatever it looks like.
fn text(node: &Yaml) -> Result<String> {
    Ok(match node {
        _ if node.as_str().is_some() => node.as_str().unwrap_or_default().to_owned(),
        _ if node.as_bool().is_some() => node.as_bool().unwrap_or_default().to_string(),
        _ if node.as_integer().is_some() => node.as_integer().unwrap_or_default().to_string(),
        _ => bail!("not a plain value: {node:?}"),
    })
}

/// All uses of this action, under its placeholder's name or from the checked-out folder.
fn steps() -> Result<Vec<Step>> {
    let mut found = Vec::new();
    for (file, content) in workflows()? {
        let documents = Yaml::load_from_str(&content).with_context(|| file.clone())?;
        let jobs = documents[0].as_mapping_get("jobs").and_then(Yaml::as_mapping).with_context(|| file.clone())?;
        for job in jobs.values() {
            for step in job.as_mapping_get("steps").and_then(Yaml::as_sequence).into_iter().flatten() {
                let uses = step.as_mapping_get("uses").and_then(Yaml::as_str).unwrap_or_default();
                ensure!(!uses.contains("savepoint@") || uses == "your-org/savepoint@v1", "{file}: uses {uses}");
                if uses != "./" && uses != "your-org/savepoint@v1" {
                    continue;
                }
                let with = step.as_mapping_get("with").and_then(Yaml::as_mapping);
                let pair = |(name, value): (&Yaml, &Yaml)| Ok((text(name)?, text(value)?));
                let inputs =
                    with.into_iter().flatten().map(pair).collect::<Result<_>>().with_context(|| file.clone())?;
                let id = step.as_mapping_get("id").and_then(Yaml::as_str).map(str::to_owned);
                let env = step.as_mapping_get("env").and_then(Yaml::as_mapping).into_iter().flatten();
                let env = env.map(|(name, _)| text(name)).collect::<Result<_>>()?;
                found.push(Step { file: file.clone(), id, inputs, env });
            }
        }
    }
    ensure!(found.len() > 12, "steps were not found: {found:?}");
    Ok(found)
}

#[test]
fn inputs_are_declared_and_complete() -> Result {
    let declared: BTreeSet<String> = action("inputs")?.into_iter().map(|(name, ..)| name).collect();
    let mut wrong = Vec::new();
    for Step { file, inputs, .. } in steps()? {
        wrong.extend(inputs.keys().filter(|i| !declared.contains(*i)).map(|i| format!("{file}: no input {i}")));
        let command = inputs.get("command").map_or("backup", String::as_str);
        let needs: &[&str] = match command {
            "backup" | "check" => &["database-url", "destination"],
            "restore" => &["backup", "destination", "to"],
            "copy" => &["destination", "to"],
            "report" => &["destination"],
            "diff" | "list" | "prune" | "show" | "verify" => &["destination"],
            _ => bail!("{file}: no command {command}"),
        };
        wrong.extend(needs.iter().filter(|n| !inputs.contains_key(**n)).map(|n| format!("{file}: {n} is missing")));
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// The program itself is asked, with an address where no server is: it must get as far as to find none.
#[tokio::test]
async fn inputs_are_accepted() -> Result {
    // All at once: each tries for some seconds to reach its server.
    let runs = futures_util::future::join_all(steps()?.into_iter().map(async |step| {
        let run = Savepoint::new(["action"])?.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
        let run = run.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").env("AWS_MAX_ATTEMPTS", "1");
        let run = run.env("GITHUB_REPOSITORY", "acme/shop").env("GITHUB_REF", "refs/pull/7/merge");
        let of_its_own = step.env.iter().filter(|name| !name.starts_with("AWS_"));
        let run = of_its_own.fold(run, |run, name| {
            run.env(
                name,
                match name.as_str() {
                    "SAVEPOINT_SFTP_KEY" => {
                        "-----BEGIN OPENSSH PRIVATE KEY-----\neA==\n-----END OPENSSH PRIVATE KEY-----\n"
                    }
                    "SAVEPOINT_SFTP_KNOWN_HOSTS" => "backups.example.com ssh-ed25519 eA==",
                    "AZURE_STORAGE_CONNECTION_STRING" => {
                        "AccountName=a;AccountKey=eA==;BlobEndpoint=http://127.0.0.1:1/a"
                    }
                    _ => "x",
                },
            )
        });
        let run = step.inputs.iter().fold(run, |run, (name, value)| {
            let stand_in = match name.as_str() {
                "to" if value.starts_with("./") => value.clone(),
                "database-url" | "to" | "verify-url" => "postgresql://u@127.0.0.1:1/app".to_owned(),
                "slack-webhook-url" | "heartbeat-url" => "https://127.0.0.1:1/hook".to_owned(),
                "s3-endpoint" => "http://127.0.0.1:1".to_owned(),
                // One of several places names its endpoint itself.
                "destination" => filled(value).replace("endpoint=https://", "endpoint=http://127.0.0.1:1/"),
                "backup" if value.contains("${{") => "20261122T030000Z-snapshot-1a2b3c4".to_owned(),
                _ => filled(value),
            };
            run.env(&format!("INPUT_{}", name.to_uppercase()), &stand_in)
        });
        run.run().await?.expect(1).context(step.file)
    }));
    let refused: Vec<String> = runs.await.into_iter().filter_map(|r| r.err().map(|e| format!("{e:#}"))).collect();
    ensure!(refused.is_empty(), "{refused:#?}");
    Ok(())
}

/// An input's value with a word for each expression.
fn filled(value: &str) -> String {
    let mut parts = value.split("${{");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + "name" + part.split_once("}}").map_or("", |(_, rest)| rest))
}

#[test]
fn outputs_are_declared() -> Result {
    let declared: BTreeSet<String> = action("outputs")?.into_iter().map(|(name, ..)| name).collect();
    let steps = steps()?;
    let mut seen = 0;
    for (file, content) in workflows()? {
        for step in steps.iter().filter(|s| s.file == file) {
            let Some(id) = &step.id else { continue };
            for rest in content.split(&format!("steps.{id}.outputs.")).skip(1) {
                let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
                ensure!(declared.contains(&name), "{file}: the action has no output {name}");
                seen += 1;
            }
        }
    }
    ensure!(seen > 10, "only {seen} outputs were found");
    Ok(())
}

/// The tag beside a SHA is what a person reads and dependabot writes: without it, or with two SHAs for one tag, nobody can tell.
#[test]
fn actions_are_pinned_in_one_way() -> Result {
    let mut pins: BTreeMap<String, String> = BTreeMap::new();
    for (file, content) in workflows()? {
        for line in content.lines().filter_map(|l| l.trim().trim_start_matches("- ").strip_prefix("uses: ")) {
            if line.starts_with("./") || line == "your-org/savepoint@v1" {
                continue;
            }
            let (name, pin) = line.split_once('@').with_context(|| format!("{file}: {line}"))?;
            let (sha, tag) = pin.split_once(" # v").with_context(|| format!("{file}: {line} names no tag"))?;
            ensure!(
                sha.len() == 40 && tag.split('.').count() == 3,
                "{file}: {line} is not pinned by a whole SHA and tag"
            );
            let first = pins.entry(name.to_owned()).or_insert_with(|| pin.to_owned());
            ensure!(first == pin, "{file}: {name} is pinned to {pin} here and to {first} elsewhere");
        }
    }
    ensure!(pins.len() > 5, "only {pins:?}");
    Ok(())
}

#[test]
fn headers_are_short() -> Result {
    for (file, content) in workflows()?.iter().filter(|(file, _)| file.starts_with("examples/")) {
        let header = content.lines().take_while(|l| l.starts_with('#')).count();
        ensure!((2..=10).contains(&header), "{file} begins with {header} lines of comment");
    }
    Ok(())
}

/// The actions that a policy allows.
fn allowed(policy: &str) -> Result<BTreeSet<String>> {
    let policy: serde_json::Value = serde_json::from_str(policy)?;
    let statements = policy["Statement"].as_array().context("no statements")?;
    let actions = statements.iter().flat_map(|s| s["Action"].as_array().into_iter().flatten());
    Ok(actions.filter_map(|a| a.as_str()).map(str::to_owned).collect())
}

/// The store names the right that a refused request lacks; those names are all that it ever asks for.
#[test]
fn the_policies_allow_what_the_store_asks_for() -> Result {
    let sources: Vec<_> = fs::read_dir(path("src/store/s3"))?.collect::<std::io::Result<_>>()?;
    let store = sources.iter().map(|f| fs::read_to_string(f.path())).collect::<std::io::Result<String>>()?;
    let named = store.split("\"s3:").skip(1).map(|rest| rest.chars().take_while(char::is_ascii_alphabetic).collect());
    let mut asked: BTreeSet<String> = named.filter(|n: &String| !n.is_empty()).map(|n| format!("s3:{n}")).collect();
    ensure!(asked.len() > 4, "{asked:?}");
    let policy = |name: &str| allowed(&fs::read_to_string(path(&format!("examples/aws/{name}.json")))?);
    let (backup, mut prune, mut put) = (policy("policy")?, policy("prune-policy")?, policy("put-only-policy")?);
    // Locks have rights of their own, which only those need who lock, and who must see what is locked.
    let of_locks = |set: &mut BTreeSet<String>| -> Vec<String> {
        let (locks, rest) =
            std::mem::take(set).into_iter().partition(|a| ["Retention", "Lock", "Hold"].iter().any(|w| a.contains(w)));
        *set = rest;
        let locks: BTreeSet<String> = locks;
        locks.into_iter().collect()
    };
    ensure!(of_locks(&mut asked) == ["s3:GetBucketObjectLockConfiguration"]);
    ensure!(
        of_locks(&mut put) == ["s3:GetBucketObjectLockConfiguration", "s3:PutObjectLegalHold", "s3:PutObjectRetention"]
    );
    ensure!(
        of_locks(&mut prune)
            == ["s3:GetBucketObjectLockConfiguration", "s3:GetObjectLegalHold", "s3:GetObjectRetention"]
    );
    ensure!(put.iter().eq(["s3:AbortMultipartUpload", "s3:PutObject"]), "{put:?}");
    ensure!(backup.union(&prune).eq(&asked), "{backup:?} and {prune:?} are not {asked:?}");
    ensure!(!prune.contains("s3:PutObject"));
    let readme = fs::read_to_string(path("README.md"))?;
    let block = readme.split("```json").nth(1).and_then(|b| b.split("```").next()).context("README has no policy")?;
    ensure!(allowed(block)? == asked, "README's policy is another");
    asked.remove("s3:DeleteObject");
    ensure!(backup == asked, "{backup:?} is not {asked:?}");
    Ok(())
}

/// A copy of what the linters look at, for tests that spoil it.
fn copy_of_the_tree() -> Result<tempfile::TempDir> {
    let dir = scratch()?;
    let kept = [
        ".ci",
        ".github",
        ".typos.toml",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "Dockerfile",
        "action.yml",
        "examples",
        "scripts",
        "src",
        "tests/it/examples.rs",
    ];
    for name in kept {
        let to = dir.path().join(name);
        fs::create_dir_all(to.parent().context("no folder")?)?;
        let done = Command::new("cp").arg("-a").arg(path(name)).arg(&to).status()?;
        ensure!(done.success(), "cp {name}: {done}");
    }
    Ok(dir)
}

/// Runs `scripts/lint.sh files` of a tree: whether it found nothing, and all that it printed. The tools that it lacks go to the
/// tests' own standard error, which no test harness keeps back.
fn lint(tree: &Path) -> Result<(bool, String)> {
    let tools = std::env::var_os("SAVEPOINT_LINT_TOOLS").map_or_else(|| path("target/lint-tools"), PathBuf::from);
    let mut command = Command::new(tree.join("scripts/lint.sh"));
    command.arg("files").env("SAVEPOINT_LINT_TOOLS", tools).env_remove("CI").env_remove("GITHUB_ACTIONS");
    let out = command.stdin(Stdio::null()).output()?;
    let all = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    for line in all.lines().filter(|l| l.contains("NOT CHECKED")) {
        use std::io::Write as _;
        writeln!(std::io::stderr(), "{line}")?;
    }
    Ok((out.status.success(), all))
}

#[test]
fn the_linters_find_nothing() -> Result {
    let (clean, all) = lint(&path(""))?;
    ensure!(clean, "{all}");
    Ok(())
}

/// Each linter is given something to find. One that would be called with the wrong files, or none, would find nothing.
#[test]
fn the_linters_find_what_is_wrong() -> Result {
    let tree = copy_of_the_tree()?;
    let change = |name: &str, from: &str, to: &str| -> Result {
        let file = tree.path().join(name);
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(from), "{name} holds no {from:?}");
        Ok(fs::write(file, text.replace(from, to))?)
    };
    let sha = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1";
    change("examples/roll-back.yml", "steps.migrate.outcome", "steps.migration.outcome")?;
    change("examples/pre-deploy-prisma.yml", sha, "actions/checkout@v7")?;
    change("examples/nightly.yml", "timeout-minutes: 120", "timeout-minutes: soon")?;
    change("examples/checks.sql", "These are examples", concat!("These are exm", "aples"))?;
    change(".github/workflows/ci.yml", "run: make lint", "run: make lint ${{ github.head_ref }}")?;
    change(".github/dependabot.yml", "version: 2", "version: 3")?;
    change("action.yml", "using: docker", "using: container")?;
    change("scripts/release.sh", "grep -qx '  image: Dockerfile'", "grep -qx $2")?;
    change("src/secret.rs", "use std::fmt;", "use crate::notify::Channels;\nuse std::fmt;")?;
    change("Dockerfile", "FROM debian:", "FROM debian:latest AS spoilt\nFROM debian:")?;
    let (clean, all) = lint(tree.path())?;
    ensure!(!clean || all.matches("NOT CHECKED").count() == 6, "nothing was found:\n{all}");
    for (tool, found) in [
        ("actionlint", "property \"migration\" is not defined"),
        ("zizmor", "unpinned-uses"),
        ("zizmor", "template-injection"),
        ("check-jsonschema", "examples/nightly.yml"),
        ("check-jsonschema", ".github/dependabot.yml"),
        ("check-jsonschema", "action.yml"),
        ("typos", concat!("exm", "aples")),
        ("shellcheck", "scripts/release.sh line"),
        ("hadolint", "DL3007"),
        ("modules.py", "modules: a circle of"),
    ] {
        let skipped = all.contains(&format!("NOT CHECKED by {tool}"));
        ensure!(skipped || all.contains(found), "{tool} did not find {found:?}:\n{all}");
    }
    Ok(())
}

/// Runs `scripts/release.sh` of a tree; what it says when it fails.
fn release(tree: &Path, args: &[&str]) -> Result<(bool, String)> {
    let out = Command::new(tree.join("scripts/release.sh")).args(args).output()?;
    Ok((out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()))
}

#[test]
fn a_release_is_checked_and_pinned() -> Result {
    let tree = copy_of_the_tree()?;
    let git = |args: &[&str]| -> Result {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
        let out = Command::new("git").current_dir(tree.path()).args(identity).args(args).output()?;
        ensure!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(())
    };
    git(&["init", "--quiet"])?;
    git(&["remote", "add", "origin", "."])?;
    let version = env!("CARGO_PKG_VERSION");
    let check = |version: &str| release(tree.path(), &["check", version]);
    let refused = |version: &str, reason: &str| -> Result {
        let (passed, said) = check(version)?;
        ensure!(!passed && said.contains(reason), "{version}: {said}");
        Ok(())
    };
    refused("1.2", "no version")?;
    refused("99.0.0", "not 99.0.0")?;
    let changelog =
        "# Changelog\n\n## Unreleased\n\n- Later.\n\n## VERSION - 2026-11-22\n\n- Now.\n\n## 0.0.1\n\n- Before.\n";
    fs::write(tree.path().join("CHANGELOG.md"), changelog.replace("VERSION", "0.0.2"))?;
    refused(version, "no notes")?;
    fs::write(tree.path().join("CHANGELOG.md"), changelog.replace("VERSION", version))?;
    ensure!(check(version)?.0, "{}", check(version)?.1);
    ensure!(release(tree.path(), &["notes", version])?.1.trim() == "- Now.");
    git(&["add", "--all"])?;
    git(&["commit", "--quiet", "--message", "x"])?;
    git(&["tag", &format!("v{version}")])?;
    refused(version, "released already")?;

    let image = format!("ghcr.io/your-org/savepoint@sha256:{}", "0123456789abcdef".repeat(4));
    let before = fs::read_to_string(tree.path().join("action.yml"))?;
    ensure!(!release(tree.path(), &["pin", "ghcr.io/your-org/savepoint:1"])?.0, "a tag is no digest");
    let (pinned, said) = release(tree.path(), &["pin", &image])?;
    ensure!(pinned, "{said}");
    let after = fs::read_to_string(tree.path().join("action.yml"))?;
    ensure!(after == before.replace("image: Dockerfile", &format!("image: docker://{image}")) && after != before);
    ensure!(!release(tree.path(), &["pin", &image])?.0, "it is pinned already");
    Ok(())
}
