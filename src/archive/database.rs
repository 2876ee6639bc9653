//! What belongs to a database itself: how it is created, and its owner, settings, limit, grants, comment and labels.
//!
//! pg_dump writes these into every archive, and pg_restore runs them with `--create` alone, under the source's name. The entries are
//! `DATABASE`, `DATABASE PROPERTIES` (`ALTER DATABASE … SET`, `ALTER ROLE … IN DATABASE … SET`, limits), and `ACL`, `COMMENT` and
//! `SECURITY LABEL` whose tag begins with `DATABASE ` (`dumpDatabase` in PostgreSQL's source).

use super::toc::{Entry, Toc};
use crate::postgres::quote::quote_raw;
use std::ops::Range;

/// A database's own properties, as an archive has them; bytes are in the archive's encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    name: Vec<u8>,
    owner: Option<Vec<u8>>,
    /// `CREATE DATABASE …`, without its semicolon.
    create: Vec<u8>,
    /// Every other statement, without its semicolon, in pg_dump's order.
    statements: Vec<Statement>,
}

/// A statement about a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its text, without its semicolon.
    pub sql: Vec<u8>,
    /// Whether it says who owns or may use the database.
    pub is_grant: bool,
}

impl Statement {
    /// What it is about, without any value: settings may hold secrets. `ALTER DATABASE app SET work_mem`.
    pub fn label(&self) -> String {
        let words = words(&self.sql);
        let upper = |n: usize| words.get(n).map(|w| self.sql[w.clone()].to_ascii_uppercase()).unwrap_or_default();
        // The name behind SET is the last thing that is no value; a comment's text comes behind IS.
        let set = (0..words.len()).find(|&n| upper(n) == b"SET").map(|n| n + 1);
        let is =
            (0..words.len()).find(|&n| matches!(upper(n).as_slice(), b"IS" | b"LIMIT")).map(|n| n.saturating_sub(1));
        let last = set.or(is).unwrap_or(words.len().saturating_sub(1)).min(words.len().saturating_sub(1));
        let end = words.get(last).map_or(0, |w| w.end);
        String::from_utf8_lossy(&self.sql[..end]).into_owned()
    }
}

impl Database {
    /// What a table of contents says; `None` where pg_dump wrote nothing of the kind.
    pub fn of(toc: &Toc) -> Option<Database> {
        let made = toc.entries.iter().find(|e| e.kind() == "DATABASE")?;
        let mut found = Database {
            name: made.tag.clone()?,
            owner: made.owner.clone().filter(|o| !o.is_empty()),
            create: split(made.defn.as_deref().unwrap_or_default()).into_iter().next().unwrap_or_default(),
            statements: Vec::new(),
        };
        for entry in toc.entries.iter().filter(|e| is_of_database(e) && e.kind() != "DATABASE") {
            let is_grant = entry.kind() == "ACL";
            let all = split(entry.defn.as_deref().unwrap_or_default());
            found.statements.extend(all.into_iter().map(|sql| Statement { sql, is_grant }));
        }
        Some(found)
    }

    /// Every statement but that which creates it, for a database of this name, that of its owner first.
    pub fn statements(&self, name: &str) -> Vec<Statement> {
        let owner = self.owner.as_deref().map(|owner| Statement {
            sql: [b"ALTER DATABASE ", quote_raw(&self.name).as_slice(), b" OWNER TO ", &quote_raw(owner)].concat(),
            is_grant: true,
        });
        let renamed = |s: &Statement| Statement { sql: renamed(&s.sql, name.as_bytes()), is_grant: s.is_grant };
        owner.iter().chain(&self.statements).map(renamed).collect()
    }

    /// A script for psql that creates the database and gives it what it had.
    pub fn script(&self, encoding: &str) -> Vec<u8> {
        let mut text = format!(
            "-- A database and what belongs to it: owner, settings, limit, grants, comment. Run it in another database, behind globals.sql:\n\
             --   psql -d postgres -f globals.sql -f database.sql\n\
             -- For a database that is there already, leave out CREATE DATABASE.\n\n\
             SET client_encoding = '{encoding}';\nSET standard_conforming_strings = on;\n\n"
        )
        .into_bytes();
        text.extend_from_slice(&self.create);
        text.extend_from_slice(b";\n");
        let name = String::from_utf8(self.name.clone());
        let all = match &name {
            Ok(name) => self.statements(name),
            // A name that is no UTF-8 stays as pg_dump wrote it.
            Err(_) => self.statements.clone(),
        };
        for statement in all {
            text.extend_from_slice(&statement.sql);
            text.extend_from_slice(b";\n");
        }
        text
    }
}

