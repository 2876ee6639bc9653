//! SQL scripts, cut into statements as psql cuts them (`psqlscan.l`), without psql: a script must not run commands on this machine, and
//! the rows of a COPY that failed must not be taken for statements.

use crate::error::{Error, Kind, Result};
use std::io::{BufRead, Read};

/// A part of a script. Text is as it stands in the file, in the file's encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A statement without its semicolon.
    Statement(Vec<u8>),
    /// `COPY … FROM stdin`, without its semicolon; rows follow.
    Copy(Vec<u8>),
    /// Rows of the last COPY: whole lines or parts of one.
    Rows(Vec<u8>),
    /// The end mark of a COPY's rows.
    EndOfRows,
    /// A comment line between two statements, without `--` and blanks around it.
    Comment(Vec<u8>),
    /// A line that begins with a backslash, without it: a command to psql.
    Command(Vec<u8>),
}

/// Rows are handed on in pieces of this size.
const ROWS: usize = 256 << 10;
/// A line of rows is read in pieces of this size.
const LINE: u64 = 64 << 10;

/// What a step outside of quotes and comments came to.
enum Step {
    /// So many bytes belong to the statement.
    Bytes(usize),
    /// Nothing did.
    Nothing,
    /// The rest of the line is a comment.
    LineEnd,
    /// The statement is whole.
    StatementEnd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Inside {
    Nothing,
    Quote { escapes: bool },
    Name,
    Dollar(Vec<u8>),
    Comment(u32),
}

/// Reads a script piece by piece; memory holds one statement, or some rows.
pub struct Script<R> {
    from: R,
    line: Vec<u8>,
    at: usize,
    number: u64,
    begun: u64,
    inside: Inside,
    statement: Vec<u8>,
    words: Vec<Vec<u8>>,
    parens: u32,
    blocks: u32,
    backslashes_escape: bool,
    /// Rows of a COPY come next.
    rows: bool,
    /// They go on at the beginning of a line.
    fresh: bool,
    /// Their end mark was read already.
    marked: bool,
}

fn in_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80
}

/// `\.` and a line end.
pub(super) fn is_end_mark(line: &[u8]) -> bool {
    matches!(line, b"\\.\n" | b"\\.\r\n" | b"\\.")
}

impl<R: BufRead> Script<R> {
    /// Reads from its beginning.
    pub fn new(from: R) -> Self {
        Script {
            from,
            line: Vec::new(),
            at: 0,
            number: 0,
            begun: 0,
            inside: Inside::Nothing,
            statement: Vec::new(),
            words: Vec::new(),
            parens: 0,
            blocks: 0,
            backslashes_escape: false,
            rows: false,
            fresh: true,
            marked: false,
        }
    }

    /// Reads where backslashes escape in plain texts, or do not.
    pub(super) fn escaping(from: R, escapes: bool) -> Self {
        Script { backslashes_escape: escapes, ..Script::new(from) }
    }

    /// The line that the last statement began in, or that was read last.
    pub fn line(&self) -> u64 {
        if self.begun > 0 { self.begun } else { self.number }
    }

    /// The next piece; `None` at the end of the script.
    ///
    /// # Errors
    /// [`Kind::Io`] of the reader; [`Kind::Archive`] when the script ends inside a statement or inside rows.
    pub fn next_piece(&mut self) -> Result<Option<Piece>> {
        if self.rows {
            return self.next_rows().map(Some);
        }
        self.begun = 0;
        loop {
            if self.at >= self.line.len() {
                self.line.clear();
                self.at = 0;
                let read = self.from.read_until(b'\n', &mut self.line).map_err(|e| self.unreadable(e))?;
                if read == 0 {
                    return self.at_end();
                }
                self.number += 1;
            }
            if self.statement.is_empty() && self.inside == Inside::Nothing && self.at == 0 {
                let line = self.line.trim_ascii();
                let piece = match line {
                    [b'-', b'-', text @ ..] => Piece::Comment(text.trim_ascii().to_vec()),
                    [b'\\', command @ ..] => Piece::Command(command.to_vec()),
                    _ => match self.statement()? {
                        Some(piece) => return Ok(Some(piece)),
                        None => continue,
                    },
                };
                self.at = self.line.len();
                return Ok(Some(piece));
            }
            if let Some(piece) = self.statement()? {
                return Ok(Some(piece));
            }
        }
    }

