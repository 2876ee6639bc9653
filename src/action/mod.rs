//! The GitHub runner's protocol: masks, annotations, groups, outputs and the step summary
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>). Inputs are read by
//! [`crate::cli::parse`].

use crate::{
    cli::ActionArgs,
    crypt::is_key,
    error::{Error, Kind, Result, io},
    report::{BackupReport, Page, Report},
    secret::Secret,
    sign::is_secret,
};
use percent_encoding::percent_decode_str;
use std::{borrow::Cow, fmt::Write as _, fs::OpenOptions, io::Write as _, path::Path};

/// The step summary's limit in bytes; the runner drops a larger one as a whole.
const SUMMARY_LIMIT: u64 = 1024 * 1024;

/// Every output that any verb may have, as action.yml declares them: the runner drops others without a word.
const OUTPUTS: [&str; 20] = [
    "age-seconds",
    "backup-id",
    "bytes",
    "database",
    "deleted",
    "duration-seconds",
    "freed-bytes",
    "kept",
    "manifest-sha256",
    "manifest-uri",
    "postgres-version",
    "rehearsal",
    "restore-command",
    "rows",
    "rto-seconds",
    "stored-bytes",
    "tables",
    "uri",
    "validated",
    "verified",
];

/// `::add-mask::` commands for every secret in the options and the environment: whole URLs, and the passwords in them
/// raw and percent-decoded. They must be the first lines that the process prints.
pub fn masks(raw: &ActionArgs, env: &dyn Fn(&str) -> Option<String>) -> String {
    let mut secrets = Vec::new();
    let (database, verify, to) = (&raw.source.database_url, &raw.server.verify_url, &raw.target.to);
    let told = raw.notify.secrets().map(|(_, secret)| secret);
    // Of a report or a copy it is a place, whose name would be blotted out wherever it stands.
    let to = to.as_ref().filter(|to| raw.command.trim() == "restore" || to.expose().contains('@'));
    let urls = [database.as_ref(), verify.as_ref(), to].into_iter().chain(told.map(Option::as_ref));
    let mut texts: Vec<String> = urls.flatten().map(|url| url.expose().to_owned()).collect();
    texts.extend(["DATABASE_URL", "INPUT_DATABASE-URL", "SAVEPOINT_DATABASE_URL"].iter().filter_map(|name| env(name)));
    for text in texts {
        secrets.extend(passwords(&text));
        secrets.push(text);
    }
    secrets.extend(env("PGPASSWORD"));
    // The name of a file is no secret, and would be blotted out wherever it stands.
    let named = [&raw.identity.identity, &raw.sign.sign_key].into_iter().flatten().map(|key| key.expose().to_owned());
    let keys = named.chain(["SAVEPOINT_IDENTITY", "SAVEPOINT_SIGN_KEY"].iter().filter_map(|name| env(name)));
    secrets.extend(keys.filter(|text| is_key(text) || is_secret(text)));
    secrets.extend(env("SAVEPOINT_SIGN_PASSWORD"));
    mask(secrets)
}

/// `::add-mask::` commands for a resolved password, which may come from a password file.
pub fn mask_passwords<'a>(passwords: impl IntoIterator<Item = &'a Secret>) -> String {
    mask(passwords.into_iter().map(|p| p.expose().to_owned()).collect())
}

fn mask(secrets: Vec<String>) -> String {
    // The runner masks line by line, and an empty mask is an error to it.
    let mut lines: Vec<&str> =
        secrets.iter().flat_map(|s| s.lines()).map(str::trim).filter(|l| !l.is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.iter().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "::add-mask::{}", data(line));
        out
    })
}

/// Everything in a connection string that may be its password; too much rather than too little.
fn passwords(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |raw: &str| {
        found.push(raw.to_owned());
        found.push(percent_decode_str(raw).decode_utf8_lossy().into_owned());
    };
    if let Some((_, rest)) = text.split_once("://") {
        // A password may hold an unencoded @ or /: the last @ in front of the query ends it.
        let authority = rest.split('?').next().unwrap_or(rest);
        if let Some((_, password)) = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
            add(password);
        }
        if let Some((_, password)) = rest.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
            add(password);
        }
    }
    for (at, word) in text.match_indices("password") {
        let Some(value) = text.get(at + word.len()..).map(str::trim_start).and_then(|t| t.strip_prefix('=')) else {
            continue;
        };
        let value = value.trim_start();
        if let Some(quoted) = value.strip_prefix('\'') {
            // Keyword strings escape a quote and a backslash by a backslash.
            let mut end = 0;
            let mut escaped = false;
            for (i, c) in quoted.char_indices() {
                end = i;
                if c == '\'' && !escaped {
                    break;
                }
                escaped = c == '\\' && !escaped;
            }
            let inner = quoted.get(..end).unwrap_or_default();
            add(inner);
            add(&inner.replace("\\'", "'").replace("\\\\", "\\"));
        } else {
            add(value.split(|c: char| c.is_whitespace() || c == '&').next().unwrap_or_default());
        }
    }
    found
}

