//! What in a dump reaches out of the database when it is restored: runs programs, touches the server's files, loads code, or does what
//! cannot be told from its text. What pg_dump writes of an ordinary database does none of it.
//!
//! This judges words, not what they come to: code in a trusted language that makes its statements up passes. Only the cage of the throwaway
//! server, or a role that is no superuser, holds whatever a dump says.

use super::sql::{Piece, Script};
use crate::archive::toc::{Entry, Toc};

/// Lines that are told one by one.
const LINES: usize = 50;
/// How deep statements within texts of a function are looked into.
const DEPTH: u32 = 3;
/// INSERT statements of a table in an archive are kept up to this size.
pub(super) const INSERTS: usize = 16 << 20;

/// Statements that pg_dump writes begin so. SELECT has rules of its own.
const ORDINARY: [&str; 24] = [
    "alter",
    "analyze",
    "begin",
    "cluster",
    "comment",
    "commit",
    "copy",
    "create",
    "drop",
    "end",
    "grant",
    "insert",
    "lock",
    "refresh",
    "release",
    "reset",
    "revoke",
    "rollback",
    "savepoint",
    "security",
    "select",
    "set",
    "start",
    "truncate",
];
/// Functions that pg_dump calls.
const CALLED: [&str; 12] = [
    "lo_close",
    "lo_create",
    "lo_open",
    "lo_unlink",
    "loread",
    "lowrite",
    "pg_restore_attribute_stats",
    "pg_restore_extended_stats",
    "pg_restore_relation_stats",
    "pg_extension_config_dump",
    "set_config",
    "setval",
];
/// Functions that reach the server's files or its settings.
const FUNCTIONS: [&str; 15] = [
    "lo_export",
    "lo_import",
    "pg_execute_server_program",
    "pg_file_read",
    "pg_file_rename",
    "pg_file_sync",
    "pg_file_unlink",
    "pg_file_write",
    "pg_ls_dir",
    "pg_read_binary_file",
    "pg_read_file",
    "pg_read_server_files",
    "pg_reload_conf",
    "pg_stat_file",
    "pg_write_server_files",
];
/// Settings by which a session loads libraries.
const LIBRARIES: [&str; 4] =
    ["dynamic_library_path", "session_preload_libraries", "local_preload_libraries", "shared_preload_libraries"];
/// Languages whose functions can do no more than their owner may.
const TRUSTED: [&str; 12] =
    ["sql", "plpgsql", "plperl", "pltcl", "plv8", "plcoffee", "plls", "java", "pllua", "plprql", "plrust", "pltsql"];
/// In these a quote or a backslash may be half of a letter, so nobody can tell where a text ends without the server.
const UNSAFE_ENCODINGS: [&str; 8] =
    ["sjis", "shift_jis_2004", "shiftjis2004", "big5", "gbk", "uhc", "gb18030", "johab"];

/// A part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// A word or a number, in lower case.
    Plain(String),
    /// A name in double quotes.
    Name(String),
    /// A text in single quotes or between dollars.
    Text(String),
    Sign(char),
}

impl Word {
    fn is(&self, word: &str) -> bool {
        matches!(self, Word::Plain(w) if w == word)
    }

    /// As the server understands a name.
    fn named(&self) -> Option<&str> {
        match self {
            Word::Plain(w) | Word::Name(w) => Some(w),
            _ => None,
        }
    }
}

/// Gathers what reaches out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    lines: Vec<String>,
    more: usize,
    /// Backslashes escape in plain texts, as old servers have it.
    escapes: bool,
}

impl Reach {
    fn note(&mut self, place: &str, why: &str, statement: &[u8]) {
        if self.lines.len() >= LINES {
            self.more += 1;
            return;
        }
        let head = String::from_utf8_lossy(statement.get(..statement.len().min(300)).unwrap_or_default());
        let head: String = head.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect();
        self.lines.push(format!("{place}: {why} ({head})"));
    }

