//! What the data of one table must look like, whatever it is packed in.

use super::{reach::INSERTS, sql};
use crate::archive::toc::Entry;
use std::io::{BufRead, Read};

/// What an entry's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// COPY text: rows and one end mark at the very end.
    Rows,
    /// INSERT statements.
    Inserts,
    /// Large objects: any bytes.
    Bytes,
}

impl Holds {
    pub fn of(entry: &Entry) -> Holds {
        match (entry.kind(), &entry.copy_stmt) {
            ("TABLE DATA", Some(statement)) if !statement.is_empty() => Holds::Rows,
            ("TABLE DATA", _) => Holds::Inserts,
            _ => Holds::Bytes,
        }
    }
}

/// What an entry's data was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// So many rows.
    Rows(u64),
    /// INSERT statements, as far as they are kept: a byte more than [`INSERTS`] where there are too many.
    Inserts(Vec<u8>),
    Bytes,
}

/// Takes the data of one table and knows in the end whether it was whole. An archive that ends too early, or with its end mark in the
/// middle, restores without an error, so nobody else asks.
pub(super) struct Content {
    holds: Holds,
    rows: u64,
    /// The first bytes of the line that is being read.
    line: Vec<u8>,
    /// What came behind the end mark.
    after: Option<Vec<u8>>,
    last: Vec<u8>,
    inserts: Vec<u8>,
}

impl Content {
    pub fn new(holds: Holds) -> Self {
        Content { holds, rows: 0, line: Vec::new(), after: None, last: Vec::new(), inserts: Vec::new() }
    }

    pub fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self.holds {
            Holds::Bytes => return Ok(()),
            Holds::Inserts => {
                let room = (INSERTS + 1).saturating_sub(self.inserts.len());
                self.inserts.extend(bytes.iter().take(room));
                self.last.extend(&bytes[bytes.len().saturating_sub(3)..]);
                self.last.drain(..self.last.len().saturating_sub(3));
                return Ok(());
            }
            Holds::Rows => {}
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let all = rest;
            let length = rest.skip_until(b'\n').map_err(|e| e.to_string())?;
            let piece = &all[..length];
            if let Some(after) = &mut self.after {
                after.extend(piece.iter().take(4));
                if after.iter().any(|b| *b != b'\n') {
                    return Err(format!("its end mark stands behind row {}, and more follows", self.rows));
                }
                continue;
            }
            self.line.extend(piece.iter().take(4 - self.line.len()));
            if piece.ends_with(b"\n") {
                match sql::is_end_mark(&self.line) {
                    true => self.after = Some(Vec::new()),
                    false => self.rows += 1,
                }
                self.line.clear();
            }
        }
        Ok(())
    }

    /// What it was.
    pub fn finish(self) -> Result<Data, String> {
        match (self.holds, &self.after) {
            (Holds::Bytes, _) => Ok(Data::Bytes),
            (Holds::Inserts, _) if self.last.ends_with(b"\n\n") => Ok(Data::Inserts(self.inserts)),
            (Holds::Inserts, _) => Err("it does not end as the INSERT statements of a table do".into()),
            // As pg_dump ends it, and so do we.
            (Holds::Rows, Some(after)) if after == b"\n\n" => Ok(Data::Rows(self.rows)),
            (Holds::Rows, Some(_)) => Err("it ends within COPY's end mark".into()),
            (Holds::Rows, None) => Err(format!("it ends behind row {} without COPY's end mark", self.rows)),
        }
    }
}

/// Reads data to its end.
pub(super) fn check(mut from: impl Read, holds: Holds, read: &mut u64) -> Result<Data, Fault> {
    let mut content = Content::new(holds);
    let mut buffer = vec![0; 128 << 10];
    loop {
        let n = from.read(&mut buffer).map_err(Fault::Read)?;
        if n == 0 {
            return content.finish().map_err(Fault::Content);
        }
        *read += n as u64;
        content.push(&buffer[..n]).map_err(Fault::Content)?;
    }
}

/// Why data is not what it should be.
#[derive(Debug)]
pub(super) enum Fault {
    /// It cannot be read or unpacked.
    Read(std::io::Error),
    /// It is not what such data must be.
    Content(String),
}
