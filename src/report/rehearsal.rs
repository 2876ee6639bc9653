//! What a migration did to the proven copy, before the source sees it.

use super::{
    format::{bytes, clip, count, counted, seconds},
    page::Detail,
};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

/// The title of [`Rehearsal::problems`].
pub const PROBLEMS: &str = "why the rehearsal failed";

/// Characters of a statement, and of a line of output.
const STATEMENT: usize = 100;

/// Lines of output that are shown at once where it failed.
const SHOWN: usize = 8;

/// How the command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// With this exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It was ended when its time was over; seconds.
    TimedOut(u64),
    /// It could not be started, or not be watched to its end, and why.
    Unfinished(String),
}

/// A lock that kept others waiting, or would have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lock {
    /// Schema and name.
    pub table: String,
    /// As the documentation writes it: `ACCESS EXCLUSIVE`.
    pub mode: String,
    /// Seconds from the first to the last sample that saw it.
    pub seconds: f64,
    /// The statement that was under way when it was first seen.
    pub statement: String,
    /// Whether SELECT waits for it; of all that are told INSERT, UPDATE and DELETE do.
    pub blocks_readers: bool,
}

/// What became of a table as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It was there before and is there now, in the same files.
    Kept,
    /// Its rows were written anew into other files.
    Rewritten,
    /// Another table has its name now.
    Replaced,
    /// It is gone.
    Dropped,
    /// It was not there before.
    Added,
}

/// A table that the command changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Schema and name, as they are now.
    pub table: String,
    /// What became of it.
    pub fate: Fate,
    /// Its name before, where that was another one.
    pub renamed_from: Option<String>,
    /// Rows before; absent for a table that was not there.
    pub rows_before: Option<u64>,
    /// Rows now; absent for one that is gone.
    pub rows_after: Option<u64>,
    /// Bytes on disk before, without indexes.
    pub bytes_before: u64,
    /// Columns that are gone.
    pub columns_dropped: Vec<String>,
}

impl Changed {
    /// Percent of its rows that are gone.
    pub fn drop(&self) -> f64 {
        let (was, is) = (self.rows_before.unwrap_or(0), self.rows_after.unwrap_or(0));
        if is < was { (was - is) as f64 / was as f64 * 100.0 } else { 0.0 }
    }

    /// In one line.
    pub fn line(&self) -> String {
        let rows = |n: Option<u64>| counted(n.unwrap_or(0), "row");
        let name = match &self.renamed_from {
            Some(was) => format!("{} (was {was})", self.table),
            None => self.table.clone(),
        };
        let mut parts = Vec::new();
        match self.fate {
            Fate::Kept => {}
            Fate::Rewritten => parts.push(format!("rewritten, {} before", bytes(self.bytes_before))),
            Fate::Replaced => parts.push("replaced by another table of the same name".to_owned()),
            Fate::Dropped => return format!("{name}: dropped, with {}", rows(self.rows_before)),
            Fate::Added => return format!("{name}: new, {}", rows(self.rows_after)),
        }
        if self.rows_before != self.rows_after {
            let percent = if self.drop() > 0.0 { format!(" (−{:.1} %)", self.drop()) } else { String::new() };
            let was = self.rows_before.map_or_else(|| "unknown".to_owned(), count);
            parts.push(format!("{}, was {was}{percent}", rows(self.rows_after)));
        }
        if !self.columns_dropped.is_empty() {
            let columns = if self.columns_dropped.len() == 1 { "column" } else { "columns" };
            parts.push(format!("{columns} {} dropped", self.columns_dropped.join(", ")));
        }
        if parts.is_empty() && self.renamed_from.is_some() {
            parts.push("renamed".to_owned());
        }
        format!("{name}: {}", parts.join("; "))
    }
}

/// An entry of the schema that the command added, removed or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SchemaChange {
    /// The object, such as `index public.orders_idx`.
    pub object: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// The definition before and now as a unified difference, without context.
    pub diff: String,
}

impl SchemaChange {
    /// Of a definition before and now; `None`: there is none.
    pub fn of(object: String, was: Option<&str>, is: Option<&str>) -> SchemaChange {
        let change = match (was, is) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let mut diff = String::new();
        for line in TextDiff::from_lines(was.unwrap_or_default(), is.unwrap_or_default()).iter_all_changes() {
            let sign = match line.tag() {
                ChangeTag::Equal => continue,
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            let text = line.value().trim_end();
            if !text.is_empty() {
                diff.push_str(&format!("{sign}{text}\n"));
            }
        }
        SchemaChange { object, change, diff }
    }

    fn line(&self) -> String {
        let shown = |line: &str| clip(line.trim(), STATEMENT);
        let sign = |line: &str| line.get(..1).unwrap_or_default().to_owned();
        match self.change {
            "changed" => {
                let lines = self.diff.lines().map(|l| format!("{}{}", sign(l), shown(l.get(1..).unwrap_or_default())));
                format!("changed {}: {}", self.object, clip(&lines.collect::<Vec<_>>().join("  "), 2 * STATEMENT))
            }
            change => format!("{change} {}", self.object),
        }
    }
}

/// What a migration did to the proven copy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rehearsal {
    /// The command, as it was given to the shell.
    pub command: String,
    /// The role that it came in as.
    pub role: String,
    /// How it ended.
    pub ended: Ended,
    /// Seconds that it took.
    pub seconds: f64,
    /// The last lines of what it wrote.
    pub output: Vec<String>,
    /// What the server refused meanwhile, also where the command went on.
    pub refused: Vec<String>,
    /// Bytes of write-ahead log that the server wrote meanwhile; absent on a server of yours, where others may write as well.
    pub wal_bytes: Option<u64>,
    /// Locks that keep writers or readers out, the longest first, one for each table and mode.
    pub locks: Vec<Lock>,
    /// Tables that it changed.
    pub tables: Vec<Changed>,
    /// What it did to the schema.
    pub schema: Vec<SchemaChange>,
    /// Indexes that are invalid, and constraints that were never validated, and were not so before.
    pub unfinished: Vec<String>,
    /// Checks that passed.
    pub checks_passed: u64,
    /// Checks that failed.
    pub checks_failed: Vec<String>,
    /// Why it failed; empty when it passed.
    pub problems: Vec<String>,
    /// What the copy is not like the source in.
    pub notes: Vec<String>,
}

