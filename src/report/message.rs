//! What a message about a run says, in whatever channel: short, the same in each, and text from a database on one line.

use super::{
    BackupReport, Failure, Page, Report,
    format::{clean, clip, seconds},
    page::Verdict,
    rehearsal::PROBLEMS,
};
use crate::vault::RunContext;

/// As many lines of a list as a message is good for.
const LINES: usize = 5;
/// Characters of a line of a list, and of a warning.
const LINE: usize = 150;
/// Facts of a backup that only its own page needs.
const NOT_TOLD: [&str; 3] = ["backup", "time", "checked by"];

/// Everything that a message has room for.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// How the run ended.
    pub verdict: Verdict,
    /// The same in a few words, beginning with what it is about.
    pub headline: String,
    /// What failed.
    pub failure: Option<Failure>,
    /// Names and values.
    pub facts: Vec<(&'static str, String)>,
    /// Titles and lines, none of them without a line.
    pub lists: Vec<(&'static str, Vec<String>)>,
    /// Shell commands that restore the backup.
    pub commands: Vec<String>,
    /// What may be wrong.
    pub warnings: Vec<String>,
    /// Where the run comes from: repository and commit, branch.
    pub origin: Vec<String>,
    /// The run's own page.
    pub run_url: Option<String>,
}

impl Message {
    /// About a run; `context`: where it comes from.
    pub fn of(report: &Report, context: &RunContext) -> Message {
        match report {
            Report::Backup(report) => Self::of_backup(report),
            Report::Page(page) => Self::of_page(page, context),
            Report::Plan(_) | Report::Checks(_) => Self::saying(Verdict::Good, report.headline()),
        }
    }

    /// The message that `savepoint check --post` sends.
    pub fn test(database: &str) -> Message {
        Self::saying(Verdict::Good, format!("savepoint check: messages about {} arrive here", clip(database, 100)))
    }

    fn saying(verdict: Verdict, headline: String) -> Message {
        Message {
            verdict,
            headline,
            failure: None,
            facts: Vec::new(),
            lists: Vec::new(),
            commands: Vec::new(),
            warnings: Vec::new(),
            origin: Vec::new(),
            run_url: None,
        }
    }

    fn of_backup(report: &BackupReport) -> Message {
        let proof = report.proof_line().map(|line| ("proof", line));
        let facts = report.facts().into_iter().filter(|(name, _)| !NOT_TOLD.contains(name));
        let differences = report.proof.as_ref().map(|proof| proof.differences.clone()).unwrap_or_default();
        let rehearsed = report.rehearsal.as_ref().map(|rehearsal| rehearsal.problems.clone()).unwrap_or_default();
        let (origin, run_url) = from(&report.context);
        Message {
            failure: report.failure.clone(),
            facts: proof.into_iter().chain(facts).chain([("time", time(report))]).collect(),
            lists: lists([("differences", &differences), (PROBLEMS, &rehearsed), ("anomalies", &report.anomalies)]),
            commands: report.restore_commands(),
            warnings: first(&report.warnings),
            origin,
            run_url,
            ..Self::saying(report.verdict(), report.headline())
        }
    }

    fn of_page(page: &Page, context: &RunContext) -> Message {
        let (origin, run_url) = from(context);
        Message {
            failure: page.failure.clone(),
            facts: page.facts.clone(),
            lists: lists(page.lists.iter().take(LINES).map(|(title, lines)| (*title, lines))),
            warnings: first(&page.warnings),
            origin,
            run_url,
            ..Self::saying(page.verdict, page.headline.clone())
        }
    }

    /// The headline behind its sign, in at most `limit` characters.
    pub fn title(&self, limit: usize) -> String {
        clip(&format!("{} {}", self.verdict.sign(), self.headline), limit)
    }

    /// The headline alone, in at most `limit` characters.
    pub fn headline_in(&self, limit: usize) -> String {
        clip(&self.headline, limit)
    }

    /// All but the headline and the address of the run's page, as plain text, in at most `limit` characters.
    pub fn text(&self, limit: usize) -> String {
        let mut lines = Vec::new();
        if let Some(failure) = &self.failure {
            lines.push(format!("Failed in {}: {}", clean(&failure.phase), clean(&failure.message)));
            lines.extend(failure.hint.as_ref().map(|hint| format!("Hint: {}", clean(hint))));
            lines.push(String::new());
        }
        lines.extend(self.facts.iter().map(|(name, value)| format!("{name}: {}", clean(value))));
        let warnings = (!self.warnings.is_empty()).then_some(("warnings", &self.warnings));
        for (title, items) in self.lists.iter().map(|(title, items)| (*title, items)).chain(warnings) {
            lines.push(format!("\n{title}:"));
            lines.extend(items.iter().map(|item| format!("- {item}")));
        }
        if !self.commands.is_empty() {
            lines.push("\nrestore:".to_owned());
            lines.extend(self.commands.iter().map(|command| format!("  {}", clean(command))));
        }
        if !self.origin.is_empty() {
            lines.push(format!("\n{}", self.origin.join(" · ")));
        }
        let text = lines.join("\n").trim().to_owned();
        if text.chars().count() <= limit {
            return text;
        }
        // Whole lines.
        let kept: String = text.chars().take(limit.saturating_sub(2)).collect();
        format!("{}\n…", kept.rfind('\n').map_or("", |end| &kept[..end])).trim_start().to_owned()
    }
}

/// The lists that hold something, shortened.
fn lists<'a>(all: impl IntoIterator<Item = (&'static str, &'a Vec<String>)>) -> Vec<(&'static str, Vec<String>)> {
    all.into_iter().filter(|(_, lines)| !lines.is_empty()).map(|(title, lines)| (title, first(lines))).collect()
}

