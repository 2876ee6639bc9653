//! The plain format: a script. It is fed to the server by ourselves, not by psql (see [`super::sql`]).

use super::{
    damage::{cut, damaged},
    found::{Found, Packing},
    sql::{self, Piece, Script},
    stream::{self, Input},
};
use crate::{
    error::{self, Error, Kind, Result},
    postgres::{
        answer,
        connect::{self, Session},
        conninfo::Target,
        quote::literal,
    },
    progress::{Event, Progress},
};
use bytes::Bytes;
use futures_util::{SinkExt, pin_mut};
use std::{
    io::{BufReader, Read},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};
use tokio::sync::mpsc;
use tokio_postgres::error::SqlState;

/// Problems that are told one by one.
const PROBLEMS: usize = 100;

type Reading = Script<BufReader<Box<dyn Read>>>;

fn open(path: &Path, packing: Packing, stop: &Arc<AtomicBool>) -> Result<(Reading, stream::At)> {
    let input = Input::open(path, stop).map_err(error::io(path.display()))?;
    let at = input.at();
    let text = stream::unpack(packing, input).map_err(|e| damaged(path, at.get(), &cut(&e)))?;
    Ok((Script::new(BufReader::with_capacity(128 << 10, text)), at))
}

/// Reads the whole script.
pub(super) fn examine(path: &Path, packing: Packing, stop: &Arc<AtomicBool>) -> Result<Found> {
    let (mut script, at) = open(path, packing, stop)?;
    let found = Found { packing, ..Found::default() };
    let mut seen = Seen { path, found, begun: false, complete: false, table: None };
    loop {
        let piece = script.next_piece().map_err(|e| match e.kind() {
            Kind::Archive => damaged(path, at.get(), &e.one_line()),
            _ => e.context(path.display()),
        })?;
        let Some(piece) = piece else { break };
        seen.take(piece, script.line())?;
    }
    seen.whole(at.get())
}

/// What was seen of a script so far.
struct Seen<'a> {
    path: &'a Path,
    found: Found,
    /// pg_dump's first line was there.
    begun: bool,
    /// pg_dump's last line was there.
    complete: bool,
    /// The table whose rows are being read.
    table: Option<String>,
}

