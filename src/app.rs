//! What the verbs of the command line do: validate, run, tell. The only module that writes to standard output.

use crate::{
    action, backup,
    cli::{BackupArgs, Command},
    config::{self, BackupConfig, Output, Parsed, SlackConfig},
    error::{Error, Kind, Result},
    notify, preflight,
    progress::{Event, Progress},
    report::{
        Check, Report, Status, json,
        progress::{Console, Style},
        summary, terminal,
    },
};
use serde_json::Value;
use std::{
    io::{IsTerminal, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long an interrupted run may still talk to Slack: a runner kills ten seconds after its first signal.
const LAST_WORDS: Duration = Duration::from_secs(4);

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

enum Verb {
    Backup,
    Check { post: bool },
}

/// Runs a parsed command and returns the process's exit code. Everything that people or the runner read is printed here;
/// under `action` on standard output alone, so that masks stand in front of all else.
pub async fn run(command: Command, env: Env<'_>, cancel: CancellationToken) -> u8 {
    let (raw, verb) = match command {
        Command::Backup(raw) => (raw, Ok(Verb::Backup)),
        Command::Check(check) => (check.backup, config::flag("post", &check.post).map(|post| Verb::Check { post })),
        Command::Action(args) => {
            let verb = match args.command.trim() {
                "backup" => Ok(Verb::Backup),
                "check" => config::flag("post", &args.check.post).map(|post| Verb::Check { post }),
                other => Err(Error::new(Kind::Usage, format!("option command: {other:?} is not known"))
                    .hint("use backup or check")),
            };
            (args.check.backup, verb)
        }
    };
    if raw.in_action {
        print(&action::masks(&raw, env));
    }
    let result = match verb {
        Ok(verb) => execute(&raw, verb, env, cancel).await,
        Err(error) => Err(error),
    };
    result.unwrap_or_else(|error| {
        tell_error(&raw, &error);
        error.exit_code()
    })
}

async fn execute(raw: &BackupArgs, verb: Verb, env: Env<'_>, cancel: CancellationToken) -> Result<u8> {
    let Parsed { config, slack, output, notices } = config::backup(raw, env)?;
    let in_action = raw.in_action;
    if in_action {
        let targets = std::iter::once(&config.source).chain(&config.verify_url);
        print(&action::mask_passwords(targets.filter_map(|t| t.password.as_ref())));
    }
    let console = console(in_action, output);
    for notice in &notices {
        console.event(Event::Notice(notice));
    }
    let progress: Arc<dyn Progress> = console.clone();
    let step_summary = if in_action { env("GITHUB_STEP_SUMMARY") } else { None };
    let interrupted = || Error::new(Kind::Interrupted, "interrupted");
    match verb {
        Verb::Check { post } => {
            let work = check(&config, slack.as_ref(), post, progress);
            let checks =
                tokio::select! { checks = work => checks, () = cancel.cancelled() => return Err(interrupted()) };
            console.finish();
            show(in_action, output, || terminal::checks(&checks), || json::checks(&checks));
            summarise(step_summary, &summary::checks(&checks), &*console);
            Ok(u8::from(checks.iter().any(|c| c.status == Status::Failed)))
        }
        Verb::Backup if output.dry_run => {
            let work = backup::plan(&config, progress);
            let plan = tokio::select! { plan = work => plan?, () = cancel.cancelled() => return Err(interrupted()) };
            console.finish();
            show(in_action, output, || terminal::plan(&plan), || json::plan(&plan));
            summarise(step_summary, &summary::plan(&plan), &*console);
            Ok(u8::from(plan.checks.iter().any(|c| c.status == Status::Failed)))
        }
        Verb::Backup => {
            let mut report = backup::run(&config, progress, cancel.clone()).await;
            report.notices.splice(0..0, notices);
            if in_action && let Some(workspace) = env("GITHUB_WORKSPACE") {
                report.relative_to(&workspace);
            }
            tell_slack(slack.as_ref(), &mut report, &cancel).await;
            if in_action
                && let Some(path) = env("GITHUB_OUTPUT")
                && let Err(e) = action::write_outputs(Path::new(&path), &action::outputs(&report))
            {
                report.warnings.push(e.one_line());
            }
            console.finish();
            show(in_action, output, || terminal::backup(&report), || json::backup(&report));
            tell(in_action, &terminal::failure(&report));
            if in_action {
                print(&action::annotations(&report));
            }
            summarise(step_summary, &summary::backup(&report), &*console);
            Ok(report.exit_code())
        }
    }
}

fn console(in_action: bool, output: Output) -> Arc<Console> {
    let style = match in_action {
        true => Style::Groups,
        false if std::io::stderr().is_terminal() => Style::Bars,
        false => Style::Lines,
    };
    // One stream in an action: the runner reads both, in no certain order, and masks must come first.
    let out: Box<dyn Write + Send> = if in_action { Box::new(std::io::stdout()) } else { Box::new(std::io::stderr()) };
    Console::new(style, output.quiet, output.verbose, out)
}

async fn check(
    config: &BackupConfig,
    slack: Option<&SlackConfig>,
    post: bool,
    progress: Arc<dyn Progress>,
) -> Vec<Check> {
    let mut checks = preflight::run(config, progress).await;
    if let Some(slack) = slack {
        checks.push(notify::check(slack, post, &config.source.dbname).await);
    }
    checks
}

/// A message that does not arrive becomes a warning of the report.
async fn tell_slack(slack: Option<&SlackConfig>, report: &mut Report, cancel: &CancellationToken) {
    let Some(slack) = slack else { return };
    let sent = async {
        let message = notify::slack(slack, report);
        if !cancel.is_cancelled() {
            return message.await;
        }
        let late = |_| Error::new(Kind::Notify, "Slack did not answer in time after the interrupt");
        tokio::time::timeout(LAST_WORDS, message).await.map_err(late)?
    };
    if let Err(e) = sent.await {
        report.warnings.push(e.one_line());
    }
}

fn summarise(path: Option<String>, markdown: &str, progress: &dyn Progress) {
    if let Some(path) = path
        && let Err(e) = action::write_summary(Path::new(&path), markdown)
    {
        progress.event(Event::Warning(&e.one_line()));
    }
}

fn show(in_action: bool, output: Output, text: impl Fn() -> String, object: impl Fn() -> Value) {
    let text = if output.json { format!("{:#}\n", object()) } else { text() };
    print(&if in_action { action::harmless(&text) } else { text.into() });
}

/// An error before there was a report.
fn tell_error(raw: &BackupArgs, error: &Error) {
    if raw.in_action {
        print(&action::annotation("error", "savepoint", &error.one_line(), error.hint_text()));
    }
    if config::flag("json", &raw.json).unwrap_or(false) {
        print(&format!("{:#}\n", json::error(error)));
    }
    let mut text = format!("error: {error}\n");
    if let Some(hint) = error.hint_text() {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    tell(raw.in_action, &text);
}

/// Tells of a failure where it is looked for.
fn tell(in_action: bool, text: &str) {
    if in_action {
        print(&action::harmless(text));
    } else {
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

fn print(text: &str) {
    // A reader that has gone away (`| head`) changes nothing about the backup.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