    fn unreadable(&self, e: std::io::Error) -> Error {
        // What the system did not say itself, the one who unpacks said: it is the file's own fault.
        match e.raw_os_error() {
            Some(_) => Error::new(Kind::Io, format!("reading behind line {} failed", self.number)).because(e),
            None => Error::new(Kind::Archive, format!("{}, behind line {}", super::damage::cut(&e), self.number)),
        }
    }

    fn at_end(&mut self) -> Result<Option<Piece>> {
        if self.inside != Inside::Nothing || self.parens > 0 || self.blocks > 0 {
            let why = format!("it ends inside the statement that begins in line {}", self.begun);
            return Err(Error::new(Kind::Archive, why));
        }
        match self.statement.trim_ascii() {
            [] => Ok(None),
            // psql sends the last statement also without a semicolon.
            _ => self.take().map(Some),
        }
    }

    fn take(&mut self) -> Result<Piece> {
        let statement = std::mem::take(&mut self.statement).trim_ascii().to_vec();
        self.words.clear();
        let head: Vec<u8> = statement
            .iter()
            .take(80)
            .map(|b| if b.is_ascii_whitespace() { b' ' } else { b.to_ascii_lowercase() })
            .collect();
        if head.starts_with(b"set standard_conforming_strings") {
            self.backslashes_escape = head.ends_with(b"off");
        }
        if head.starts_with(b"copy ") && takes_rows(&statement) {
            // What stands behind the semicolon on this line is no row.
            (self.rows, self.fresh, self.at) = (true, true, self.line.len());
            return Ok(Piece::Copy(statement));
        }
        Ok(Piece::Statement(statement))
    }

    /// Reads on in the line; a piece when a statement ends in it.
    fn statement(&mut self) -> Result<Option<Piece>> {
        while let Some(&b) = self.line.get(self.at) {
            let taken = match self.inside {
                Inside::Nothing => match self.outside(b)? {
                    Step::Bytes(taken) => taken,
                    Step::Nothing => continue,
                    Step::LineEnd => return Ok(None),
                    Step::StatementEnd => return self.take().map(Some),
                },
                _ => self.within(b),
            };
            let end = (self.at + taken).min(self.line.len());
            if !self.statement.is_empty() || !b.is_ascii_whitespace() {
                if self.statement.is_empty() {
                    self.begun = self.number;
                }
                self.statement.extend(&self.line[self.at..end]);
            }
            self.at = end;
        }
        Ok(None)
    }