impl Seen<'_> {
    fn refused(&self, line: u64, why: &str) -> Error {
        Error::new(Kind::Archive, format!("{}: line {line}: {why}", self.path.display()))
    }

    fn take(&mut self, piece: Piece, line: u64) -> Result<()> {
        if self.complete && matches!(piece, Piece::Statement(_) | Piece::Copy(_)) {
            return Err(self
                .refused(line, "a statement follows the dump's end")
                .hint("a file of several dumps is restored one by one: cut it apart"));
        }
        match piece {
            Piece::Comment(text) => return self.comment(&String::from_utf8_lossy(&text), line),
            Piece::Command(text) => return self.command(&text, line),
            Piece::Statement(_) | Piece::Copy(_) if !self.begun => {
                return Err(self
                    .refused(line, "it is SQL, but does not begin as the dumps of pg_dump do")
                    .hint("only what pg_dump wrote can be checked for being whole; run other scripts by psql"));
            }
            Piece::Copy(statement) => {
                self.found.reach.statement(&format!("line {line}"), &statement);
                let name =
                    sql::copied_table(&statement).unwrap_or_else(|| String::from_utf8_lossy(&statement).into_owned());
                self.found.bytes += statement.len() as u64;
                self.found.rows.entry(name.clone()).or_insert(Some(0));
                self.table = Some(name);
            }
            Piece::Rows(rows) => {
                self.found.bytes += rows.len() as u64;
                let lines = rows.iter().filter(|b| **b == b'\n').count() as u64;
                if let Some(Some(count)) = self.table.as_ref().and_then(|t| self.found.rows.get_mut(t)) {
                    *count += lines;
                }
            }
            Piece::EndOfRows => self.table = None,
            Piece::Statement(statement) => {
                self.found.bytes += statement.len() as u64;
                let place = format!("line {line}");
                if !of_the_database(&statement) {
                    self.found.reach.statement(&place, &statement);
                }
                about(&statement, &mut self.found);
                if let Some(encoding) = client_encoding(&statement) {
                    self.found.reach.encoding(&place, &encoding);
                }
            }
        }
        Ok(())
    }

    /// pg_dump says in comments what it is.
    fn comment(&mut self, text: &str, line: u64) -> Result<()> {
        match text {
            "PostgreSQL database dump" => self.begun = true,
            "PostgreSQL database dump complete" => self.complete = self.begun,
            "PostgreSQL database cluster dump" => {
                let why = "it is a dump of a whole server (pg_dumpall), with its roles and all its databases";
                return Err(self.refused(line, why).hint(
                    "restore it by psql -X -f FILE into an empty server, and take a backup of each database there",
                ));
            }
            text if !self.complete => {
                let after = |words: &str| text.strip_prefix(words).map(|v| v.trim().to_owned());
                let found = &mut self.found;
                found.source_version = found.source_version.take().or(after("Dumped from database version "));
                found.dump_version = found.dump_version.take().or(after("Dumped by pg_dump version "));
                found.created = found.created.take().or(after("Started on "));
            }
            _ => {}
        }
        Ok(())
    }

    /// A command to psql.
    fn command(&mut self, text: &[u8], line: u64) -> Result<()> {
        let words: Vec<&[u8]> = text.splitn(2, |b| *b == b' ').collect();
        match words.as_slice() {
            [b"restrict", _] | [b"unrestrict", _] | [] => {}
            [b"encoding", name] => {
                self.found.reach.encoding(&format!("line {line}"), &String::from_utf8_lossy(name));
                self.found.encoding = Some(String::from_utf8_lossy(name).into_owned());
            }
            [b"connect", name] => {
                let name = String::from_utf8_lossy(name).trim_start_matches("-reuse-previous=on ").to_owned();
                let name = name.strip_prefix("\"dbname='").map_or(name.as_str(), |n| n.trim_end_matches("'\""));
                self.found.database = Some(name.trim_matches('"').to_owned());
            }
            [command, ..] => {
                let command = String::from_utf8_lossy(command);
                let why = format!("\\{command} is a command to psql that pg_dump does not write");
                return Err(self
                    .refused(line, &why)
                    .hint("look at that line: somebody edited the file, or it is no dump"));
            }
        }
        Ok(())
    }

    /// What was found, when it is a whole dump; `at`: bytes of the file that were read.
    fn whole(mut self, at: u64) -> Result<Found> {
        if !self.begun {
            return Err(Error::new(Kind::Archive, format!("{}: it is no dump of pg_dump", self.path.display()))
                .hint("a plain dump begins with -- PostgreSQL database dump"));
        }
        if !self.complete {
            let why = "it ends without pg_dump's last line (-- PostgreSQL database dump complete)";
            return Err(damaged(self.path, at, why));
        }
        if self.found.database.is_some() {
            let line = "it creates a database of its own (pg_dump --create): that part is passed over";
            self.found.warnings.push(line.into());
        }
        Ok(self.found)
    }
}

/// What a statement says about the dump.
fn about(statement: &[u8], found: &mut Found) {
    found.roles.extend(sql::roles(statement));
    let head = statement.get(..statement.len().min(200)).unwrap_or_default().to_ascii_uppercase();
    if head.starts_with(b"CREATE EXTENSION ") {
        let words = sql::tokens(statement);
        let name = words.iter().skip(2).find(|w| !matches!(w.as_str(), "if" | "not" | "exists"));
        found.extensions.extend(name.map(|n| n.trim_start_matches('"').to_owned()));
    } else if head.starts_with(b"CREATE TABLE ") {
        found.tables += 1;
    } else if head.starts_with(b"CREATE DATABASE ") {
        found.create_database = Some(String::from_utf8_lossy(statement).into_owned());
    } else if head.starts_with(b"INSERT INTO ") {
        // Counted by the server alone: one statement may hold many rows.
        let text = String::from_utf8_lossy(statement.get(12..).unwrap_or_default()).into_owned();
        let name = sql::copied_table(format!("COPY {text}").as_bytes());
        if let Some(name) = name.filter(|n| !found.rows.contains_key(n)) {
            found.rows.insert(name, None);
        }
    } else if let Some(encoding) = client_encoding(statement) {
        found.encoding = Some(encoding);
    }
}

/// The encoding in `SET client_encoding = 'LATIN1'`.
fn client_encoding(statement: &[u8]) -> Option<String> {
    let head = statement.get(..19)?.to_ascii_lowercase();
    (head == b"set client_encoding").then(|| sql::tokens(statement))?.pop()?.strip_prefix('\'').map(str::to_owned)
}

