//! Running a verb and telling of it: on the terminal or in the runner's log, to channels, as outputs, annotations and a step summary. The only
//! module that writes to standard output.

use super::verb::{Env, Verb, Work};
use crate::cancel::Cancel;
use crate::{
    action,
    cli::OutputArgs,
    config::{self, LogFormat, Output, Validated},
    error::{Error, Result},
    notify::{Told, heartbeat::Heartbeat},
    postgres::conninfo::Target,
    progress::{Event, Progress, Silent},
    report::{
        Page, Report,
        progress::{Console, Style, logged},
        render::{Paper, Renderer, json, summary::Summary, terminal},
    },
    secret::Secret,
    vault::RunContext,
};
use serde_json::Value;
use std::{
    io::{IsTerminal, Write},
    os::fd::AsFd,
    path::Path,
    sync::Arc,
};

/// What all verbs need of the surroundings.
pub(super) struct Stage<'a> {
    pub verb: &'static str,
    pub raw: OutputArgs,
    /// Where the monitor is told of wrong options.
    pub monitor: Option<Secret>,
    pub env: Env<'a>,
    pub cancel: Cancel,
}

impl Stage<'_> {
    /// Runs a verb from its raw options to its exit code.
    pub async fn run<V: Verb>(&self, raw: &V::Raw) -> u8 {
        match self.work::<V>(raw).await {
            Ok(code) => code,
            Err(error) => self.fail(&error).await,
        }
    }

    async fn work<V: Verb>(&self, raw: &V::Raw) -> Result<u8> {
        let Validated { config, notify: channels, output, notices } = V::config(raw, self.env)?;
        if let Some(limit) = output.timeout {
            self.cancel.within(limit);
        }
        let console = self.open(output, &V::targets(&config), &notices);
        let mut work = Work { progress: console.clone(), cancel: self.cancel.clone(), channels };
        if V::notify(raw).is_some() && !output.dry_run {
            work.channels.begin();
        }
        let mut report = V::run(&config, &work).await?;
        report.notice_first(notices);
        let context = config::context(self.env);
        if report.is_of_a_run() {
            self.tell_all(&mut report, &mut work, &context, output.dry_run).await;
        }
        console.finish();
        self.show(output, &report, &context);
        match self.logs_json() {
            false => self.tell(&terminal::failure(&report, self.paper(&std::io::stderr()))),
            true => self.tell(&log_failure(&report)),
        }
        if self.in_action() {
            print(&action::annotations(&report));
        }
        self.summarise(&Summary.render(&report, &context), &*console);
        Ok(report.exit_code())
    }

    /// Tells the channels and hands the outputs to the runner. What does not arrive becomes a warning.
    async fn tell_all(&self, report: &mut Report, work: &mut Work, context: &RunContext, dry_run: bool) {
        if let (Report::Backup(report), Some(workspace)) = (&mut *report, self.workspace()) {
            report.relative_to(&workspace);
        }
        let told = work.channels.end(&Told { report, context, dry_run }, self.cancel.is_urgent()).await;
        report.warn(told);
        report.warn(self.write_outputs(&report.outputs()));
    }

    /// Whether what is said while working, and why it failed, are JSON objects.
    fn logs_json(&self) -> bool {
        self.raw.log_format.trim() == "json"
    }

    /// What a stream is shown on.
    fn paper<S: IsTerminal + AsFd>(&self, stream: &S) -> Paper {
        if self.in_action() || !stream.is_terminal() {
            return Paper::default();
        }
        let set = |name: &str| (self.env)(name).is_some_and(|value| !value.is_empty());
        // <https://no-color.org>
        let colour = !set("NO_COLOR") && (self.env)("TERM").is_none_or(|term| term != "dumb");
        Paper { width: terminal_size::terminal_size_of(stream).map(|(width, _)| width.0.into()), colour }
    }

    fn in_action(&self) -> bool {
        self.raw.in_action
    }

    fn console(&self, output: Output) -> Arc<Console> {
        let style = match self.in_action() {
            _ if output.log == LogFormat::Json => Style::Json,
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

    fn workspace(&self) -> Option<String> {
        if self.in_action() { (self.env)("GITHUB_WORKSPACE") } else { None }
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

    fn show(&self, output: Output, report: &Report, context: &RunContext) {
        let terminal = terminal::Terminal(self.paper(&std::io::stdout()));
        let renderer: &dyn Renderer = if output.json { &json::Json } else { &terminal };
        let text = renderer.render(report, context);
        print(&if self.in_action() { action::harmless(&text) } else { text.into() });
    }

    /// An error before there was a report. Returns the exit code.
    pub async fn fail(&self, error: &Error) -> u8 {
        let report = Page::failed(self.verb, "the options", error).into();
        if self.in_action() {
            print(&action::annotation("error", "savepoint", &error.one_line(), error.hint_text()));
            // A gate reads these, also when nothing was tried.
            let _ = self.write_outputs(&[("verified", "false".into())]);
            self.summarise(&Summary.render(&report, &RunContext::default()), &Silent);
        }
        if config::flag("json", &self.raw.json).unwrap_or(false) {
            print(&format!("{:#}\n", json::error(self.verb, error)));
        }
        let text = terminal::error(error, Paper::default());
        match self.logs_json() {
            false => self.tell(&terminal::error(error, self.paper(&std::io::stderr()))),
            true => self.tell(&(logged(told(error.one_line(), error.hint_text(), None)) + "\n")),
        }
        if let Some(url) = &self.monitor
            && let Err(e) = Heartbeat::never_began(url, text).await
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

/// Why it failed, as a line of the log; nothing where it did not.
fn log_failure(report: &Report) -> String {
    if report.exit_code() == 0 {
        return String::new();
    }
    let failure = match report {
        Report::Backup(report) => report.failure.as_ref(),
        Report::Page(page) => page.failure.as_ref(),
        Report::Plan(_) | Report::Checks(_) => None,
    };
    let object = match failure {
        Some(failure) => told(failure.message.clone(), failure.hint.as_deref(), Some(&failure.phase)),
        None => told(report.headline(), None, None),
    };
    logged(object) + "\n"
}

fn told(message: String, hint: Option<&str>, phase: Option<&str>) -> Value {
    serde_json::json!({ "level": "error", "message": message, "hint": hint, "phase": phase })
}

/// Writes to standard output.
pub(super) fn print(text: &str) {
    // A reader that has gone away (`| head`) changes nothing about the backup.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
