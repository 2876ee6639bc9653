//! What the verbs of the command line do: validate, run, tell. The only module that writes to standard output.

use crate::{
    action, backup,
    cli::{self, ActionArgs, BackupArgs, CheckArgs, Command, OutputArgs},
    config::{self, Output, Parsed, Validated},
    drill::{self, VerifyConfig},
    error::{Error, Kind, Result},
    inventory::{self, DiffConfig, ListConfig, ShowConfig},
    notify::{self, Heartbeat, SlackConfig},
    postgres::conninfo::Target,
    preflight,
    progress::{Event, Progress, Silent},
    prune::{self, PruneConfig},
    report::{
        Status, json,
        page::Page,
        progress::{Console, Style},
        slack, summary, terminal,
    },
    restore::{self, RestoreConfig},
    secret::Secret,
};
use serde_json::Value;
use std::{
    ffi::OsString,
    io::{IsTerminal, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long an interrupted run may still talk to Slack: a runner kills ten seconds after its first signal.
const LAST_WORDS: Duration = Duration::from_secs(4);

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What all verbs need of the surroundings.
struct Stage<'a> {
    verb: &'static str,
    raw: &'a OutputArgs,
    /// Where the monitor is told, also of wrong options.
    heartbeat: Option<Secret>,
    env: Env<'a>,
    cancel: CancellationToken,
}

/// Runs a parsed command and returns the process's exit code. Everything that people or the runner read is printed here;
/// under `action` on standard output alone, so that masks stand in front of all else.
pub async fn run(command: Command, env: Env<'_>, cancel: CancellationToken) -> u8 {
    let command = match command {
        Command::Action(action) => {
            print(&action::masks(&action, env));
            let BackupArgs { output, notify, .. } = action.check.backup.clone();
            match of_action(*action) {
                Ok(command) => command,
                Err(error) => {
                    let stage = Stage { verb: "action", raw: &output, heartbeat: notify.heartbeat_url, env, cancel };
                    return stage.fail(&error).await;
                }
            }
        }
        other => other,
    };
    let (verb, output) = match &command {
        Command::Backup(raw) => ("backup", &raw.output),
        Command::Check(raw) => ("check", &raw.backup.output),
        Command::Restore(raw) => ("restore", &raw.output),
        Command::Verify(raw) => ("verify", &raw.output),
        Command::List(raw) => ("list", &raw.output),
        Command::Show(raw) => ("show", &raw.output),
        Command::Diff(raw) => ("diff", &raw.output),
        Command::Prune(raw) => ("prune", &raw.output),
        Command::Action(raw) => ("action", &raw.check.backup.output),
    };
    let stage = Stage { verb, raw: &output.clone(), heartbeat: heartbeat(&command), env, cancel };
    let result = match &command {
        Command::Backup(raw) => stage.backup(raw).await,
        Command::Check(raw) => stage.check(raw).await,
        Command::Restore(raw) => match config::restore(raw, env) {
            Ok(v) => stage.page(v, |c, progress, cancel| async move { restore::run(&c, progress, cancel).await }).await,
            Err(e) => Err(e),
        },
        Command::Verify(raw) => match config::verify(raw, env) {
            Ok(v) => stage.page(v, |c, progress, cancel| async move { drill::run(&c, progress, cancel).await }).await,
            Err(e) => Err(e),
        },
        Command::List(raw) => match config::listing(raw, env) {
            Ok(v) => {
                stage.page(v, |c, _, cancel| async move { or_cancel(&cancel, "list", inventory::list(&c)).await }).await
            }
            Err(e) => Err(e),
        },
        Command::Show(raw) => match config::show(raw, env) {
            Ok(v) => {
                stage.page(v, |c, _, cancel| async move { or_cancel(&cancel, "show", inventory::show(&c)).await }).await
            }
            Err(e) => Err(e),
        },
        Command::Diff(raw) => match config::diff(raw, env) {
            Ok(v) => {
                stage.page(v, |c, _, cancel| async move { or_cancel(&cancel, "diff", inventory::diff(&c)).await }).await
            }
            Err(e) => Err(e),
        },
        Command::Prune(raw) => match config::prune(raw, env) {
            Ok(v) => stage.page(v, |c, progress, cancel| async move { prune::run(&c, progress, cancel).await }).await,
            Err(e) => Err(e),
        },
        Command::Action(_) => Ok(2),
    };
    match result {
        Ok(code) => code,
        Err(error) => stage.fail(&error).await,
    }
}

/// The monitor of a command that does what it says. A dry run does not: the backup that is waited for has not come.
fn heartbeat(command: &Command) -> Option<Secret> {
    let (notify, dry_run) = match command {
        Command::Backup(raw) => (&raw.notify, raw.dry.dry_run.as_str()),
        Command::Restore(raw) => (&raw.notify, raw.dry.dry_run.as_str()),
        Command::Verify(raw) => (&raw.notify, ""),
        Command::Prune(raw) => (&raw.notify, raw.dry.dry_run.as_str()),
        _ => return None,
    };
    notify
        .heartbeat_url
        .clone()
        .filter(|url| !url.expose().is_empty() && !config::flag("dry-run", dry_run).unwrap_or(false))
}

/// Tells the monitor of a command line that is no command at all, so that a typo in a nightly job does not stay silent.
pub async fn unreadable(argv: &[OsString], env: Env<'_>) {
    if let Some(url) = cli::heartbeat_of(argv, env)
        && let Err(e) = Heartbeat::silent(&url).end(true, "wrong usage".into()).await
    {
        let _ = std::io::stderr().write_all(format!("warning: {e}\n").as_bytes());
    }
}

/// The verb that the input `command` names, with the other inputs as its options.
fn of_action(action: ActionArgs) -> Result<Command> {
    Ok(match action.command.trim() {
        "backup" => Command::Backup(action.check.backup),
        "check" => Command::Check(action.check),
        "restore" => Command::Restore(action.restore()),
        "verify" => Command::Verify(action.verify()),
        "list" => Command::List(action.list()),
        "show" => Command::Show(action.show()),
        "diff" => Command::Diff(action.diff()),
        "prune" => Command::Prune(action.prune()),
        other => {
            return Err(Error::new(Kind::Usage, format!("option command: {other:?} is not known"))
                .hint("use one of backup, check, restore, verify, list, show, diff, prune"));
        }
    })
}

fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted by a signal")
}

