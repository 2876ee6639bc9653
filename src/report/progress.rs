//! What a person sees while a backup runs: bars on a terminal, plain lines in a log, groups in GitHub Actions.

use super::format::{bytes, clean, count, counted, seconds};
use crate::{
    action,
    progress::{Event, Phase, Progress},
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::Write,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

/// Between two lines about the state of things.
const EVERY: Duration = Duration::from_secs(10);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bars, for a terminal.
    Bars,
    /// A line every ten seconds, for a log.
    Lines,
    /// A JSON object a line, for a program that keeps logs.
    Json,
    /// As [`Style::Lines`], phases folded into groups of the Actions log.
    Groups,
}

/// Shows progress on one stream.
pub struct Console {
    style: Style,
    quiet: bool,
    verbose: bool,
    state: Mutex<State>,
    bars: Option<Bars>,
}

struct State {
    out: Box<dyn Write + Send>,
    running: BTreeSet<Phase>,
    group: bool,
    said: Instant,
    tables: u64,
    planned: u64,
    done: u64,
    rows: u64,
    stored: u64,
    restored: u64,
    /// Bytes that are to be restored, 0 where nobody knows, and since when.
    to_restore: u64,
    since: Instant,
    compared: u64,
}

struct Bars {
    multi: MultiProgress,
    dump: ProgressBar,
    others: ProgressBar,
}

impl Console {
    /// A console that writes to `out`. `quiet` leaves only warnings; `verbose` adds details.
    pub fn new(style: Style, quiet: bool, verbose: bool, out: Box<dyn Write + Send>) -> Arc<Self> {
        let bars = (style == Style::Bars && !quiet).then(Bars::new);
        let state = State {
            out,
            running: BTreeSet::new(),
            group: false,
            said: Instant::now(),
            tables: 0,
            planned: 0,
            done: 0,
            rows: 0,
            stored: 0,
            restored: 0,
            to_restore: 0,
            since: Instant::now(),
            compared: 0,
        };
        let console = Arc::new(Self { style, quiet, verbose, state: Mutex::new(state), bars });
        if !quiet && style != Style::Bars {
            tick(Arc::downgrade(&console));
        }
        console
    }

    /// Ends an open group and clears the bars; call before the result is printed.
    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.dump.finish_and_clear();
            bars.others.finish_and_clear();
        }
        let mut state = self.lock();
        if std::mem::take(&mut state.group) {
            state.command("::endgroup::");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere must not take the last words with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line of text, which may hold anything.
    fn say(&self, state: &mut State, text: &str) {
        let text = clean(text);
        match &self.bars {
            Some(bars) if bars.multi.println(&text).is_ok() && !bars.multi.is_hidden() => {}
            _ if self.style == Style::Groups => state.command(&action::harmless(&text)),
            _ => state.command(&text),
        }
    }

    fn status(&self, state: &mut State) {
        let line = state.line();
        if self.style == Style::Json {
            state.command(&logged(json!({
                "level": "info", "event": "status", "message": line, "rows": state.rows, "stored_bytes": state.stored,
                "restored_bytes": state.restored, "compared_bytes": state.compared,
            })));
        } else if !line.is_empty() {
            self.say(state, &line);
        }
        state.said = Instant::now();
    }

    /// An event as an object; increments are told with the state of things.
    fn log(&self, event: Event<'_>) {
        let object = match event {
            Event::Started(phase) => json!({ "level": "info", "event": "started", "phase": phase.name() }),
            Event::Finished(phase, time) => {
                json!({ "level": "info", "event": "finished", "phase": phase.name(), "seconds": time.as_secs_f64() })
            }
            Event::Planned { tables, bytes } => {
                json!({ "level": "info", "event": "planned", "tables": tables, "bytes": bytes })
            }
            Event::Output(text) => json!({ "level": "info", "event": "output", "message": text }),
            Event::Notice(text) => json!({ "level": "notice", "message": text }),
            Event::Warning(text) => json!({ "level": "warning", "message": text }),
            Event::Plan(text) => json!({ "level": "info", "message": text }),
            Event::Throwaway(text) | Event::Detail(text) if self.verbose => {
                json!({ "level": "debug", "message": text })
            }
            _ => return,
        };
        self.lock().command(&logged(object));
    }

    fn show(&self, event: Event<'_>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        match event {
            Event::Started(phase) => {
                if self.style == Style::Groups && state.running.is_empty() && !state.group {
                    state.group = true;
                    state.command(&format!("::group::{}", phase.name()));
                } else {
                    self.say(state, &format!("{} begins", phase.name()));
                }
                state.count(event);
            }
            Event::Finished(phase, time) => {
                state.count(event);
                self.say(state, &format!("{} done in {}", phase.name(), seconds(time.as_secs_f64())));
                if state.running.is_empty() && std::mem::take(&mut state.group) {
                    state.command("::endgroup::");
                }
                if phase == Phase::Dump
                    && let Some(bars) = &self.bars
                {
                    bars.dump.finish_and_clear();
                }
            }
            Event::Planned { tables, bytes: planned } => {
                state.count(event);
                self.say(state, &format!("{}, {} on disk", counted(tables, "table"), bytes(planned)));
                if let Some(bars) = &self.bars {
                    bars.dump.set_length(planned);
                }
            }
            Event::Throwaway(address) => {
                if self.verbose {
                    self.say(state, &format!("throwaway server: {address}"));
                }
            }
            Event::Plan(text) => text.lines().for_each(|line| self.say(state, line)),
            Event::Output(text) => self.say(state, &format!("| {text}")),
            Event::Notice(text) => self.say(state, &format!("notice: {text}")),
            Event::Detail(text) => {
                if self.verbose {
                    self.say(state, text);
                }
            }
            event => state.count(event),
        }
        if let Some(bars) = &self.bars {
            bars.update(state);
        }
    }
}