impl Rehearsal {
    /// One that came to nothing.
    pub fn unfinished(command: &str, why: impl Into<String>) -> Rehearsal {
        let why = why.into();
        Rehearsal {
            command: command.to_owned(),
            role: String::new(),
            problems: vec![why.clone()],
            ended: Ended::Unfinished(why),
            seconds: 0.0,
            output: Vec::new(),
            refused: Vec::new(),
            wal_bytes: None,
            locks: Vec::new(),
            tables: Vec::new(),
            schema: Vec::new(),
            unfinished: Vec::new(),
            checks_passed: 0,
            checks_failed: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether production may see the migration.
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }

    /// `passed` or `failed`.
    pub fn verdict(&self) -> &'static str {
        if self.passed() { "passed" } else { "failed" }
    }

    /// In one line.
    pub fn line(&self) -> String {
        let how = match &self.ended {
            Ended::Exit(0) => String::new(),
            Ended::Exit(code) => format!(", exit code {code}"),
            Ended::Signal(signal) => format!(", ended by signal {signal}"),
            Ended::TimedOut(limit) => format!(", ended after {}", seconds(*limit as f64)),
            Ended::Unfinished(_) => ", not finished".into(),
        };
        let wal = self.wal_bytes.map(|n| format!(", {} of WAL", bytes(n))).unwrap_or_default();
        let command = self.command.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{}{how}: {} in {}{wal}", self.verdict(), clip(&command, STATEMENT), seconds(self.seconds))
    }

    /// What it found besides its [problems](Self::problems), as titles and lines; those without a line are left out.
    pub fn lists(&self) -> Vec<(&'static str, Vec<String>)> {
        let lock = |lock: &Lock| {
            let who = if lock.blocks_readers { "readers and writers wait" } else { "writers wait" };
            format!(
                "{}: {} for {}, {who} (seen during: {})",
                lock.table,
                lock.mode,
                seconds(lock.seconds),
                clip(&lock.statement, STATEMENT)
            )
        };
        let mut lists = vec![
            ("what the command wrote last", if self.passed() { Vec::new() } else { last(&self.output) }),
            ("what the database refused", self.refused.iter().map(|line| clip(line, 2 * STATEMENT)).collect()),
            ("locks", self.locks.iter().map(lock).collect()),
            ("tables", self.tables.iter().map(Changed::line).collect()),
            ("schema", self.schema.iter().map(SchemaChange::line).collect()),
            ("left undone", self.unfinished.clone()),
            ("unlike the source", self.notes.clone()),
        ];
        lists.retain(|(_, lines)| !lines.is_empty());
        lists
    }

    /// The schema's difference as a whole, and what the command wrote.
    pub fn details(&self) -> Vec<Detail> {
        let one = |change: &SchemaChange| format!("@@ {} {} @@\n{}", change.change, change.object, change.diff);
        let all = [
            ("The schema's difference", "diff", self.schema.iter().map(one).collect::<String>()),
            ("What the command wrote", "text", self.output.join("\n")),
        ];
        all.into_iter().filter(|(_, _, text)| !text.is_empty()).collect()
    }
}

/// The last lines that say something.
fn last(output: &[String]) -> Vec<String> {
    let said: Vec<&String> = output.iter().filter(|line| !line.trim().is_empty()).collect();
    said[said.len().saturating_sub(SHOWN)..].iter().map(|line| clip(line, 2 * STATEMENT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_told_by_the_lines_that_differ() {
        let was = "CREATE TABLE public.orders (\n    id integer,\n    age integer\n);\n";
        let is = "CREATE TABLE public.orders (\n    id bigint,\n    age integer\n);\n";
        let change = SchemaChange::of("table public.orders".into(), Some(was), Some(is));
        assert_eq!((change.change, change.diff.as_str()), ("changed", "-    id integer,\n+    id bigint,\n"));
        assert_eq!(change.line(), "changed table public.orders: -id integer,  +id bigint,");
        let added = SchemaChange::of("index public.i".into(), None, Some("CREATE INDEX i ON t (a);\n"));
        assert_eq!((added.change, added.line().as_str()), ("added", "added index public.i"));
    }

    #[test]
    fn a_table_is_told_by_what_became_of_it() {
        let table = Changed {
            table: "public.orders".into(),
            fate: Fate::Kept,
            renamed_from: None,
            rows_before: Some(1200),
            rows_after: Some(1000),
            bytes_before: 3 << 20,
            columns_dropped: vec!["age".into()],
        };
        assert_eq!(table.line(), "public.orders: 1,000 rows, was 1,200 (−16.7 %); column age dropped");
        let with =
            |fate, before, after| Changed { fate, rows_before: before, rows_after: after, ..table.clone() }.line();
        assert_eq!(with(Fate::Dropped, Some(1), None), "public.orders: dropped, with 1 row");
        assert_eq!(with(Fate::Added, None, Some(0)), "public.orders: new, 0 rows");
        assert_eq!(
            with(Fate::Rewritten, Some(5), Some(5)),
            "public.orders: rewritten, 3.0 MiB before; column age dropped"
        );
    }
}