    /// The lines, and how many are not told.
    pub fn lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("… and {} more", self.more));
        }
        self.lines
    }

    /// Looks at a statement of a plain dump or of an archive's table of contents; `place`: where it stands.
    pub fn statement(&mut self, place: &str, statement: &[u8]) {
        if let Some(why) = judge(statement, self.escapes) {
            self.note(place, &why, statement);
        }
        let lower = statement.to_ascii_lowercase();
        if lower.starts_with(b"set standard_conforming_strings") {
            self.escapes = lower.ends_with(b"off") || lower.ends_with(b"off'");
        }
    }

    /// Looks at the encoding in which a script's texts stand.
    pub fn encoding(&mut self, place: &str, name: &str) {
        if UNSAFE_ENCODINGS.contains(&name.to_ascii_lowercase().as_str()) {
            let why = format!("where its texts end in encoding {name} cannot be told without the server");
            self.note(place, &why, b"client_encoding");
        }
    }

    /// Looks at SQL of several statements.
    pub fn script(&mut self, place: &str, text: &[u8]) {
        let mut script = Script::escaping(text, self.escapes);
        loop {
            match script.next_piece() {
                Ok(None) => return,
                Ok(Some(Piece::Statement(statement))) => self.statement(place, &statement),
                Ok(Some(Piece::Comment(_))) => {}
                // pg_restore hands it to the server, which is not to be guessed at.
                Ok(Some(_)) | Err(_) => return self.note(place, "it is no plain SQL", text),
            }
        }
    }

    /// Looks at the table of contents of an archive: pg_restore sends what stands there as it is.
    pub fn of_toc(&mut self, toc: &Toc) {
        for entry in &toc.entries {
            let place = place(entry);
            if let Some(encoding) = (entry.kind() == "ENCODING").then(|| toc.encoding()).flatten() {
                self.encoding(&place, &encoding);
            }
            let definition = entry.defn.as_deref().unwrap_or_default();
            // Since 17 the numbers of large objects.
            let numbers = entry.kind() == "BLOB METADATA"
                && definition.iter().all(|b| b.is_ascii_digit() || b.is_ascii_whitespace());
            if !numbers {
                self.script(&place, definition);
            }
            let copy = entry.copy_stmt.as_deref().unwrap_or_default().trim_ascii();
            match copy.strip_suffix(b";").unwrap_or(copy) {
                [] => {}
                copy if is_copy_of_rows(&words(copy, self.escapes)) => {}
                copy => self.note(&place, "a COPY that pg_dump does not write", copy),
            }
            if entry.had_dumper && !matches!(entry.kind(), "TABLE DATA" | "BLOBS") {
                self.note(&place, "data of a kind that pg_dump does not write", entry.kind().as_bytes());
            }
        }
    }

    /// Looks at the INSERT statements of a table in an archive, as far as they were kept.
    pub fn inserts(&mut self, entry: &Entry, text: &[u8]) {
        let place = place(entry);
        match text.len() > INSERTS {
            true => self.note(&place, "INSERT statements, too many to be looked through", b"INSERT"),
            false => self.script(&place, text),
        }
    }
}

fn place(entry: &Entry) -> String {
    format!("{} {}", entry.kind(), entry.name())
}

/// `COPY name (columns) FROM stdin`, with options.
fn is_copy_of_rows(words: &[Word]) -> bool {
    let Some(from) = words.iter().position(|w| w.is("from")) else { return false };
    let options = words.get(from + 2..).unwrap_or_default();
    let name = words.get(1..from).unwrap_or_default();
    words.first().is_some_and(|w| w.is("copy"))
        && words.get(from + 1).is_some_and(|w| w.is("stdin"))
        && name.iter().all(|w| w.named().is_some() || matches!(w, Word::Sign('.' | '(' | ')' | ',')))
        && !options.contains(&Word::Sign(';'))
}