impl Progress for Console {
    fn event(&self, event: Event<'_>) {
        if self.style == Style::Json && (!self.quiet || matches!(event, Event::Warning(_))) {
            self.log(event);
        }
        if self.style == Style::Json {
            self.lock().count(event);
        } else if let Event::Warning(text) = event {
            let mut state = self.lock();
            self.say(&mut state, &format!("warning: {text}"));
        } else if !self.quiet {
            self.show(event);
        }
    }
}

/// A line of the log, with its moment.
pub fn logged(mut object: Value) -> String {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("time".into(), json!(crate::clock::now()));
    }
    object.to_string()
}

impl State {
    /// Takes in what it says of the state of things.
    fn count(&mut self, event: Event<'_>) {
        match event {
            Event::Started(phase) => drop(self.running.insert(phase)),
            Event::Finished(phase, _) => drop(self.running.remove(&phase)),
            Event::Planned { tables, bytes } => (self.tables, self.planned) = (tables, bytes),
            Event::Dumped { rows, planned, .. } => {
                self.rows += rows;
                self.done += planned;
            }
            Event::Stored(n) => self.stored += n,
            Event::Restored(n) => self.restored += n,
            Event::Compared(n) => self.compared += n,
            Event::ToRestore(n) => (self.to_restore, self.since) = (n, Instant::now()),
            _ => {}
        }
    }

    fn command(&mut self, line: &str) {
        // Nobody is left to be told when the stream is gone; the backup goes on.
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }

    /// ` of 3.2 GiB, about 40 s left`, where the whole is known.
    fn estimate(&self) -> String {
        if self.to_restore == 0 {
            return String::new();
        }
        let left = self.to_restore.saturating_sub(self.restored) as f64;
        let all = bytes(self.to_restore);
        match self.since.elapsed().as_secs_f64() * left / self.restored as f64 {
            time if time.is_finite() && left > 0.0 => format!(" of {all}, about {} left", seconds(time)),
            _ if left > 0.0 => format!(" of {all}"),
            _ => format!(" of {all}, building indexes and constraints"),
        }
    }

    /// The state of the running phases in one line; empty when there is nothing to tell.
    fn line(&self) -> String {
        let mut parts = Vec::new();
        for phase in &self.running {
            match phase {
                Phase::Dump => {
                    let percent = (self.done.min(self.planned) * 100).checked_div(self.planned).unwrap_or(100);
                    let (rows, stored) = (count(self.rows), bytes(self.stored));
                    parts.push(format!("dump {percent} %, {rows} rows, {stored} stored"));
                }
                Phase::Restore => parts.push(format!("restore {}{}", bytes(self.restored), self.estimate())),
                Phase::Compare => parts.push(format!("compare {}", bytes(self.compared))),
                Phase::Preflight | Phase::Plan | Phase::Commit | Phase::Copies | Phase::Rehearse => {
                    parts.push(phase.name().to_owned())
                }
            }
        }
        parts.join("; ")
    }
}

