//! The team's own assertions: SQL statements that are run on a database. One that returns a row, or raises, has failed.
//!
//! They are cut apart as psql would, but sent by ourselves: psql's own commands (`\!` runs a program on this machine) are refused,
//! and each statement can be told with its line and the first rows that it returned.

use crate::{
    dumpfile::sql::{Piece, Script},
    error::{Error, Kind, Result},
    postgres::{answer, connect, conninfo::Target},
    report::format::{clip, count, counted},
};
use futures_util::{TryStreamExt, pin_mut};
use serde::Serialize;
use std::path::Path;
use tokio_postgres::SimpleQueryMessage;

/// Rows of a failed check that are shown, and characters of a value.
const ROWS: usize = 3;
const VALUE: usize = 60;

/// A statement of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The line that it begins in.
    pub line: u64,
    /// Its text.
    pub sql: String,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The line that it begins in.
    pub line: u64,
    /// The beginning of its text, on one line.
    pub sql: String,
    /// Why it failed; absent when it returned no row.
    pub failure: Option<String>,
}

impl Checked {
    /// One line for people; `None` when it passed.
    pub fn problem(&self) -> Option<String> {
        self.failure.as_ref().map(|why| format!("line {} ({}): {why}", self.line, self.sql))
    }
}

/// Reads the statements of a file that an option names.
///
/// # Errors
/// [`Kind::Usage`] when it cannot be read, holds no statement, or something that is none.
pub fn read(option: &str, path: &Path) -> Result<Vec<Check>> {
    let usage = |why: String| Error::new(Kind::Usage, format!("option {option}: {}: {why}", path.display()));
    let text = std::fs::read(path).map_err(|e| usage("it cannot be read".into()).because(e))?;
    let mut script = Script::new(text.as_slice());
    let mut checks = Vec::new();
    loop {
        let piece = script.next_piece().map_err(|e| usage(e.one_line()))?;
        let line = script.line();
        match piece {
            None if checks.is_empty() => {
                return Err(usage("it holds no statement".into())
                    .hint("write a query that returns the rows that should not be there"));
            }
            None => return Ok(checks),
            Some(Piece::Statement(sql)) => {
                let sql = String::from_utf8(sql).map_err(|_| usage(format!("line {line}: it is no UTF-8")))?;
                checks.push(Check { line, sql });
            }
            Some(Piece::Comment(_)) => {}
            Some(Piece::Command(command)) => {
                let command = String::from_utf8_lossy(&command).into_owned();
                return Err(usage(format!("line {line}: \\{} is a command to psql", clip(&command, VALUE)))
                    .hint("only SQL is run: use DO blocks or several statements"));
            }
            Some(Piece::Copy(_) | Piece::Rows(_) | Piece::EndOfRows) => {
                return Err(usage(format!("line {line}: COPY FROM stdin loads rows, it asserts nothing"))
                    .hint("use INSERT or VALUES"));
            }
        }
    }
}

/// What a check may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Whatever it likes: the database is a copy.
    Write,
    /// Ask alone: the database is in use.
    Read,
}

/// Words that a statement may begin with which only asks.
const ASKS: [&str; 5] = ["SELECT", "WITH", "VALUES", "TABLE", "SHOW"];

/// Whether a statement is a query by its first word, behind comments and parentheses. Whatever it then does stands in a transaction that may only
/// read, and no query can leave that.
fn is_query(sql: &str) -> bool {
    let mut rest = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    while let Some(behind) = rest
        .strip_prefix("--")
        .map(|r| r.split_once('\n').map_or("", |(_, r)| r))
        .or_else(|| rest.strip_prefix("/*").map(|r| r.split_once("*/").map_or("", |(_, r)| r)))
    {
        rest = behind.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    }
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    ASKS.contains(&word.to_ascii_uppercase().as_str())
}

