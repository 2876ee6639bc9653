//! What is written down is what the program does: JSON Schemas from the types, README's tables from action.yml.
//! `UPDATE_DOCS=1 cargo test --test it docs` writes both anew.

use crate::support::Result;
use anyhow::{Context, ensure};
use clap::CommandFactory;
use saphyr::{LoadableYamlNode, Yaml};
use savepoint::{
    cli::{self, Command},
    config,
    vault::{FailedRun, Manifest, Proof},
};
use std::{collections::BTreeMap, fs, path::PathBuf};

const CURE: &str = "run UPDATE_DOCS=1 cargo test --test it docs, and look at what it changed";

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares a file with what it should be, or writes it.
pub fn same(name: &str, expected: &str) -> Result {
    let path = path(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected)?;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
    ensure!(found == expected, "{name} is stale ({differs:?}); {CURE}");
    Ok(())
}

fn schema<T: schemars::JsonSchema>() -> Result<String> {
    Ok(serde_json::to_string_pretty(&schemars::schema_for!(T))? + "\n")
}

#[test]
fn the_json_schemas_are_those_of_the_types() -> Result {
    same("docs/manifest.schema.json", &schema::<Manifest>()?)?;
    same("docs/failure.schema.json", &schema::<FailedRun>()?)?;
    same("docs/proof.schema.json", &schema::<Proof>()?)
}

/// Name, description and default of each entry of one part of action.yml, in its order.
pub fn action(part: &str) -> Result<Vec<(String, String, String)>> {
    let documents = Yaml::load_from_str(&fs::read_to_string(path("action.yml"))?)?;
    let entries = documents[0].as_mapping_get(part).and_then(Yaml::as_mapping).context("action.yml lacks a part")?;
    let field = |node: &Yaml, key| node.as_mapping_get(key).and_then(Yaml::as_str).unwrap_or_default().to_owned();
    let entry = |(name, node): (&Yaml, &Yaml)| {
        let name = name.as_str().context("a name is no string")?.to_owned();
        Ok((name, field(node, "description"), field(node, "default")))
    };
    entries.iter().map(entry).collect()
}

/// A cell in the way Markdown shows it as code; nothing for nothing.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// README with the table between `<!-- name -->` and `<!-- /name -->` made anew.
fn with_table(readme: &str, name: &str, table: &str) -> Result<String> {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = readme.split_once(&open).with_context(|| format!("README has no {open}"))?;
    let (_, after) = rest.split_once(&close).with_context(|| format!("README has no {close}"))?;
    Ok(format!("{before}{open}{table}{close}{after}"))
}

/// The examples in README's table of inputs: the only column that is written by hand.
fn examples(readme: &str) -> BTreeMap<String, String> {
    let table = readme.split("<!-- inputs -->").nth(1).and_then(|t| t.split("<!-- /inputs -->").next()).unwrap_or("");
    let cell = |text: &str| text.trim().trim_matches('`').to_owned();
    let rows = table.lines().map(|line| line.split('|').collect::<Vec<_>>()).filter(|cells| cells.len() == 6);
    // Behind the names of the columns and the line under them.
    rows.skip(2).map(|cells| (cell(cells[1]), cell(cells[3]))).collect()
}

#[test]
fn readme_tables_are_those_of_action_yml() -> Result {
    let readme = fs::read_to_string(path("README.md"))?;
    let examples = examples(&readme);
    let mut inputs = String::from("| input | default | example | meaning |\n|---|---|---|---|\n");
    for (name, description, default) in action("inputs")? {
        let example = examples.get(&name).map(String::as_str).unwrap_or_default();
        ensure!(!description.contains('|'), "{name}: a | would end the cell");
        inputs += &format!("| `{name}` | {} | {} | {description} |\n", code(&default), code(example));
    }
    let mut outputs = String::from("| output | meaning |\n|---|---|\n");
    for (name, description, _) in action("outputs")? {
        outputs += &format!("| `{name}` | {description} |\n");
    }
    same("README.md", &with_table(&with_table(&readme, "inputs", &inputs)?, "outputs", &outputs)?)
}