impl Bars {
    fn new() -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let style =
            |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let dump = multi.add(
            ProgressBar::new(0).with_style(style("dump {wide_bar} {percent:>3} %  {binary_bytes_per_sec}  {eta:>4}")),
        );
        let others = multi.add(ProgressBar::new_spinner().with_style(style("{spinner} {msg}")));
        others.enable_steady_tick(Duration::from_millis(250));
        Self { multi, dump, others }
    }

    fn update(&self, state: &State) {
        if state.running.contains(&Phase::Dump) {
            self.dump.set_position(state.done.min(state.planned));
        }
        self.others.set_message(state.line());
    }
}

/// Says the state every ten seconds for as long as the console lives.
fn tick(console: Weak<Console>) {
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(500));
            let Some(console) = console.upgrade() else { return };
            let mut state = console.lock();
            if !state.running.is_empty() && state.said.elapsed() >= EVERY {
                console.status(&mut state);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(style: Style, quiet: bool, verbose: bool) -> String {
        let sink = Sink::default();
        let console = Console::new(style, quiet, verbose, Box::new(sink.clone()));
        let second = Duration::from_secs(1);
        console.event(Event::Notice("the password file is readable by others"));
        console.event(Event::Started(Phase::Plan));
        console.event(Event::Planned { tables: 2, bytes: 4096 });
        console.event(Event::Finished(Phase::Plan, second));
        console.event(Event::Started(Phase::Dump));
        console.event(Event::Detail("pg_dump: ::error::x\n::stop-commands::y"));
        console.event(Event::Started(Phase::Restore));
        console.event(Event::Dumped { rows: 1500, bytes: 9000, planned: 1024 });
        console.event(Event::Stored(700));
        console.event(Event::Restored(2048));
        console.status(&mut console.lock());
        console.event(Event::Finished(Phase::Dump, second));
        console.event(Event::Warning("::warning::one\n::two"));
        console.event(Event::Finished(Phase::Restore, second));
        console.event(Event::Started(Phase::Compare));
        console.finish();
        let bytes = sink.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("is UTF-8")
    }

    #[test]
    fn lines_in_a_log() {
        insta::assert_snapshot!("progress_lines", shown(Style::Lines, false, true));
    }

    #[test]
    fn groups_close_and_nothing_else_is_a_command() {
        let text = shown(Style::Groups, false, true);
        let commands: Vec<&str> = text.lines().filter(|l| l.trim_start().starts_with("::")).collect();
        let expected =
            ["::group::plan", "::endgroup::", "::group::dump", "::endgroup::", "::group::compare", "::endgroup::"];
        assert_eq!(commands, expected, "{text}");
        insta::assert_snapshot!("progress_groups", text);
    }

    #[test]
    fn a_restore_of_known_size_says_how_far_it_is() {
        let console = Console::new(Style::Lines, false, false, Box::new(Sink::default()));
        console.event(Event::Started(Phase::Restore));
        console.event(Event::ToRestore(4 << 20));
        assert_eq!(console.lock().line(), "restore 0 B of 4.0 MiB");
        console.lock().since = Instant::now() - Duration::from_secs(30);
        console.event(Event::Restored(3 << 20));
        let line = console.lock().line();
        assert!(line.starts_with("restore 3.0 MiB of 4.0 MiB, about 10.") && line.ends_with(" s left"), "{line}");
        console.event(Event::Restored(1 << 20));
        assert_eq!(console.lock().line(), "restore 4.0 MiB of 4.0 MiB, building indexes and constraints");
    }

    #[test]
    fn quiet_leaves_warnings_and_details_need_verbose() {
        let quiet = shown(Style::Lines, true, false);
        assert!(quiet.lines().all(|l| l.starts_with("warning: ") || l.starts_with("dump")), "{quiet}");
        assert!(quiet.contains("warning: ::warning::one\\n::two"), "{quiet}");
        assert!(!shown(Style::Lines, false, false).contains("pg_dump"));
    }
}
