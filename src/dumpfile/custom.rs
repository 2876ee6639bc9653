//! The custom format, block by block (`pg_backup_custom.c`): the TOC, then per entry a block: a type byte, the entry's id, and chunks of a
//! length and so many bytes, ended by a length of 0. Together a block's chunks are one compressed stream; a block of large objects
//! holds a list of OIDs, each followed by such chunks, ended by an OID of 0.

use super::{
    content::{self, Fault, Holds},
    damage::{cut, damaged},
    folder,
    found::{Found, Packing},
    stream::{self, Input, Zlib},
};
use crate::{
    archive::toc::{Entry, Toc},
    error::Result,
};
use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

/// Bytes of an integer: its sign and four more.
const INT: usize = 5;

const DATA: u8 = 1;
const LARGE_OBJECTS: u8 = 3;

/// Reads the whole file.
pub(super) fn examine(path: &Path, stop: &Arc<AtomicBool>) -> Result<Found> {
    let mut input = Input::open(path, stop).map_err(crate::error::io(path.display()))?;
    let at = input.at();
    let (toc, offsets) =
        Toc::parse_custom(&mut input).map_err(|e| e.context(path.display()).hint(super::damage::FETCH_AGAIN))?;
    let toc_end = at.get();
    let packing = match (toc.version.1, toc.compression) {
        (_, 0) => Packing::None,
        (..=14, _) | (_, 1) => Packing::Gzip,
        (_, 2) => Packing::Lz4,
        _ => Packing::Zstd,
    };
    let mut found = Found::of_toc(&toc, packing);
    let entries = toc.entries.iter().zip(&offsets).filter(|(e, _)| e.had_dumper);
    let mut wanted: HashMap<i32, (&Entry, Option<u64>)> = entries.map(|(e, o)| (e.dump_id, (e, *o))).collect();
    let mut oids = BTreeSet::new();
    let failed = |why: String| damaged(path, at.get(), &why);
    loop {
        let begin = at.get();
        if input.fill_buf().map_err(|e| failed(e.to_string()))?.is_empty() {
            break;
        }
        if wanted.is_empty() {
            if toc_again(path, &toc, toc_end, begin).map_err(|e| failed(e.to_string()))? {
                break;
            }
            return Err(failed("something follows its data, which its table of contents does not await".into()));
        }
        let block = byte(&mut input).map_err(|e| failed(cut(&e)))?;
        let id = int(&mut input).map_err(|e| failed(cut(&e)))?;
        let Some((entry, offset)) = i32::try_from(id).ok().and_then(|id| wanted.remove(&id)) else {
            return Err(failed(format!(
                "a block of data begins for entry {id}, which its table of contents does not await"
            )));
        };
        let name = format!("{} {}", entry.kind(), entry.name());
        if offset.is_some_and(|offset| offset != begin) {
            return Err(failed(format!("the data of {name} does not begin where the table of contents says")));
        }
        let failed = |fault: Fault| match fault {
            Fault::Read(e) => damaged(path, at.get(), &format!("the data of {name}: {}", cut(&e))),
            Fault::Content(why) => damaged(path, at.get(), &format!("the data of {name}: {why}")),
        };
        match block {
            DATA => {
                let rows = one(&mut input, packing, Holds::of(entry), &mut found.bytes).map_err(failed)?;
                found.data_of(entry, rows);
            }
            LARGE_OBJECTS => loop {
                let oid = int(&mut input).map_err(|e| failed(Fault::Read(e)))?;
                if oid == 0 {
                    break;
                }
                oids.extend(u32::try_from(oid));
                one(&mut input, packing, Holds::Bytes, &mut found.bytes).map_err(failed)?;
            },
            other => return Err(damaged(path, begin, &format!("a block of unknown type {other} begins there"))),
        }
    }
    if let Some((entry, _)) = wanted.values().min_by_key(|(e, _)| e.dump_id) {
        let (n, name) = (wanted.len(), format!("{} {}", entry.kind(), entry.name()));
        return Err(failed(format!("it ends before the data of {n} entries, such as {name}")));
    }
    folder::all_objects(path, &toc, &oids)?;
    Ok(found)
}

/// Whether nothing but the table of contents once more stands at `begin`: pg_dump 16 and later opens its standard output for appending, so
/// that with `pg_dump -Fc > FILE` the table of contents with the offsets, meant to take the first one's place, goes to the end.
fn toc_again(path: &Path, toc: &Toc, toc_end: u64, begin: u64) -> io::Result<bool> {
    // Magic, version, sizes, format, compression, seven integers of time and three strings stand in front of what is written again.
    let strings = [&toc.dbname, &toc.server_version, &toc.dump_version];
    let strings: usize = strings.iter().map(|s| INT + s.as_ref().map_or(0, Vec::len)).sum();
    let header = (11 + if toc.version.1 >= 15 { 1 } else { INT } + 7 * INT + strings) as u64;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len().saturating_sub(begin);
    if toc_end.checked_sub(header) != Some(length) {
        return Ok(false);
    }
    let mut whole = Vec::new();
    file.by_ref().take(header).read_to_end(&mut whole)?;
    file.seek(SeekFrom::Start(begin))?;
    file.take(length).read_to_end(&mut whole)?;
    let mut from = whole.as_slice();
    Ok(Toc::parse_custom(&mut from).is_ok_and(|(again, _)| again == *toc) && from.is_empty())
}

fn one(input: &mut Input, packing: Packing, holds: Holds, bytes: &mut u64) -> Result<Option<u64>, Fault> {
    let mut chunks = BufReader::new(Chunks { from: input, left: 0, ended: false });
    if packing == Packing::Gzip {
        return content::check(Zlib::new(&mut chunks), holds, bytes);
    }
    // An empty large object may have no stream at all.
    if holds == Holds::Bytes && chunks.fill_buf().map_err(Fault::Read)?.is_empty() {
        return Ok(None);
    }
    content::check(stream::unpack(packing, &mut chunks).map_err(Fault::Read)?, holds, bytes)
}

struct Chunks<'a> {
    from: &'a mut Input,
    left: u64,
    ended: bool,
}

impl Read for Chunks<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let length = int(self.from)?;
            self.left =
                u64::try_from(length).map_err(|_| io::Error::new(ErrorKind::InvalidData, "a negative length"))?;
            self.ended = length == 0;
        }
        if self.ended || into.is_empty() {
            return Ok(0);
        }
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.from.read(&mut into[..most])?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

fn byte(from: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn int(from: &mut impl Read) -> io::Result<i64> {
    let mut b = [0; 5];
    from.read_exact(&mut b)?;
    let size = i64::from(u32::from_le_bytes([b[1], b[2], b[3], b[4]]));
    match b[0] {
        0 => Ok(size),
        1 if size > 0 => Ok(-size),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "no length stands where one is due")),
    }
}
