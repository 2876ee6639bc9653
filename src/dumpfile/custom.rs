//! The custom format, block by block. Together a block's chunks are one compressed stream.

use super::{
    content::{self, Data, Fault, Holds},
    damage::{cut, damaged},
    folder,
    found::{Found, Packing},
    stream::{self, Input, Zlib},
};
use crate::{
    archive::{
        custom::{Chunks, DATA, INT, LARGE_OBJECTS, byte, int},
        toc::{Entry, Toc},
    },
    error::Result,
};
use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

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

fn one(input: &mut Input, packing: Packing, holds: Holds, bytes: &mut u64) -> Result<Data, Fault> {
    let mut chunks = BufReader::new(Chunks::of(input));
    if packing == Packing::Gzip {
        return content::check(Zlib::new(&mut chunks), holds, bytes);
    }
    // An empty large object may have no stream at all.
    if holds == Holds::Bytes && chunks.fill_buf().map_err(Fault::Read)?.is_empty() {
        return Ok(Data::Bytes);
    }
    content::check(stream::unpack(packing, &mut chunks).map_err(Fault::Read)?, holds, bytes)
}