/// Data of a workflow command: `%`, CR and LF encoded.
pub fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command: also `:` and `,` encoded.
pub fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// An `::error` or `::warning` line, hint below the message.
pub fn annotation(level: &str, title: &str, message: &str, hint: Option<&str>) -> String {
    let text = match hint {
        Some(hint) => format!("{message}\nhint: {hint}"),
        None => message.to_owned(),
    };
    format!("::{level} title={}::{}\n", property(title), data(&text))
}

/// The annotations of a report: what failed with its cure, and the warnings.
pub fn annotations(report: &Report) -> String {
    match report {
        Report::Backup(report) => of_backup(report),
        Report::Page(page) => of_page(page),
        Report::Plan(_) | Report::Checks(_) => String::new(),
    }
}

fn of_backup(report: &BackupReport) -> String {
    let mut out = String::new();
    if let Some(failure) = &report.failure {
        let title = format!("savepoint: {} failed", failure.phase);
        out.push_str(&annotation("error", &title, &failure.message, failure.hint.as_deref()));
    } else if let Some(copy) = report.lost_copy().filter(|_| report.exit_code() == 4) {
        let why = format!("{}: {}", copy.destination, copy.why.as_deref().unwrap_or("it holds no good copy"));
        out.push_str(&annotation("error", "savepoint: a copy is missing", &why, copy.hint.as_deref()));
    } else if let Some(why) = report.pruned.as_ref().and_then(|p| p.failure.as_ref()) {
        let hint = report.pruned.as_ref().and_then(|p| p.hint.as_deref());
        out.push_str(&annotation("error", "savepoint: pruning failed", why, hint));
    } else if report.exit_code() == 4 {
        out.push_str(&annotation(
            "error",
            &report.headline(),
            "an anomaly was found, and fail-on-anomaly is set",
            None,
        ));
    } else if report.exit_code() != 0 {
        let shown = report.proof.iter().flat_map(|p| &p.differences).take(10).cloned().collect::<Vec<_>>().join("\n");
        out.push_str(&annotation("error", &report.headline(), &shown, None));
    }
    for anomaly in &report.anomalies {
        out.push_str(&annotation("warning", "savepoint: anomaly", anomaly, None));
    }
    for warning in &report.warnings {
        out.push_str(&annotation("warning", "savepoint", warning, None));
    }
    out
}

fn of_page(page: &Page) -> String {
    let mut out = String::new();
    if let Some(failure) = &page.failure {
        let title = format!("savepoint: {} failed", failure.phase);
        out.push_str(&annotation("error", &title, &failure.message, failure.hint.as_deref()));
    } else if page.exit_code != 0 {
        let shown: Vec<&str> = page.lists.iter().flat_map(|(_, items)| items).take(10).map(String::as_str).collect();
        out.push_str(&annotation("error", &page.headline, &shown.join("\n"), None));
    }
    for warning in &page.warnings {
        out.push_str(&annotation("warning", "savepoint", warning, None));
    }
    out
}

/// Text for the log that the runner cannot take for a command: it looks for `::` at the start of a line, blanks
/// ignored, and for `##[` anywhere, in both output streams; CR, LF and NEL end a line to it.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let starts = text.split(['\n', '\r', '\u{85}']).any(|line| line.trim_start().starts_with("::"));
    if !starts && !text.contains("##[") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for line in text.split_inclusive(['\n', '\r', '\u{85}']) {
        let body = line.trim_start();
        if let Some(rest) = body.strip_prefix("::") {
            out.push_str(line.get(..line.len() - body.len()).unwrap_or_default());
            out.push_str(": :");
            out.push_str(rest);
        } else {
            out.push_str(line);
        }
    }
    Cow::Owned(out.replace("##[", "## ["))
}

/// Appends outputs to the file that `GITHUB_OUTPUT` names, each between lines of a random delimiter, so that no value
/// can end itself and begin another output.
///
/// # Errors
/// [`Kind::Io`] when the file cannot be written.
pub fn write_outputs(path: &Path, outputs: &[(&str, String)]) -> Result<()> {
    let mut text = String::new();
    for (name, value) in outputs {
        debug_assert!(OUTPUTS.contains(name), "action.yml declares no output {name}");
        let delimiter = format!("savepoint_{}", uuid::Uuid::new_v4().simple());
        let _ = writeln!(text, "{name}<<{delimiter}\n{value}\n{delimiter}");
    }
    append(path, &text)
}