/// Whether a statement is about the database as a whole, which must not reach the server: it may name another one than the target.
fn of_the_database(statement: &[u8]) -> bool {
    let text = statement.get(..statement.len().min(500)).unwrap_or_default();
    let words = sql::tokens(text);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["create" | "drop" | "alter", "database", ..] | ["comment", "on", "database", ..] => true,
        ["grant" | "revoke" | "security", rest @ ..] => rest.windows(2).any(|w| w == ["on", "database"]),
        ["update", "pg_catalog", ".", "pg_database", ..] => true,
        _ => false,
    }
}

/// Whether a refused statement has left nothing undone.
fn harmless(statement: &[u8], e: &tokio_postgres::Error) -> bool {
    let Some(code) = e.code() else { return false };
    let words = sql::tokens(statement.get(..statement.len().min(500)).unwrap_or_default());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // A dump of pg_dump --clean drops what an empty database does not have.
    let missing = [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_OBJECT,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::UNDEFINED_COLUMN,
        SqlState::INVALID_SCHEMA_NAME,
    ];
    let drops = match words.as_slice() {
        ["drop", ..] | ["select", "pg_catalog", ".", "lo_unlink", ..] => true,
        ["alter", rest @ ..] => rest.windows(2).any(|w| matches!(w, ["drop", "constraint" | "default"])),
        _ => false,
    };
    (drops && missing.contains(code))
        || (words == ["create", "schema", "public"] && *code == SqlState::DUPLICATE_SCHEMA)
}

/// Runs the script; what failed is a line of the answer.
pub(super) async fn restore(
    path: &Path,
    packing: Packing,
    target: &Target,
    progress: Arc<dyn Progress>,
) -> Result<Vec<String>> {
    let session = connect::connect(target, "savepoint restore").await?;
    let (sender, mut pieces) = mpsc::channel::<Result<(u64, Piece)>>(8);
    let stop = super::found::Stop::default();
    let (file, flag) = (path.to_owned(), stop.0.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let read = || {
            let (mut script, _) = open(&file, packing, &flag)?;
            while let Some(piece) = script.next_piece()? {
                if sender.blocking_send(Ok((script.line(), piece))).is_err() {
                    break;
                }
            }
            Ok(())
        };
        if let Err(e) = read() {
            let _ = sender.blocking_send(Err(e));
        }
    });
    let mut run = Running {
        target: target.clone(),
        session,
        settings: Vec::new(),
        encoding: "UTF8".into(),
        problems: Vec::new(),
        failed: 0,
        progress,
    };
    while let Some(piece) = pieces.recv().await {
        let (line, piece) = piece.map_err(|e| e.context(path.display()))?;
        match piece {
            Piece::Statement(statement) => run.statement(line, &statement).await?,
            Piece::Copy(statement) => run.copy(line, &statement, &mut pieces).await?,
            Piece::Command(command) => {
                if let Some(name) = command.strip_prefix(b"encoding ") {
                    run.encoding = String::from_utf8_lossy(name).into_owned();
                }
            }
            // Rows of a COPY that was refused.
            Piece::Rows(_) | Piece::EndOfRows => {}
            Piece::Comment(_) => {}
        }
    }
    reading.await.map_err(|e| Error::new(Kind::Io, "reading the dump stopped").because(e))?;
    if run.failed > run.problems.len() {
        run.problems.push(format!("… and {} more statements failed", run.failed - run.problems.len()));
    }
    Ok(run.problems)
}

struct Running {
    target: Target,
    session: Session,
    /// What the script has set in its session, by what it is about.
    settings: Vec<(String, String)>,
    encoding: String,
    problems: Vec<String>,
    failed: usize,
    progress: Arc<dyn Progress>,
}

impl Running {
    /// The statement as the session takes it, when it can be had.
    async fn text(&self, statement: &[u8]) -> Result<Option<String>, tokio_postgres::Error> {
        match std::str::from_utf8(statement) {
            Ok(text) if text.is_ascii() || self.encoding.eq_ignore_ascii_case("UTF8") => Ok(Some(text.to_owned())),
            _ => self.session.simple_value(&format!("SELECT {}", self.converted(statement))).await,
        }
    }

    fn converted(&self, statement: &[u8]) -> String {
        let encoding = literal(&self.encoding);
        format!("pg_catalog.convert_from(pg_catalog.decode('{}', 'hex'), {encoding})", hex::encode(statement))
    }