/// Whether an entry belongs to the database itself, not to what is in it.
pub fn is_of_database(entry: &Entry) -> bool {
    match entry.kind() {
        "DATABASE" | "DATABASE PROPERTIES" => true,
        "ACL" | "COMMENT" | "SECURITY LABEL" => entry.tag.as_deref().is_some_and(|tag| tag.starts_with(b"DATABASE ")),
        _ => false,
    }
}

/// The statement with another name behind its first `DATABASE`.
fn renamed(sql: &[u8], name: &[u8]) -> Vec<u8> {
    let words = words(sql);
    let at = words.windows(2).find(|w| sql[w[0].clone()].eq_ignore_ascii_case(b"DATABASE")).map(|w| w[1].clone());
    match at {
        Some(at) => [&sql[..at.start], &quote_raw(name), &sql[at.end..]].concat(),
        None => sql.to_vec(),
    }
}

/// Where the words of a statement stand: keywords, names, quoted names, constants, and single signs.
fn words(sql: &[u8]) -> Vec<Range<usize>> {
    let in_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.') || b >= 0x80;
    let (mut words, mut at) = (Vec::new(), 0);
    while at < sql.len() {
        let start = at;
        at = match sql[at] {
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            quote @ (b'"' | b'\'') => past_quote(sql, at, quote, false),
            // E'…': a backslash takes the meaning of what follows.
            b'E' | b'e' if sql.get(at + 1) == Some(&b'\'') => past_quote(sql, at + 1, b'\'', true),
            b if in_word(b) => at + sql[at..].iter().take_while(|&&b| in_word(b)).count(),
            _ => at + 1,
        };
        words.push(start..at);
    }
    words
}

/// The end of the quoted piece that begins at `at`.
fn past_quote(sql: &[u8], at: usize, quote: u8, escapes: bool) -> usize {
    let mut at = at + 1;
    while at < sql.len() {
        match sql[at] {
            b'\\' if escapes => at += 2,
            b if b == quote && sql.get(at + 1) == Some(&quote) => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    sql.len()
}

/// Statements, each without the semicolon that ends it.
fn split(text: &[u8]) -> Vec<Vec<u8>> {
    let (mut statements, mut begin) = (Vec::new(), 0);
    let ends = words(text).into_iter().filter(|w| &text[w.clone()] == b";").map(|w| w.start);
    for end in ends.chain([text.len()]) {
        let statement = text[begin..end].trim_ascii();
        if !statement.is_empty() {
            statements.push(statement.to_vec());
        }
        begin = (end + 1).min(text.len());
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str) -> Vec<Statement> {
        split(text.as_bytes()).into_iter().map(|sql| Statement { sql, is_grant: false }).collect()
    }

    #[test]
    fn statements_are_split_renamed_and_labelled_without_their_values() {
        let text = "ALTER DATABASE app SET \"app.jwt; secret\" TO 'a;b''c';\nALTER ROLE \"IN DATABASE\" IN DATABASE app SET work_mem TO '7MB';\n\
             ALTER DATABASE app CONNECTION LIMIT = 5;\nCOMMENT ON DATABASE app IS E'it\\';s';\nREVOKE ALL ON DATABASE app FROM PUBLIC;\n\
             GRANT CONNECT ON DATABASE app TO \"a\"\"b\";\nALTER DATABASE app SET search_path TO 'a', 'b';\n";
        let all = statements(text);
        let shown: Vec<String> =
            all.iter().map(|s| String::from_utf8(renamed(&s.sql, b"other \"one\"")).unwrap()).collect();
        assert_eq!(
            shown,
            [
                "ALTER DATABASE \"other \"\"one\"\"\" SET \"app.jwt; secret\" TO 'a;b''c'",
                "ALTER ROLE \"IN DATABASE\" IN DATABASE \"other \"\"one\"\"\" SET work_mem TO '7MB'",
                "ALTER DATABASE \"other \"\"one\"\"\" CONNECTION LIMIT = 5",
                "COMMENT ON DATABASE \"other \"\"one\"\"\" IS E'it\\';s'",
                "REVOKE ALL ON DATABASE \"other \"\"one\"\"\" FROM PUBLIC",
                "GRANT CONNECT ON DATABASE \"other \"\"one\"\"\" TO \"a\"\"b\"",
                "ALTER DATABASE \"other \"\"one\"\"\" SET search_path TO 'a', 'b'",
            ]
        );
        let labels: Vec<String> = all.iter().map(Statement::label).collect();
        assert_eq!(
            labels,
            [
                "ALTER DATABASE app SET \"app.jwt; secret\"",
                "ALTER ROLE \"IN DATABASE\" IN DATABASE app SET work_mem",
                "ALTER DATABASE app CONNECTION",
                "COMMENT ON DATABASE app",
                "REVOKE ALL ON DATABASE app FROM PUBLIC",
                "GRANT CONNECT ON DATABASE app TO \"a\"\"b\"",
                "ALTER DATABASE app SET search_path",
            ]
        );
    }
}