    /// One step outside of quotes and comments; `b`: the byte that is next.
    fn outside(&mut self, b: u8) -> Result<Step> {
        let next = self.line.get(self.at + 1).copied();
        let mut taken = 1;
        match b {
            b';' if self.parens == 0 && self.blocks == 0 => {
                self.at += 1;
                if self.statement.trim_ascii().is_empty() {
                    self.statement.clear();
                    return Ok(Step::Nothing);
                }
                return Ok(Step::StatementEnd);
            }
            b'-' if next == Some(b'-') => {
                // The comment goes, its line end stays.
                self.at = self.line.len();
                if !self.statement.is_empty() {
                    self.statement.push(b'\n');
                }
                return Ok(Step::LineEnd);
            }
            b'/' if next == Some(b'*') => (self.inside, taken) = (Inside::Comment(1), 2),
            b'\'' => self.inside = Inside::Quote { escapes: self.backslashes_escape },
            b'"' => self.inside = Inside::Name,
            b'(' => self.parens += 1,
            b')' => self.parens = self.parens.saturating_sub(1),
            b'$' => {
                let tag = self.line[self.at + 1..].iter().take_while(|b| in_name(**b) && **b != b'$').count();
                let digit = next.is_some_and(|b| b.is_ascii_digit());
                if !digit && self.line.get(self.at + 1 + tag) == Some(&b'$') {
                    taken = tag + 2;
                    self.inside = Inside::Dollar(self.line[self.at..self.at + taken].to_vec());
                }
            }
            b'\\' => {
                let why = format!("line {}: a backslash between statements is a command to psql", self.number);
                return Err(Error::new(Kind::Archive, why));
            }
            b if in_name(b) => {
                taken = self.line[self.at..].iter().take_while(|b| in_name(**b)).count();
                let word = self.line[self.at..self.at + taken].to_ascii_lowercase();
                if word == b"e" && self.line.get(self.at + taken) == Some(&b'\'') {
                    taken += 1;
                    self.inside = Inside::Quote { escapes: true };
                }
                self.word(word);
            }
            _ => {}
        }
        Ok(Step::Bytes(taken))
    }

    /// One step within quotes or a comment: how many bytes it takes.
    fn within(&mut self, b: u8) -> usize {
        let next = self.line.get(self.at + 1).copied();
        let (taken, ends) = match &mut self.inside {
            Inside::Quote { escapes: true } if b == b'\\' => (2, false),
            Inside::Quote { .. } if b == b'\'' && next == Some(b'\'') => (2, false),
            Inside::Quote { .. } => (1, b == b'\''),
            Inside::Name => (1, b == b'"'),
            Inside::Dollar(tag) if self.line[self.at..].starts_with(tag) => (tag.len(), true),
            Inside::Comment(depth) => match (b, next) {
                (b'/', Some(b'*')) => {
                    *depth += 1;
                    (2, false)
                }
                (b'*', Some(b'/')) => {
                    *depth -= 1;
                    (2, *depth == 0)
                }
                _ => (1, false),
            },
            Inside::Dollar(_) | Inside::Nothing => (1, false),
        };
        if ends {
            self.inside = Inside::Nothing;
        }
        taken
    }

    /// The body of a function in standard SQL (`BEGIN ATOMIC … END`) holds semicolons.
    fn word(&mut self, word: Vec<u8>) {
        if self.words.len() < 4 {
            self.words.push(word.clone());
        }
        let words: Vec<&[u8]> = self.words.iter().map(Vec::as_slice).collect();
        let routine = |w: &[u8]| w == b"function" || w == b"procedure";
        let creates = match words.as_slice() {
            [b"create", b"or", b"replace", w, ..] | [b"create", w, ..] => routine(w),
            _ => false,
        };
        if !creates || self.parens > 0 {
            return;
        }
        match word.as_slice() {
            b"begin" => self.blocks += 1,
            b"case" if self.blocks > 0 => self.blocks += 1,
            b"end" => self.blocks = self.blocks.saturating_sub(1),
            _ => {}
        }
    }

    fn next_rows(&mut self) -> Result<Piece> {
        let mut rows = Vec::new();
        loop {
            if self.marked {
                (self.rows, self.marked) = (false, false);
                return Ok(Piece::EndOfRows);
            }
            let from = rows.len();
            let read = Read::take(&mut self.from, LINE).read_until(b'\n', &mut rows).map_err(|e| self.unreadable(e))?;
            if read == 0 {
                let why = format!("it ends in line {} among the rows of a table", self.number);
                return Err(Error::new(Kind::Archive, why));
            }
            let fresh = std::mem::replace(&mut self.fresh, rows.ends_with(b"\n"));
            self.number += u64::from(self.fresh);
            if fresh && is_end_mark(&rows[from..]) {
                rows.truncate(from);
                self.marked = true;
            }
            if (self.marked && !rows.is_empty()) || rows.len() >= ROWS {
                return Ok(Piece::Rows(rows));
            }
        }
    }
}