/// A folder with the private keys that examples name.
fn workspace() -> Result<tempfile::TempDir> {
    let workspace = tempfile::tempdir()?;
    let key = age::x25519::Identity::generate().to_string();
    fs::write(workspace.path().join("key.txt"), age::secrecy::ExposeSecret::expose_secret(&key))?;
    // Roots in which nobody has to believe.
    fs::write(workspace.path().join("company-ca.pem"), include_str!("fixtures/ca.pem"))?;
    let key = minisign::KeyPair::generate_unencrypted_keypair()?.sk.to_box(None)?;
    fs::write(workspace.path().join("backup-key"), key.into_string())?;
    fs::write(workspace.path().join("checks.sql"), "SELECT 1 WHERE false")?;
    Ok(workspace)
}

#[test]
fn readme_examples_are_accepted_together() -> Result {
    let examples = examples(&fs::read_to_string(path("README.md"))?);
    for (name, _, default) in action("inputs")? {
        let example = examples.get(&name).with_context(|| format!("README has no row for {name}; {CURE}"))?;
        ensure!(!example.is_empty(), "README has no example for {name}");
        ensure!(*example != default, "README's example for {name} is its default and shows nothing");
    }
    let workspace = workspace()?;
    let env = |name: &str| {
        if name == "GITHUB_WORKSPACE" {
            return Some(workspace.path().display().to_string());
        }
        if name == "GITHUB_REPOSITORY" {
            return Some("acme/shop".to_owned());
        }
        let input = name.strip_prefix("INPUT_")?.to_lowercase();
        if input == "ca-file" {
            return Some(path("tests/it/fixtures/ca.pem").display().to_string());
        }
        examples.get(&input).cloned()
    };
    let command = cli::parse(vec!["savepoint".into(), "action".into()], &env).map_err(|e| anyhow::anyhow!("{e}"))?;
    let Command::Action(action) = command else { anyhow::bail!("not the action") };
    let parsed = config::backup(&(&*action).into(), &env)?;
    // Only what really arrived shows that names and values were read.
    ensure!(parsed.config.engine.jobs != 4 && parsed.config.verify_url.is_some());
    ensure!(
        parsed.notify.names()
            == [
                "Slack",
                "the mail server",
                "Discord",
                "Microsoft Teams",
                "Telegram",
                "ntfy",
                "the webhook",
                "the pull request",
                "the heartbeat's monitor",
            ]
            && parsed.config.prune.is_some()
            && parsed.config.max_rate.is_some()
            && parsed.config.signer.is_some()
    );
    Ok(())
}