/// A page, unless a signal comes first: for verbs that change nothing.
async fn or_cancel(cancel: &CancellationToken, verb: &'static str, work: impl Future<Output = Result<Page>>) -> Page {
    let worked = tokio::select! { worked = work => worked, () = cancel.cancelled() => Err(interrupted()) };
    worked.unwrap_or_else(|e| Page::failed(verb, "reading the destination", &e))
}

impl Stage<'_> {
    fn in_action(&self) -> bool {
        self.raw.in_action
    }

    fn console(&self, output: Output) -> Arc<Console> {
        let style = match self.in_action() {
            true => Style::Groups,
            false if std::io::stderr().is_terminal() => Style::Bars,
            false => Style::Lines,
        };
        // One stream in an action: the runner reads both, in no certain order, and masks must come first.
        let out: Box<dyn Write + Send> =
            if self.in_action() { Box::new(std::io::stdout()) } else { Box::new(std::io::stderr()) };
        Console::new(style, output.quiet, output.verbose, out)
    }

    /// Masks passwords that were resolved, and shows what there is to say about the options.
    fn open(&self, output: Output, targets: &[&Target], notices: &[String]) -> Arc<Console> {
        if self.in_action() {
            print(&action::mask_passwords(targets.iter().filter_map(|t| t.password.as_ref())));
        }
        let console = self.console(output);
        for notice in notices {
            console.event(Event::Notice(notice));
        }
        console
    }

    async fn check(&self, raw: &CheckArgs) -> Result<u8> {
        let post = config::flag("post", &raw.post)?;
        let Parsed { config, notify, output, notices } = config::backup(&raw.backup, self.env)?;
        let targets: Vec<&Target> = std::iter::once(&config.source).chain(&config.verify_url).collect();
        let console = self.open(output, &targets, &notices);
        let work = async {
            let mut checks = preflight::run(&config, console.clone()).await;
            if let Some(slack) = &notify.slack {
                checks.push(notify::check(slack, post, &config.source.dbname).await);
            }
            checks
        };
        let checks =
            tokio::select! { checks = work => checks, () = self.cancel.cancelled() => return Err(interrupted()) };
        console.finish();
        self.show(output, || terminal::checks(&checks), || json::checks(&checks));
        self.summarise(&summary::checks(&checks), &*console);
        Ok(u8::from(checks.iter().any(|c| c.status == Status::Failed)))
    }

    async fn backup(&self, raw: &BackupArgs) -> Result<u8> {
        let Parsed { config, notify, output, notices } = config::backup(raw, self.env)?;
        let targets: Vec<&Target> = std::iter::once(&config.source).chain(&config.verify_url).collect();
        let console = self.open(output, &targets, &notices);
        if output.dry_run {
            let work = backup::preview(&config, console.clone());
            let plan =
                tokio::select! { plan = work => plan?, () = self.cancel.cancelled() => return Err(interrupted()) };
            console.finish();
            self.show(output, || terminal::plan(&plan), || json::plan(&plan));
            self.summarise(&summary::plan(&plan), &*console);
            return Ok(u8::from(plan.checks.iter().any(|c| c.status == Status::Failed)));
        }
        let heartbeat = notify.heartbeat.as_ref().map(Heartbeat::begin);
        let mut report = backup::run(&config, console.clone(), self.cancel.clone()).await;
        report.notices.splice(0..0, notices);
        if let Some(workspace) = self.workspace() {
            report.relative_to(&workspace);
        }
        let failed = report.exit_code() != 0;
        let slack = self.tell_slack(notify.slack.as_ref(), failed, || slack::message(&report));
        let told =
            self.tell_all(slack, heartbeat, failed, report.headline() + "\n" + &terminal::failure(&report)).await;
        report.warnings.extend(told);
        report.warnings.extend(self.write_outputs(&action::outputs(&report)));
        console.finish();
        self.show(output, || terminal::backup(&report), || json::backup(&report));
        self.tell(&terminal::failure(&report));
        if self.in_action() {
            print(&action::annotations(&report));
        }
        self.summarise(&summary::backup(&report), &*console);
        Ok(report.exit_code())
    }

    /// Runs a verb that tells of itself by a page.
    async fn page<C: Targets, F: Future<Output = Page>>(
        &self,
        validated: Validated<C>,
        work: impl FnOnce(C, Arc<dyn Progress>, CancellationToken) -> F,
    ) -> Result<u8> {
        let Validated { config, notify, output, notices } = validated;
        let console = self.open(output, &config.targets(), &notices);
        let context = config::context(self.env);
        let heartbeat = notify.heartbeat.as_ref().filter(|_| !output.dry_run).map(Heartbeat::begin);
        let mut page = work(config, console.clone(), self.cancel.clone()).await;
        page.notices.splice(0..0, notices);
        let failed = page.exit_code != 0;
        let slack = self.tell_slack(notify.slack.as_ref(), failed, || page.slack(&context));
        let told = self.tell_all(slack, heartbeat, failed, page.headline.clone() + "\n" + &page.failure_text()).await;
        page.warnings.extend(told);
        page.warnings.extend(self.write_outputs(&page.outputs));
        console.finish();
        self.show(output, || page.terminal(), || page.json());
        self.tell(&page.failure_text());
        if self.in_action() {
            print(&action::page_annotations(&page));
        }
        self.summarise(&page.summary(), &*console);
        Ok(page.exit_code)
    }

    fn workspace(&self) -> Option<String> {
        if self.in_action() { (self.env)("GITHUB_WORKSPACE") } else { None }
    }

    /// A message that does not arrive becomes a warning.
    async fn tell_slack(
        &self,
        slack: Option<&SlackConfig>,
        failed: bool,
        message: impl FnOnce() -> Value,
    ) -> Option<String> {
        let slack = slack?;
        let sent = async {
            let message = message();
            let sending = notify::slack(slack, failed, &message);
            if !self.cancel.is_cancelled() {
                return sending.await;
            }
            let late = |_| Error::new(Kind::Notify, "Slack did not answer in time after the interrupt");
            tokio::time::timeout(LAST_WORDS, sending).await.map_err(late)?
        };
        sent.await.err().map(|e| e.one_line())
    }

    /// Tells Slack and the monitor at the same time; returns what did not arrive.
    async fn tell_all(
        &self,
        slack: impl Future<Output = Option<String>>,
        heartbeat: Option<Heartbeat>,
        failed: bool,
        text: String,
    ) -> Vec<String> {
        let heartbeat = async {
            let ending = heartbeat?.end(failed, text);
            let late =
                |_| Error::new(Kind::Notify, "the heartbeat's monitor did not answer in time after the interrupt");
            let ended = match self.cancel.is_cancelled() {
                false => ending.await,
                true => tokio::time::timeout(LAST_WORDS, ending).await.map_err(late).flatten(),
            };
            ended.err().map(|e| e.one_line())
        };
        let (slack, heartbeat) = tokio::join!(slack, heartbeat);
        slack.into_iter().chain(heartbeat).collect()
    }

    /// Hands the outputs to the runner; what could not be written is a warning.
    fn write_outputs(&self, outputs: &[(&str, String)]) -> Option<String> {
        let path = if self.in_action() { (self.env)("GITHUB_OUTPUT")? } else { return None };
        action::write_outputs(Path::new(&path), outputs).err().map(|e| e.one_line())
    }

    fn summarise(&self, markdown: &str, progress: &dyn Progress) {
        if self.in_action()
            && let Some(path) = (self.env)("GITHUB_STEP_SUMMARY")
            && let Err(e) = action::write_summary(Path::new(&path), markdown)
        {
            progress.event(Event::Warning(&e.one_line()));
        }
    }

    fn show(&self, output: Output, text: impl Fn() -> String, object: impl Fn() -> Value) {
        let text = if output.json { format!("{:#}\n", object()) } else { text() };
        print(&if self.in_action() { action::harmless(&text) } else { text.into() });
    }

    /// An error before there was a report. Returns the exit code.
    async fn fail(&self, error: &Error) -> u8 {
        let page = Page::failed(self.verb, "the options", error);
        if self.in_action() {
            print(&action::annotation("error", "savepoint", &error.one_line(), error.hint_text()));
            // A gate reads these, also when nothing was tried.
            let _ = self.write_outputs(&[("verified", "false".into())]);
            self.summarise(&page.summary(), &Silent);
        }
        if config::flag("json", &self.raw.json).unwrap_or(false) {
            print(&format!("{:#}\n", json::error(self.verb, error)));
        }
        let hint = error.hint_text().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
        let text = format!("error: {error}\n{hint}");
        self.tell(&text);
        if let Some(url) = &self.heartbeat
            && let Err(e) = Heartbeat::silent(url).end(true, text).await
        {
            self.tell(&format!("warning: {e}\n"));
        }
        error.exit_code()
    }

    /// Tells of a failure where it is looked for.
    fn tell(&self, text: &str) {
        if self.in_action() {
            print(&action::harmless(text));
        } else {
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

/// Servers that a verb connects to, whose passwords are masked.
trait Targets {
    fn targets(&self) -> Vec<&Target> {
        Vec::new()
    }
}

impl Targets for RestoreConfig {
    fn targets(&self) -> Vec<&Target> {
        vec![&self.target]
    }
}

impl Targets for VerifyConfig {
    fn targets(&self) -> Vec<&Target> {
        self.verify_url.iter().collect()
    }
}

impl Targets for ListConfig {}
impl Targets for ShowConfig {}
impl Targets for DiffConfig {}
impl Targets for PruneConfig {}

fn print(text: &str) {
    // A reader that has gone away (`| head`) changes nothing about the backup.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