/// Why a statement reaches out, if it does.
fn judge(statement: &[u8], escapes: bool) -> Option<String> {
    let words = words(statement, escapes);
    let at = |n: usize| words.get(n).and_then(Word::named).unwrap_or_default();
    let head = match words.first()? {
        Word::Plain(head) => head.as_str(),
        _ => return Some("it is no statement that pg_dump writes".into()),
    };
    let updates_catalog = head == "update" && at(1) == "pg_catalog";
    match (head, at(1)) {
        ("do", _) => return Some("a DO block, whose statements cannot be told".into()),
        ("load", _) => return Some("it loads a library into the server".into()),
        ("alter", "system") => return Some("it changes the server's settings".into()),
        ("create", "tablespace") => return Some("it uses a folder of the server's machine".into()),
        ("copy", _) => return copied(&words),
        ("select", _) => return selected(&words),
        ("set", _) => return set(&words, statement),
        ("insert", _) if !is_insert_of_constants(&words) => {
            return Some("an INSERT that pg_dump does not write".into());
        }
        // They give rights to call, and tell of, what is there.
        ("grant" | "revoke" | "comment" | "security", _) if !words.contains(&Word::Sign(';')) => return None,
        _ if ORDINARY.contains(&head) || updates_catalog => {}
        _ => return Some(format!("{} is no statement that pg_dump writes", head.to_uppercase())),
    }
    if head == "create" || head == "alter" {
        let library = LIBRARIES.iter().find(|name| words.iter().any(|w| w.named() == Some(name)));
        if let Some(name) = library {
            return Some(format!("it sets {name}, which loads libraries into the server"));
        }
        if words.iter().any(|w| w.is("foreign")) && words.windows(2).any(reads_a_file) {
            return Some("a foreign table that reads a file of the server's machine, or runs a program there".into());
        }
    }
    let routine = head == "create" && words.iter().take(4).any(|w| w.is("function") || w.is("procedure"));
    let atomic = routine && words.iter().any(|w| w.is("atomic"));
    if words.contains(&Word::Sign(';')) && !atomic {
        return Some("several statements in one".into());
    }
    if routine && let Some(why) = language(&words) {
        return Some(why);
    }
    called(&words, routine.then_some(DEPTH))
}

/// An option of file_fdw.
fn reads_a_file(words: &[Word]) -> bool {
    matches!(words, [Word::Plain(name), Word::Text(_)] if name == "filename" || name == "program")
        || matches!(words, [Word::Name(name), Word::Text(_)] if name == "filename" || name == "program")
}

fn copied(words: &[Word]) -> Option<String> {
    let why = match () {
        () if is_copy_of_rows(words) => return None,
        () if words.iter().any(|w| w.is("program")) => "it runs a program on the server's machine",
        () if words.iter().any(|w| matches!(w, Word::Text(_))) => "it reads or writes a file of the server's machine",
        () => "a COPY that pg_dump does not write",
    };
    Some(why.into())
}

/// `INSERT INTO name (columns) VALUES (…)`, of constants.
fn is_insert_of_constants(words: &[Word]) -> bool {
    let Some(values) = words.iter().position(|w| w.is("values")) else { return false };
    let (before, after) = words.split_at(values);
    let call = |w: &[Word]| w[0].named().is_some_and(|name| name != "values") && w[1] == Word::Sign('(');
    !before.iter().any(|w| w.is("select") || w.is("with"))
        && !after.windows(2).any(call)
        && !after.iter().any(|w| w.is("select"))
}