    async fn statement(&mut self, line: u64, statement: &[u8]) -> Result<()> {
        if let Some(encoding) = client_encoding(statement) {
            // Ours stays UTF8; texts are converted by the server.
            self.encoding = encoding;
            return Ok(());
        }
        if of_the_database(statement) {
            return Ok(());
        }
        self.keep(statement);
        let ran = match std::str::from_utf8(statement) {
            Ok(text) if text.is_ascii() || self.encoding.eq_ignore_ascii_case("UTF8") => {
                // One statement, also where the server's own lexer would find two in it.
                self.session.query_typed(text, &[]).await.map(|_| ())
            }
            _ => {
                let text = self.converted(statement);
                self.session.batch_execute(&format!("DO 'BEGIN EXECUTE {}; END'", text.replace('\'', "''"))).await
            }
        };
        self.note(line, statement, ran)
    }

    /// Keeps a statement that sets something in the session.
    fn keep(&mut self, statement: &[u8]) {
        let Ok(text) = std::str::from_utf8(statement) else { return };
        let words = sql::tokens(statement.get(..200.min(statement.len())).unwrap_or_default());
        let about = match words.first().map(String::as_str) {
            Some("set" | "reset") => words.iter().skip(1).take(2).cloned().collect::<Vec<_>>().join(" "),
            Some("select") if words.iter().any(|w| w == "set_config") => "set_config".to_owned(),
            _ => return,
        };
        self.settings.retain(|(kept, _)| *kept != about);
        self.settings.push((about, text.to_owned()));
    }

    /// A new session like the last one. One whose COPY was refused at its start is out of step with the server: the library ends
    /// also a COPY that never began, and takes the server's answer for that of the next statement.
    async fn reconnect(&mut self) -> Result<()> {
        self.session = connect::connect(&self.target, "savepoint restore").await?;
        for (_, setting) in &self.settings {
            let set = self.session.batch_execute(setting).await;
            set.map_err(|e| answer::error("cannot prepare the session", e))?;
        }
        Ok(())
    }

    fn note(&mut self, line: u64, statement: &[u8], ran: Result<(), tokio_postgres::Error>) -> Result<()> {
        let Err(e) = ran else { return Ok(()) };
        if harmless(statement, &e) {
            return Ok(());
        }
        let head = String::from_utf8_lossy(statement.get(..statement.len().min(100)).unwrap_or_default());
        let head = head.split_whitespace().collect::<Vec<_>>().join(" ");
        let closed = e.is_closed() || self.session.is_closed();
        let error = self.session.explain(&format!("line {line} ({head})"), e);
        if closed {
            return Err(error);
        }
        self.failed += 1;
        self.progress.event(Event::Detail(&error.one_line()));
        if self.problems.len() < PROBLEMS {
            self.problems.push(error.one_line());
        }
        Ok(())
    }

    /// Sends the rows that follow; those that are left when the server refuses one are the caller's to pass over.
    async fn copy(
        &mut self,
        line: u64,
        statement: &[u8],
        pieces: &mut mpsc::Receiver<Result<(u64, Piece)>>,
    ) -> Result<()> {
        let mut begun = false;
        let copied = async {
            let mut sql = self.text(statement).await?.unwrap_or_default();
            if !self.encoding.eq_ignore_ascii_case("UTF8") {
                sql.push_str(&format!(" WITH (ENCODING {})", literal(&self.encoding)));
            }
            let into = self.session.copy_in::<_, Bytes>(&sql).await?;
            begun = true;
            pin_mut!(into);
            while let Some(piece) = pieces.recv().await {
                match piece {
                    Ok((_, Piece::Rows(rows))) => {
                        self.progress.event(Event::Restored(rows.len() as u64));
                        into.send(rows.into()).await?;
                    }
                    Ok(_) => break,
                    // Dropping the sink makes the server take none of its rows.
                    Err(e) => return Ok(Err(e)),
                }
            }
            into.finish().await?;
            Ok::<_, tokio_postgres::Error>(Ok(()))
        }
        .await;
        let copied = match copied {
            Ok(read) => read.map(|()| Ok(()))?,
            Err(e) => Err(e),
        };
        self.note(line, statement, copied)?;
        if !begun {
            self.reconnect().await?;
        }
        Ok(())
    }
}