/// Runs the checks one by one in one session; each outside of a transaction unless the file begins one, or it may only read.
///
/// # Errors
/// [`Kind::Database`] when the connection is lost.
pub async fn run(target: &Target, checks: &[Check], may: May) -> Result<Vec<Checked>> {
    let session = connect::connect(target, "savepoint check-sql").await?;
    let mut done = Vec::new();
    for Check { line, sql } in checks {
        let text = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        if may == May::Read && !is_query(sql) {
            let why = "it is no query, and the database is in use: nothing else is run there";
            done.push(Checked { line: *line, sql: clip(&text, 200), failure: Some(why.into()) });
            continue;
        }
        if may == May::Read {
            let begun = session.batch_execute("BEGIN READ ONLY").await;
            begun.map_err(|e| session.explain("cannot begin a transaction that only reads", e))?;
        }
        let asked = async {
            let (mut shown, mut rows) = (Vec::new(), 0);
            let answer = session.simple_query_raw(sql).await?;
            pin_mut!(answer);
            while let Some(message) = answer.try_next().await? {
                if let SimpleQueryMessage::Row(row) = message {
                    rows += 1;
                    if shown.len() < ROWS {
                        let value = |n| clip(row.get(n).unwrap_or("NULL"), VALUE);
                        shown.push((0..row.len()).map(value).collect::<Vec<_>>().join(" | "));
                    }
                }
            }
            Ok::<_, tokio_postgres::Error>((shown, rows))
        };
        let asked = asked.await;
        if may == May::Read && !session.is_closed() {
            let ended = session.batch_execute("ROLLBACK").await;
            ended.map_err(|e| session.explain("cannot end a transaction that only reads", e))?;
        }
        let failure = match asked {
            Ok((_, 0)) => None,
            Ok((shown, rows)) => {
                let more = rows - shown.len() as u64;
                let more = if more == 0 { String::new() } else { format!("; and {} more", count(more)) };
                Some(format!("{}: {}{more}", counted(rows, "row"), shown.join("; ")))
            }
            Err(e) if session.is_closed() => return Err(session.explain(&format!("check in line {line}"), e)),
            Err(e) => Some(answer::error("it raises", e).one_line()),
        };
        done.push(Checked { line: *line, sql: clip(&text, 200), failure });
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Check>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read("check-sql", file.path())
    }

    #[test]
    fn only_a_query_is_run_where_nothing_may_be_written() {
        for query in ["select 1", "-- why\n/* and */ (SELECT 1)", "WITH x AS (SELECT 1) SELECT * FROM x", "table t"] {
            assert!(is_query(query), "{query}");
        }
        for other in [
            "DELETE FROM t",
            "rollback",
            "SET x TO 1",
            "/* SELECT */ UPDATE t SET a = 1",
            "-- SELECT 1",
            "",
            "selecting",
        ] {
            assert!(!is_query(other), "{other}");
        }
    }

    #[test]
    fn a_file_is_cut_into_statements_and_nothing_else_is_run() {
        let checks =
            read_text("-- none may be late\nSELECT 1; SELECT ';'\n  WHERE false;\n\nDO $$ BEGIN NULL; END $$").unwrap();
        let seen: Vec<(u64, &str)> = checks.iter().map(|c| (c.line, c.sql.as_str())).collect();
        assert_eq!(seen, [(2, "SELECT 1"), (2, "SELECT ';'\n  WHERE false"), (5, "DO $$ BEGIN NULL; END $$")]);
        for (text, why) in [
            ("", "no statement"),
            ("-- nothing\n", "no statement"),
            ("SELECT 1;\n\\! touch /tmp/x\n", "line 2: \\! touch /tmp/x is a command to psql"),
            ("SELECT 1 \\gexec\n", "line 1: a backslash"),
            ("COPY t FROM stdin;\n1\n\\.\n", "line 1: COPY"),
            ("SELECT 'a", "ends inside the statement that begins in line 1"),
        ] {
            let e = read_text(text).unwrap_err();
            assert!(e.kind() == Kind::Usage && e.one_line().contains(why), "{text:?}: {e:?}");
        }
    }
}