/// The queries in a dump call a few functions, with constants.
fn selected(words: &[Word]) -> Option<String> {
    let calls: Vec<&str> = words
        .windows(2)
        .filter(|w| w[1] == Word::Sign('('))
        .filter_map(|w| w[0].named())
        .filter(|name| !matches!(*name, "values" | "array" | "in"))
        .collect();
    let schema = words.get(1).is_some_and(|w| w.is("pg_catalog")) && words.get(2) == Some(&Word::Sign('.'));
    // SELECT * FROM pg_catalog.pg_restore_relation_stats(…)
    let from = words.get(1) == Some(&Word::Sign('*')) && words.get(3).is_some_and(|w| w.is("pg_catalog"));
    let known = calls.iter().all(|name| CALLED.contains(name)) && !calls.is_empty();
    let path = !calls.contains(&"set_config")
        || words.iter().any(|w| matches!(w, Word::Text(name) if name.eq_ignore_ascii_case("search_path")));
    let one = words.iter().filter(|w| w.is("select")).count() == 1 && !words.contains(&Word::Sign(';'));
    (!(known && (schema || from) && path && one)).then(|| "a query that pg_dump does not write".into())
}

fn set(words: &[Word], statement: &[u8]) -> Option<String> {
    let name = words.get(1).and_then(Word::named).unwrap_or_default();
    if words.contains(&Word::Sign(';')) {
        return Some("several statements in one".into());
    }
    if let Some(library) = LIBRARIES.iter().find(|l| words.iter().any(|w| w.named() == Some(l))) {
        return Some(format!("it sets {library}, which loads libraries into the server"));
    }
    // How texts end follows this setting, so whoever cuts the script into statements must see it.
    let plainly = statement.to_ascii_lowercase().starts_with(b"set standard_conforming_strings");
    let quoting = words.iter().any(|w| w.named() == Some("standard_conforming_strings"));
    (quoting && !(plainly && name == "standard_conforming_strings"))
        .then(|| "it changes how texts are quoted in a way that pg_dump does not".into())
}

/// What speaks against the language of a function.
fn language(words: &[Word]) -> Option<String> {
    let at = words.iter().position(|w| w.is("language"))?;
    let language = match words.get(at + 1)? {
        Word::Plain(name) | Word::Name(name) | Word::Text(name) => name.to_lowercase(),
        Word::Sign(_) => return Some("a function in a language that cannot be told".into()),
    };
    let texts = words.iter().filter_map(|w| if let Word::Text(text) = w { Some(text.as_str()) } else { None });
    match language.as_str() {
        "c" => {
            let library = texts.into_iter().next().unwrap_or_default();
            Some(format!("a function in C, of the library {library}"))
        }
        "internal" => Some("a function of the server's own code under another name".into()),
        name if TRUSTED.contains(&name) => None,
        name => Some(format!("a function in {name}, which may do on the server's machine whatever the server may")),
    }
}

/// A function that reaches out, or a COPY with a file or a program; in the texts of a routine's body, too, so many texts within texts.
fn called(words: &[Word], depth: Option<u32>) -> Option<String> {
    if let Some(name) = words.iter().filter_map(Word::named).find(|name| FUNCTIONS.contains(name)) {
        return Some(format!("it names {name}, which reaches the server's files or settings"));
    }
    let depth = depth?;
    for (n, _) in words.iter().enumerate().filter(|(_, w)| w.is("copy")) {
        let rest = words.get(n + 1..).unwrap_or_default();
        let rest: Vec<&Word> = rest.iter().take_while(|w| **w != Word::Sign(';')).collect();
        let way = |w: &Word| w.is("from") || w.is("to");
        if rest.windows(2).any(|w| way(w[0]) && (w[1].is("program") || matches!(w[1], Word::Text(_)))) {
            return Some("it holds a COPY that runs a program or uses a file on the server's machine".into());
        }
    }
    let texts = words.iter().filter_map(|w| if let Word::Text(text) = w { Some(text) } else { None });
    let deeper = depth.checked_sub(1)?;
    texts.into_iter().find_map(|text| called(&self::words(text.as_bytes(), false), Some(deeper)))
}