/// Whether a COPY statement reads rows from the script.
fn takes_rows(statement: &[u8]) -> bool {
    let words = tokens(statement);
    words.windows(2).any(|w| matches!(w, [a, b] if a == "from" && b == "stdin"))
}

/// The words of a statement: unquoted ones in lower case, names in double quotes as `"name`, without what stands in single quotes.
pub fn tokens(statement: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(statement);
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' => {
                let mut name = String::new();
                while let Some(n) = chars.next() {
                    match n {
                        n if n == c && chars.peek() == Some(&c) => {
                            chars.next();
                            name.push(c);
                        }
                        n if n == c => break,
                        n => name.push(n),
                    }
                }
                words.push(format!("{c}{name}"));
            }
            c if c.is_alphanumeric() || c == '_' => {
                let mut word: String = c.to_lowercase().collect();
                while let Some(n) = chars.next_if(|n| n.is_alphanumeric() || matches!(n, '_' | '$')) {
                    word.extend(n.to_lowercase());
                }
                words.push(word);
            }
            c if c.is_whitespace() => {}
            c => words.push(c.to_string()),
        }
    }
    words
}

/// Roles that a statement names as owner, grantee or subject.
pub(super) fn roles(statement: &[u8]) -> Vec<String> {
    let begins = |word: &[u8]| statement.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word));
    let may = [&b"GRANT "[..], b"REVOKE ", b"ALTER ", b"CREATE POLICY ", b"CREATE USER MAPPING ", b"SET SESSION AUTH"];
    if !may.iter().any(|w| begins(w)) {
        return Vec::new();
    }
    let words = tokens(statement);
    let grants = words.iter().any(|w| w == "grant" || w == "revoke");
    let policy = words.get(1).is_some_and(|w| w == "policy");
    let mut found = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let before = n.checked_sub(1).and_then(|n| words.get(n)).map_or("", String::as_str);
        let named = match word.as_str() {
            "to" => grants || policy || before == "owner",
            "from" => grants,
            "role" => before == "for",
            "for" => before == "mapping",
            "authorization" => before == "session",
            _ => false,
        };
        if !named {
            continue;
        }
        let mut list = words[n + 1..].iter();
        while let Some(name) = list.next() {
            let (quoted, plain) = (name.strip_prefix(['"', '\'']), name.as_str());
            let special = ["public", "current_user", "session_user", "current_role", "user", "group", "default"];
            if quoted.is_some()
                || (!special.contains(&plain) && plain.starts_with(|c: char| c.is_alphabetic() || c == '_'))
            {
                found.push(quoted.unwrap_or(plain).to_owned());
            }
            if list.next().is_none_or(|comma| comma != ",") {
                break;
            }
        }
    }
    found
}