/// The first few lines, and how many there are besides.
fn first(lines: &[String]) -> Vec<String> {
    let mut shown: Vec<String> = lines.iter().take(LINES).map(|line| clip(line, LINE)).collect();
    if lines.len() > LINES {
        shown.push(format!("… and {} more", lines.len() - LINES));
    }
    shown
}

fn time(report: &BackupReport) -> String {
    let dump = report.phases.iter().find(|p| p.name == "dump").map(|p| format!(", dump {}", seconds(p.seconds)));
    format!("{}{}", seconds(report.seconds), dump.unwrap_or_default())
}

/// Where a run comes from, and its page.
fn from(context: &RunContext) -> (Vec<String>, Option<String>) {
    let mut origin = Vec::new();
    if let Some(repository) = &context.repository {
        let short = |sha: &str| format!(" @ {}", clean(&sha.chars().take(7).collect::<String>()));
        let commit = context.commit.as_deref().map(short);
        origin.push(format!("{}{}", clip(repository, LINE), commit.unwrap_or_default()));
    }
    origin.extend(context.git_ref.iter().map(|name| clip(name, 100)));
    // Only a plain web address can stand in whatever makes a link of it.
    let odd = |c: char| c.is_whitespace() || c.is_control() || "<>|\"'()[]".contains(c);
    let plain = |url: &&String| url.starts_with("http") && url.len() <= 300 && !url.contains(odd);
    (origin, context.run_url.as_ref().filter(plain).cloned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::report::fixture;

    /// A message whose every part is as long as can be, of signs that markup is made of.
    pub(crate) fn longest() -> Message {
        let mut report = fixture::proof_failed();
        let long = "<&>*_[x](y)`@everyone".repeat(500);
        report.database = long.clone();
        report.source = long.clone();
        report.warnings = vec![long.clone(); 20];
        report.anomalies = vec![long.clone(); 20];
        report.context.repository = Some(long.clone());
        report.failure = fixture::failed().failure.map(|mut f| {
            f.message = long.clone();
            f.hint = Some(long.clone());
            f
        });
        if let Some(backup) = &mut report.backup {
            backup.uri = format!("s3://{long}");
        }
        if let Some(proof) = &mut report.proof {
            proof.differences = vec![long; 100];
        }
        Message::of(&report.into(), &RunContext::default())
    }

    #[test]
    fn a_message_says_what_matters() {
        let report = fixture::proof_failed().into();
        let message = Message::of(&report, &RunContext::default());
        insta::assert_snapshot!("message", format!("{}\n{}", message.title(100), message.text(4000)));
        for limit in [0, 1, 2, 10, 40, 100] {
            let text = message.text(limit);
            assert!(text.chars().count() <= limit.max(2), "{limit}: {text}");
        }
    }
}