/// Appends Markdown to the file that `GITHUB_STEP_SUMMARY` names, as far as it fits.
///
/// # Errors
/// [`Kind::Io`] when the file cannot be written.
pub fn write_summary(path: &Path, markdown: &str) -> Result<()> {
    const CUT: &str = "\n\n… cut here: the step summary is full\n";
    let used = std::fs::metadata(path).map_or(0, |m| m.len());
    let room = usize::try_from(SUMMARY_LIMIT.saturating_sub(used)).unwrap_or(0);
    if markdown.len() < room {
        return append(path, &format!("{markdown}\n"));
    }
    if room <= CUT.len() {
        return Err(Error::new(Kind::Io, "the step summary is full"));
    }
    let mut end = room - CUT.len();
    while !markdown.is_char_boundary(end) {
        end -= 1;
    }
    append(path, &format!("{}{CUT}", markdown.get(..end).unwrap_or_default()))
}

fn append(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(io(format!("writing {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli,
        report::{
            fixture,
            render::{Renderer as _, terminal::PLAIN},
        },
        vault::RunContext,
    };
    use saphyr::{LoadableYamlNode, Yaml};
    use std::collections::BTreeMap;

    fn raw(options: &[&str]) -> Box<ActionArgs> {
        let argv = ["savepoint", "action"].iter().chain(options).map(Into::into).collect();
        match cli::parse(argv, &|_| None).expect("parses") {
            cli::Command::Action(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn masked(options: &[&str], env: &[(&str, &str)]) -> Vec<String> {
        let env = |key: &str| env.iter().find(|(k, _)| *k == key).map(|(_, v)| v.to_string());
        let text = masks(&raw(options), &env);
        text.lines().map(|l| l.strip_prefix("::add-mask::").expect("is a mask").to_owned()).collect()
    }

    #[test]
    fn whole_urls_and_passwords_are_masked_raw_and_decoded() {
        let masks = masked(
            &[
                "--database-url=postgresql://u:p%40s%25@h:5432/d?sslmode=require",
                "--verify-url=host=h password='it\\'s two' user=u",
                "--slack-webhook-url=https://hooks.slack.com/services/T/B/x",
                "--heartbeat-url=https://hc-ping.com/uuid",
                "--to=postgresql://u:target@h/d",
            ],
            &[("PGPASSWORD", "from%env\nline two"), ("DATABASE_URL", "postgresql://h/d?user=u&password=query")],
        );
        for secret in [
            "postgresql://u:p%2540s%2525@h:5432/d?sslmode=require",
            "p%2540s%2525",
            "p@s%25",
            "it's two",
            "https://hooks.slack.com/services/T/B/x",
            "https://hc-ping.com/uuid",
            "target",
            "from%25env",
            "line two",
            "query",
        ] {
            assert!(masks.contains(&secret.to_owned()), "{secret} in {masks:?}");
        }
    }

    #[test]
    fn a_password_with_an_unencoded_at_or_question_mark_is_masked() {
        assert!(masked(&["--database-url=postgresql://u:p@ss@h/d"], &[]).contains(&"p@ss".to_owned()));
        assert!(masked(&["--database-url=postgresql://u:p?ss@h/d"], &[]).contains(&"p?ss".to_owned()));
        assert!(masked(&["--database-url=postgresql://u:p/ss@h/d"], &[]).contains(&"p/ss".to_owned()));
    }

    #[test]
    fn no_mask_is_empty() {
        assert!(masked(&["--database-url=postgresql://u:@h/d"], &[("PGPASSWORD", "")]).iter().all(|m| !m.is_empty()));
    }

    #[test]
    fn annotations_stay_one_line_each() {
        let text = annotation("error", "a: b, c", "100 %\r\n::warning::x", Some("do\nthis"));
        assert_eq!(text, "::error title=a%3A b%2C c::100 %25%0D%0A::warning::x%0Ahint: do%0Athis\n");
        let report = of_backup(&fixture::hostile());
        assert_eq!(report.lines().count(), 3, "{report}");
        assert!(report.starts_with("::error title=savepoint%3A compare failed::x%0A::error::owned"), "{report}");
        // A proof that failed without an error still has an annotation.
        assert!(of_backup(&fixture::proof_failed()).contains("3 rows fewer"));
        assert_eq!(of_backup(&fixture::proven()), "");
        let anomalous = of_backup(&fixture::anomalous());
        let levels: Vec<&str> = anomalous.lines().filter_map(|l| l.split(' ').next()).collect();
        assert_eq!(levels, ["::error", "::warning", "::warning"], "{anomalous}");
    }

    #[test]
    fn nothing_from_elsewhere_starts_a_command() {
        let text = "ok\n  ::error::x\r::stop-commands::y\u{85}\t::z\na ##[error]b :: c\n";
        let safe = harmless(text);
        assert_eq!(safe, "ok\n  : :error::x\r: :stop-commands::y\u{85}\t: :z\na ## [error]b :: c\n");
        assert!(matches!(harmless("a :: b\n"), Cow::Borrowed(_)));
        for (_, report) in fixture::all() {
            assert!(!harmless(&PLAIN.render(&report.into(), &RunContext::default())).contains("##["));
        }
    }

    #[test]
    fn outputs_cannot_end_themselves() {
        let dir = tempfile::tempdir().expect("has a folder");
        let path = dir.path().join("output");
        std::fs::write(&path, "before=1\n").expect("is writable");
        write_outputs(&path, &[("uri", "a\nEOF\nevil=1".into()), ("rows", "3".into())]).expect("is written");
        let text = std::fs::read_to_string(&path).expect("is readable");
        let lines: Vec<&str> = text.lines().collect();
        let delimiter = lines[1].strip_prefix("uri<<").expect("has a delimiter");
        assert!(delimiter.len() > 40 && lines[5] == delimiter, "{text}");
        assert_ne!(lines[6], format!("rows<<{delimiter}"));
        assert_eq!(lines[7], "3");
    }

    #[test]
    fn outputs_are_those_of_the_action() {
        let declared: Vec<String> = metadata("outputs").into_keys().collect();
        assert_eq!(declared, OUTPUTS);
        for (name, _) in fixture::proven().outputs() {
            assert!(OUTPUTS.contains(&name), "{name}");
        }
        insta::assert_debug_snapshot!("outputs", fixture::proven().outputs());
        assert_eq!(fixture::failed().outputs()[0], ("verified", "false".to_owned()));
    }

    #[test]
    fn the_summary_is_appended_and_capped() {
        let dir = tempfile::tempdir().expect("has a folder");
        let path = dir.path().join("summary");
        write_summary(&path, "one").expect("is written");
        write_summary(&path, &"ü".repeat(1024 * 1024)).expect("is written");
        let text = std::fs::read_to_string(&path).expect("is UTF-8");
        assert!(text.starts_with("one\nü") && text.ends_with("full\n"));
        assert!(text.len() <= 1024 * 1024 && text.len() > 1024 * 1024 - 4, "{}", text.len());
        assert!(write_summary(&path, "more").is_err());
    }

    /// One part of action.yml (`inputs` or `outputs`): by name the description and the default.
    fn metadata(part: &str) -> BTreeMap<String, (String, Option<String>)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/action.yml");
        let text = std::fs::read_to_string(path).expect("action.yml is there");
        let documents = Yaml::load_from_str(&text).expect("action.yml is YAML");
        let text = |node: &Yaml, key| node.as_mapping_get(key).and_then(Yaml::as_str).map(str::to_owned);
        let entries = documents[0].as_mapping_get(part).and_then(Yaml::as_mapping).expect("has this part");
        entries
            .iter()
            .map(|(name, node)| {
                let name = name.as_str().expect("is a string").to_owned();
                assert!(node.as_mapping_get("required").is_none(), "{name}: savepoint says itself what is missing");
                let description = text(node, "description").expect("has a description");
                assert!(!description.is_empty() && description.lines().count() == 1, "{name} has one line");
                (name, (description, text(node, "default")))
            })
            .collect()
    }

    #[test]
    fn action_yml_and_the_command_line_are_one() {
        use clap::CommandFactory as _;
        let cli = cli::Cli::command();
        let verb = cli.find_subcommand("action").expect("exists");
        let mut inputs = metadata("inputs");
        for arg in verb.get_arguments().filter(|a| a.get_action().takes_values()) {
            let name = arg.get_long().expect("has a name");
            let (_, default) = inputs.remove(name).unwrap_or_else(|| panic!("action.yml has no input {name}"));
            let expected = arg.get_default_values().first().map(|d| d.to_string_lossy().into_owned());
            assert_eq!(default, expected, "default of {name}");
        }
        assert!(inputs.is_empty(), "unknown to the command line: {:?}", inputs.keys());
    }
}