/// The table of `COPY schema.table (columns) FROM stdin`, as it stands there.
pub(super) fn copied_table(statement: &[u8]) -> Option<String> {
    let rest = std::str::from_utf8(statement).ok()?.strip_prefix("COPY ")?;
    let mut quoted = false;
    let end = rest.find(|c| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    })?;
    Some(rest[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Result<Vec<Piece>> {
        let mut script = Script::new(text.as_bytes());
        std::iter::from_fn(|| script.next_piece().transpose()).collect()
    }

    fn statements(text: &str) -> Vec<String> {
        let text_of = |p| match p {
            Piece::Statement(s) => String::from_utf8(s).unwrap(),
            other => format!("{other:?}"),
        };
        pieces(text).unwrap().into_iter().map(text_of).collect()
    }

    #[test]
    fn a_semicolon_ends_a_statement_only_where_psql_thinks_so() {
        for one in [
            "SELECT ';'",
            "SELECT 'it''s;'",
            "SELECT E'\\';'",
            "SELECT 1 AS \"a;\"\"b\"",
            "SELECT $$;$$, $a$ $b$;$$ $a$",
            "SELECT 1 /* ; /* ; */ ; */ + 1",
            "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b)",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
            "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); END",
            "SELECT a$1, b FROM t WHERE x = $1",
            "COMMENT ON TABLE t IS '\n-- no comment\n\\. \n'",
        ] {
            assert_eq!(statements(&format!("{one};\nSELECT 2;")), [one, "SELECT 2"], "{one}");
        }
        assert_eq!(statements("BEGIN; END;SELECT 1"), ["BEGIN", "END", "SELECT 1"]);
        assert_eq!(statements("SELECT 1 -- a ; b\n+ 1;"), ["SELECT 1 \n+ 1"]);
        assert_eq!(statements("SET standard_conforming_strings = off;\nSELECT 'a\\';';").len(), 2);
        for open in [
            "SELECT 'a",
            "SELECT $a$ $$",
            "SELECT (1;",
            "SELECT \"a",
            "/* a",
            "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;",
        ] {
            assert!(pieces(open).is_err(), "{open}");
        }
        assert!(pieces("SELECT 1 \\gset\n").is_err());
    }

    #[test]
    fn rows_go_on_to_their_end_mark_and_no_further() {
        let rows = format!("1\ta;b\n\\\\.\n{}\n", "x".repeat(3 * ROWS));
        let text = format!(
            "COPY public.t (a, b) FROM stdin;\n{rows}\\.\nCOPY t FROM stdin WITH (FORMAT csv);\n\\.\n\\restrict x\n--  a\n"
        );
        let mut seen = Vec::new();
        let rest: Vec<Piece> = pieces(&text)
            .unwrap()
            .into_iter()
            .filter(|p| match p {
                Piece::Rows(bytes) => {
                    seen.extend(bytes.clone());
                    false
                }
                _ => true,
            })
            .collect();
        assert!(seen == rows.as_bytes());
        let copy = |s: &str| Piece::Copy(s.into());
        let expected = [
            copy("COPY public.t (a, b) FROM stdin"),
            Piece::EndOfRows,
            copy("COPY t FROM stdin WITH (FORMAT csv)"),
            Piece::EndOfRows,
            Piece::Command(b"restrict x".into()),
            Piece::Comment(b"a".into()),
        ];
        assert_eq!(rest, expected);
        assert!(pieces("COPY t FROM stdin;\n1\n\\.x\n").is_err());
    }

    #[test]
    fn roles_are_found_where_statements_name_them() {
        for (sql, expected) in [
            ("ALTER TABLE public.t OWNER TO joe", vec!["joe"]),
            ("ALTER TABLE public.t OWNER TO \"Joe, \"\"the\"\" 1st\"", vec!["Joe, \"the\" 1st"]),
            ("GRANT SELECT,INSERT ON TABLE public.t TO a, \"B\" WITH GRANT OPTION", vec!["a", "B"]),
            ("REVOKE ALL ON SCHEMA public FROM PUBLIC", vec![]),
            ("ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT SELECT ON TABLES TO b", vec!["a", "b"]),
            ("CREATE POLICY p ON t FOR SELECT TO a, b USING (true)", vec!["a", "b"]),
            ("CREATE USER MAPPING FOR joe SERVER s", vec!["joe"]),
            ("SET SESSION AUTHORIZATION 'joe'", vec!["joe"]),
            ("SET SESSION AUTHORIZATION DEFAULT", vec![]),
            ("INSERT INTO t VALUES ('GRANT x TO joe')", vec![]),
            ("ALTER TABLE t RENAME TO u", vec![]),
        ] {
            assert_eq!(roles(sql.as_bytes()), expected, "{sql}");
        }
        assert_eq!(copied_table(b"COPY \"a b\".\"c \"\"d\" (e) FROM stdin").unwrap(), "\"a b\".\"c \"\"d\"");
        assert_eq!(copied_table(b"COPY public.t  FROM stdin;").unwrap(), "public.t");
    }
}