/// The words of a statement as the server's lexer sees them, without comments.
fn words(statement: &[u8], escapes: bool) -> Vec<Word> {
    let text = String::from_utf8_lossy(statement);
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    let in_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        match c {
            '-' if next == Some('-') => at += chars[at..].iter().take_while(|c| **c != '\n').count(),
            '/' if next == Some('*') => at = behind_comment(&chars, at),
            '\'' | '"' => {
                let adjoins = at.checked_sub(1).is_some_and(|n| matches!(chars[n], 'e' | 'E'));
                let marked = c == '\'' && adjoins && found.last().is_some_and(|w: &Word| w.is("e"));
                let (text, end) = quoted(&chars, at, c == '\'' && (marked || escapes));
                if marked {
                    found.pop();
                }
                found.push(if c == '"' { Word::Name(text) } else { Word::Text(text) });
                at = end;
            }
            '$' => match dollars(&chars, at) {
                Some((text, end)) => {
                    found.push(Word::Text(text));
                    at = end;
                }
                None => {
                    found.push(Word::Sign(c));
                    at += 1;
                }
            },
            c if c.is_alphanumeric() || c == '_' => {
                let end = at + chars[at..].iter().take_while(|c| in_word(**c)).count();
                found.push(Word::Plain(chars[at..end].iter().collect::<String>().to_lowercase()));
                at = end;
            }
            c if c.is_whitespace() => at += 1,
            c => {
                found.push(Word::Sign(c));
                at += 1;
            }
        }
    }
    found
}

fn behind_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0_u32;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// What stands in quotes, and where it ends.
fn quoted(chars: &[char], at: usize, escapes: bool) -> (String, usize) {
    let quote = chars[at];
    let (mut text, mut at) = (String::new(), at + 1);
    while let Some(&c) = chars.get(at) {
        match (c, chars.get(at + 1)) {
            ('\\', Some(next)) if escapes => {
                text.push(*next);
                at += 2;
            }
            (c, Some(next)) if c == quote && *next == quote => {
                text.push(c);
                at += 2;
            }
            (c, _) if c == quote => return (text, at + 1),
            (c, _) => {
                text.push(c);
                at += 1;
            }
        }
    }
    (text, at)
}