/// Some options of the other verbs exclude each other (`swap` and `clean`): each is tried alone, with every verb that has it.
#[test]
fn readme_examples_are_accepted_by_each_verb() -> Result {
    let examples = examples(&fs::read_to_string(path("README.md"))?);
    let cli = cli::Cli::command();
    let needed: &[(&str, &[&str])] = &[
        ("restore", &["destination", "to"]),
        ("verify", &["destination"]),
        ("list", &["destination"]),
        ("show", &["destination"]),
        ("diff", &["destination", "backup", "compare-with"]),
        ("prune", &["destination"]),
        ("report", &["destination"]),
        ("setup-role", &["database-url"]),
        ("validate", &["destination", "database-url", "against"]),
    ];
    // A key is used with its kind of encryption only, a lock has a mode and a time, and `confirm` says what `clean` does.
    let together = |name: &str| -> &[&str] {
        match name {
            "s3-kms-key-id" => &["s3-sse"],
            "s3-object-lock-mode" => &["s3-object-lock-days"],
            "s3-object-lock-days" => &["s3-object-lock-mode"],
            "smtp-url" | "mail-to" | "mail-from" => &["smtp-url", "mail-to"],
            "telegram-bot-token" => &["telegram-chat-id"],
            "telegram-chat-id" | "telegram-api-url" => &["telegram-chat-id", "telegram-bot-token"],
            "ntfy-token" => &["ntfy-url"],
            "webhook-secret" => &["webhook-url"],
            "report-to" | "github-token" => &["report-to", "github-token"],
            name if name.starts_with("rehearse-") => &["rehearse"],
            _ => &[],
        }
    };
    let mut tried = std::collections::BTreeSet::new();
    let workspace = workspace()?;
    for &(verb, needed) in needed {
        let verb_options = cli.find_subcommand(verb).context("no such verb")?.get_arguments();
        for name in verb_options.filter_map(|arg| arg.get_long()) {
            let Some(example) = examples.get(name) else { continue };
            tried.insert(name.to_owned());
            let env = |key: &str| {
                if key == "GITHUB_WORKSPACE" {
                    return Some(workspace.path().display().to_string());
                }
                if key == "GITHUB_REPOSITORY" {
                    return Some("acme/shop".to_owned());
                }
                let input = key.strip_prefix("INPUT_")?.to_lowercase();
                let given =
                    input == name || needed.contains(&input.as_str()) || together(name).contains(&input.as_str());
                match input.as_str() {
                    "command" => Some(verb.to_owned()),
                    // By its time it is not what an id names.
                    "backup" if name == "before" => Some("latest".to_owned()),
                    "to" if verb == "report" => Some("./public".to_owned()),
                    _ if input == name => Some(example.clone()),
                    _ => examples.get(&input).filter(|_| given).cloned(),
                }
            };
            let command =
                cli::parse(vec!["savepoint".into(), "action".into()], &env).map_err(|e| anyhow::anyhow!("{e}"))?;
            let Command::Action(action) = command else { anyhow::bail!("not the action") };
            let accepted = match verb {
                "restore" => config::restore(&(&*action).into(), &env).map(drop),
                "verify" => config::verify(&(&*action).into(), &env).map(drop),
                "list" => config::listing(&(&*action).into(), &env).map(drop),
                "show" => config::show(&(&*action).into(), &env).map(drop),
                "diff" => config::diff(&(&*action).into(), &env).map(drop),
                "report" => config::report(&(&*action).into(), &env).map(drop),
                "validate" => config::validate(&(&*action).into(), &env).map(drop),
                "setup-role" => config::setup_role(&(&*action).into(), &env).map(drop),
                _ => config::prune(&(&*action).into(), &env).map(drop),
            };
            accepted.with_context(|| format!("{verb} with README's example for {name}"))?;
        }
    }
    let of_backup = cli.find_subcommand("check").context("no such verb")?;
    let untried = examples.keys().filter(|name| {
        !tried.contains(*name)
            && *name != "command"
            && !of_backup.get_arguments().any(|arg| arg.get_long() == Some(name))
    });
    ensure!(untried.clone().count() == 0, "no verb has {:?}", untried.collect::<Vec<_>>());
    Ok(())
}

/// README tells every exit code, and each of its links to a file of this tree leads somewhere.
#[test]
fn readme_links_lead_somewhere() -> Result {
    let readme = fs::read_to_string(path("README.md"))?;
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let here: Vec<&str> = links.filter(|l| !l.is_empty() && !l.contains("://")).collect();
    ensure!(here.len() > 10, "the links were not read");
    let lost: Vec<_> = here.iter().filter(|link| !path(link).exists()).collect();
    ensure!(lost.is_empty(), "README links to {lost:?}");
    for code in 0..=4 {
        ensure!(readme.contains(&format!("\n| {code} | ")), "README does not tell exit code {code}");
    }
    Ok(())
}

/// Every error that README's last table quotes stands in the program; `…` there is what a run fills in.
#[test]
fn readme_quotes_real_messages() -> Result {
    let mut sources = String::new();
    let mut folders = vec![path("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            match entry?.path() {
                folder if folder.is_dir() => folders.push(folder),
                file if file.extension().is_some_and(|e| e == "rs") => sources += &fs::read_to_string(file)?,
                _ => {}
            }
        }
    }
    let readme = fs::read_to_string(path("README.md"))?;
    let table = readme.split("## Troubleshooting").nth(1).and_then(|t| t.split("\n## ").next()).context("no table")?;
    let messages: Vec<&str> = table.lines().filter_map(|l| l.split('|').nth(1)?.split('`').nth(1)).collect();
    ensure!(messages.len() > 10, "the table was not read");
    // What AWS answers; the rest of that line is put together from it.
    let ours = messages.iter().filter(|m| !m.starts_with("AccessDenied"));
    for fragment in ours.flat_map(|m| m.split('…')).map(str::trim) {
        ensure!(sources.contains(fragment), "README quotes {fragment:?}, which no source file holds");
    }
    Ok(())
}