/// `$tag$ … $tag$`.
fn dollars(chars: &[char], at: usize) -> Option<(String, usize)> {
    let tag = chars[at + 1..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
    let mark = chars.get(at..at + tag + 2).filter(|mark| mark.ends_with(&['$']))?;
    if mark.get(1).is_some_and(char::is_ascii_digit) {
        return None;
    }
    let from = at + mark.len();
    let length = chars[from..].windows(mark.len()).position(|w| w == mark).unwrap_or(chars.len() - from);
    Some((chars[from..from + length].iter().collect(), (from + length + mark.len()).min(chars.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(script: &str) -> Vec<String> {
        let mut reach = Reach::default();
        reach.script("here", script.as_bytes());
        reach.lines()
    }

    #[test]
    fn what_reaches_out_is_told() {
        let bad = [
            "COPY t (a) FROM PROGRAM 'touch x'",
            "copy/**/t from -- x\n PROGRAM E'\\'touch' ",
            "COPY (SELECT 1) TO '/tmp/x'",
            "COPY t TO STDOUT",
            "DO $$ BEGIN END $$",
            "DO LANGUAGE plpython3u 'x'",
            "LOAD '/tmp/evil.so'",
            "ALTER SYSTEM SET archive_command = 'x'",
            "ALTER DATABASE d SET session_preload_libraries TO 'evil'",
            "SET dynamic_library_path = '/tmp'",
            "SELECT lo_import('/etc/passwd')",
            "SELECT pg_catalog.pg_reload_conf()",
            "SELECT public.f()",
            "SELECT pg_catalog.setval('s', (SELECT public.f()), true)",
            "SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false)",
            "SET/**/standard_conforming_strings = off",
            "CREATE VIEW v AS SELECT pg_read_file('/etc/passwd')",
            "CREATE TABLE t (a text DEFAULT \"pg_read_file\"('/etc/passwd'))",
            "INSERT INTO t SELECT public.f()",
            "INSERT INTO t VALUES (1), (public.f())",
            "INSERT INTO t VALUES (pg_catalog.pg_read_file('/etc/passwd'))",
            "CREATE FUNCTION system(cstring) RETURNS int AS '/lib/libc.so.6','system' LANGUAGE C STRICT",
            "CREATE FUNCTION f() RETURNS int LANGUAGE \"c\" AS '$libdir/x'",
            "CREATE OR REPLACE FUNCTION f(language text) RETURNS int LANGUAGE plpython3u AS 'x'",
            "CREATE PROCEDURE f() LANGUAGE plpgsql AS $_$ BEGIN COPY t TO PROGRAM 'x'; END $_$",
            "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'COPY t FROM ''/etc/passwd'''; END $$",
            "CREATE FUNCTION f() RETURNS int LANGUAGE internal AS 'x'",
            "CREATE FOREIGN TABLE f (a text) SERVER s OPTIONS (program 'id')",
            "CREATE TABLESPACE x LOCATION '/tmp'",
            "CALL f()",
            "EXPLAIN ANALYZE SELECT 1",
            "\"x\"",
            // The cutter takes it for one statement.
            "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1'; COPY t FROM PROGRAM 'x'; SELECT 1 AS end",
        ];
        for statement in bad {
            assert_eq!(told(&format!("{statement};")).len(), 1, "{statement}: {:?}", told(statement));
        }
        let hidden = "SET standard_conforming_strings = off;\nINSERT INTO t VALUES ('\\'', pg_read_file('x'), '');";
        assert_eq!(told(hidden).len(), 1, "{:?}", told(hidden));
        let mut reach = Reach::default();
        (0..60).for_each(|_| reach.statement("line 1", b"DO 'x'"));
        assert_eq!(reach.lines().last().map(String::as_str), Some("… and 10 more"));
    }

    #[test]
    fn what_pg_dump_writes_of_an_ordinary_database_is_not() {
        let good = "SET statement_timeout = 0;
            SET standard_conforming_strings = on;
            SELECT pg_catalog.set_config('search_path', '', false);
            SELECT pg_catalog.setval('public.s', 10, true);
            SELECT pg_catalog.lo_create('16400');
            SELECT * FROM pg_catalog.pg_restore_relation_stats('version', '180000'::integer, 'relation', 'f');
            CREATE EXTENSION IF NOT EXISTS plpython3u WITH SCHEMA pg_catalog;
            CREATE FUNCTION public.f(\"language\" text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'copy from'; END $$;
            CREATE FUNCTION public.g() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END;
            COMMENT ON FUNCTION public.f(text) IS 'as COPY FROM PROGRAM ''x'' and pg_read_file';
            GRANT ALL ON FUNCTION pg_catalog.pg_read_file(text) TO monitoring;
            INSERT INTO public.t (a, b) OVERRIDING SYSTEM VALUE VALUES (1, NULL), (-2, true), (DEFAULT, B'10');
            INSERT INTO public.t DEFAULT VALUES;
            INSERT INTO public.t VALUES ('pg_read_file; COPY t FROM PROGRAM ''x''', E'\\';');
            CREATE TABLE public.copy (\"from\" text, program text DEFAULT 'x');
            CREATE FOREIGN TABLE public.r (a int) SERVER s OPTIONS (table_name 'r');
            REFRESH MATERIALIZED VIEW public.m;
            UPDATE pg_catalog.pg_index SET indisvalid = false WHERE false;
            ALTER TABLE ONLY public.t ALTER COLUMN a SET DEFAULT 'load';";
        assert_eq!(told(good), Vec::<String>::new());
        assert!(is_copy_of_rows(&words(b"COPY public.\"T, x\" (a, \"from\") FROM stdin", false)));
        assert!(is_copy_of_rows(&words(b"COPY public.t (a) FROM stdin WITH (FREEZE)", false)));
        assert!(!is_copy_of_rows(&words(b"COPY public.t (a) FROM '/etc/passwd'", false)));
    }
}
