//! The directory and the tar format: a table of contents and a file per table. In a tar archive nothing is compressed.

use super::{
    content::{self, Fault, Holds},
    damage::{FETCH_AGAIN, cut, damaged},
    found::{Format, Found, Packing},
    stream::{self, Input},
};
use crate::{
    archive::toc::{Entry, Toc, section},
    error::{self, Error, Kind, Result},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, Read},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

/// Largest list of large objects or table of contents that is read into memory.
const LIST: u64 = 1 << 30;

/// What a file of the archive holds, and whose it is.
enum Wanted<'a> {
    Data(&'a Entry),
    /// The list of large objects.
    List,
    LargeObject,
}

/// Names of the files with data that the table of contents awaits. A tar archive names the list of its large objects by itself.
fn wanted(toc: &Toc, format: Format) -> BTreeMap<String, Wanted<'_>> {
    let named = toc.entries.iter().filter(|e| e.had_dumper && e.section == section::DATA);
    let name = |e: &Entry| match (e.kind(), format, toc.version.1) {
        ("BLOBS", Format::Tar, 16..) => format!("blobs_{}.toc", e.dump_id),
        ("BLOBS", Format::Tar, _) => "blobs.toc".into(),
        _ => String::from_utf8_lossy(e.filename.as_deref().unwrap_or_default()).into_owned(),
    };
    named.map(|e| (name(e), if e.kind() == "BLOBS" { Wanted::List } else { Wanted::Data(e) })).collect()
}

/// Files of the large objects in a list: `oid name` per line.
fn listed(list: &[u8]) -> Result<Vec<(u32, String)>, String> {
    if !list.is_empty() && !list.ends_with(b"\n") {
        return Err("the list of large objects ends in the middle of a line".into());
    }
    let line = |line: &str| match line.split_once(' ') {
        Some((oid, name)) if !name.contains('/') => match oid.parse() {
            Ok(oid) => Ok((oid, name.to_owned())),
            Err(_) => Err(format!("the list of large objects holds the line {line:?}")),
        },
        _ => Err(format!("the list of large objects holds the line {line:?}")),
    };
    String::from_utf8_lossy(list).lines().map(line).collect()
}

/// Reads every file that `toc.dat` names.
pub(super) fn directory(path: &Path, stop: &Arc<AtomicBool>) -> Result<Found> {
    let toc_path = path.join("toc.dat");
    let bytes = fs::read(&toc_path).map_err(error::io(format!("cannot read {}", toc_path.display())))?;
    let toc = Toc::parse(&bytes).map_err(|e| e.context(path.display()).hint(FETCH_AGAIN))?;
    let mut found = Found::of_toc(&toc, Packing::None);
    let mut left: BTreeSet<String> = fs::read_dir(path)
        .map_err(error::io(format!("cannot read {}", path.display())))?
        .filter_map(|f| Some(f.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    left.remove("toc.dat");
    let (mut weak, mut oids) = (BTreeSet::new(), BTreeSet::new());
    let mut wanted: Vec<(String, Wanted<'_>)> = wanted(&toc, Format::Directory).into_iter().collect();
    while let Some((name, what)) = wanted.pop() {
        // In pg_restore's own order: a plain file hides a compressed one.
        let suffixes = ["", ".gz", ".lz4", ".zst"];
        let Some(file) = suffixes.iter().map(|s| format!("{name}{s}")).find(|n| left.contains(n)) else {
            let whose = match what {
                Wanted::Data(entry) => format!(", the data of {} {}", entry.kind(), entry.name()),
                Wanted::List | Wanted::LargeObject => String::new(),
            };
            return Err(Error::new(Kind::Archive, format!("{}: file {name}{whose}, is missing", path.display()))
                .hint("fetch the folder again, with all its files, or take the dump again"));
        };
        left.remove(&file);
        let full = path.join(&file);
        let packing = Packing::of_suffix(&file);
        found.packing = if packing == Packing::None { found.packing } else { packing };
        let mut input = Input::open(&full, stop).map_err(error::io(full.display()))?;
        let at = input.at();
        let failed = |fault: Fault| match fault {
            Fault::Read(e) => damaged(&full, at.get(), &cut(&e)),
            Fault::Content(why) => damaged(&full, at.get(), &why),
        };
        let head = input.fill_buf().map_err(|e| failed(Fault::Read(e)))?;
        if matches!(packing, Packing::Zstd | Packing::Lz4) && head.is_empty() && matches!(what, Wanted::LargeObject) {
            // So pg_dump writes a large object that is empty.
            found.warnings.push(format!("file {file} is empty: a large object without content, or one that was lost"));
            continue;
        }
        if packing != Packing::None && head.is_empty() {
            return Err(failed(Fault::Content("it is empty".into())));
        }
        if !stream::has_checksum(head) && !matches!(what, Wanted::List) {
            weak.insert(packing);
        }
        let mut text = stream::unpack(packing, input).map_err(|e| failed(Fault::Read(e)))?;
        match what {
            Wanted::Data(entry) => {
                let rows = content::check(text, Holds::of(entry), &mut found.bytes).map_err(failed)?;
                found.data_of(entry, rows);
            }
            Wanted::LargeObject => {
                content::check(text, Holds::Bytes, &mut found.bytes).map_err(failed)?;
            }
            Wanted::List => {
                let mut list = Vec::new();
                (&mut text).take(LIST).read_to_end(&mut list).map_err(|e| failed(Fault::Read(e)))?;
                let names = listed(&list).map_err(|why| failed(Fault::Content(why)))?;
                oids.extend(names.iter().map(|(oid, _)| *oid));
                wanted.extend(names.into_iter().map(|(_, name)| (name, Wanted::LargeObject)));
            }
        }
    }
    all_objects(path, &toc, &oids)?;
    found.weak.extend(weak);
    if let Some(first) = left.first() {
        let n = left.len();
        found.warnings.push(format!("toc.dat does not name {n} of its files, such as {first}"));
    }
    Ok(found)
}

/// Reads every member of a tar archive (POSIX ustar, as `pg_backup_tar.c` writes it), in the order in which they lie there.
pub(super) fn tar(path: &Path, stop: &Arc<AtomicBool>) -> Result<Found> {
    let mut input = Input::open(path, stop).map_err(error::io(path.display()))?;
    let at = input.at();
    let failed = |why: String| damaged(path, at.get(), &why);
    let Some((name, size)) = member(&mut input).map_err(failed)? else {
        return Err(failed("it has no member".into()));
    };
    if name != "toc.dat" {
        return Err(foreign(path, &name));
    }
    let mut bytes = Vec::new();
    (&mut input).take(size.min(LIST)).read_to_end(&mut bytes).map_err(|e| failed(cut(&e)))?;
    if bytes.len() as u64 != size {
        return Err(failed(format!("it ends inside member {name}")));
    }
    padding(&mut input, size).map_err(failed)?;
    let toc = Toc::parse(&bytes).map_err(|e| e.context(path.display()).hint(FETCH_AGAIN))?;
    let mut found = Found::of_toc(&toc, Packing::None);
    found.weak.insert(Packing::None);
    let mut wanted = wanted(&toc, Format::Tar);
    let mut oids = BTreeSet::new();
    let mut objects: BTreeSet<String> = BTreeSet::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    while let Some((name, size)) = member(&mut input).map_err(failed)? {
        let inside = |fault: Fault| match fault {
            Fault::Read(e) => damaged(path, at.get(), &format!("member {name}: {}", cut(&e))),
            Fault::Content(why) => damaged(path, at.get(), &format!("member {name}: {why}")),
        };
        let begin = at.get();
        let what = wanted.remove(&name);
        let mut body = (&mut input).take(size);
        match what {
            Some(Wanted::Data(entry)) => {
                let rows = content::check(&mut body, Holds::of(entry), &mut found.bytes).map_err(inside)?;
                found.data_of(entry, rows);
            }
            Some(Wanted::List) => {
                let mut list = Vec::new();
                (&mut body).take(LIST).read_to_end(&mut list).map_err(|e| inside(Fault::Read(e)))?;
                let names = listed(&list).map_err(|why| inside(Fault::Content(why)))?;
                oids.extend(names.iter().map(|(oid, _)| *oid));
                objects.extend(names.into_iter().map(|(_, name)| name));
            }
            Some(Wanted::LargeObject) | None => {
                content::check(&mut body, Holds::Bytes, &mut found.bytes).map_err(inside)?;
                seen.insert(name.clone());
            }
        }
        if at.get() - begin != size {
            return Err(failed(format!("it ends inside member {name}")));
        }
        padding(&mut input, size).map_err(failed)?;
    }
    let missing = wanted.keys().chain(objects.difference(&seen)).next();
    if let Some(name) = missing {
        return Err(
            Error::new(Kind::Archive, format!("{}: member {name} is missing", path.display())).hint(FETCH_AGAIN)
        );
    }
    all_objects(path, &toc, &oids)?;
    Ok(found)
}

/// Every large object that the table of contents makes must have its content; a list may be cut at the end of a line.
pub(super) fn all_objects(path: &Path, toc: &Toc, seen: &BTreeSet<u32>) -> Result<()> {
    let data = toc.entries.iter().any(|e| e.kind() == "BLOBS");
    match toc.large_objects().objects.iter().find(|(oid, _)| data && !seen.contains(oid)) {
        Some((oid, _)) => {
            let why = format!("{}: damaged: the content of large object {oid} is missing", path.display());
            Err(Error::new(Kind::Archive, why).hint(FETCH_AGAIN))
        }
        None => Ok(()),
    }
}

fn foreign(path: &Path, first: &str) -> Error {
    let error = |what: &str| Error::new(Kind::Archive, format!("{}: {what}", path.display()));
    let base =
        |name: &str| name.ends_with("backup_label") || name.ends_with("PG_VERSION") || name.ends_with("tablespace_map");
    if base(first) {
        return error("it is a tar of a data folder (pg_basebackup), not of pg_dump")
            .hint("unpack it into an empty data folder, start a server of its major on it, and dump from there");
    }
    error(&format!("it is a tar archive whose first member is {first}, not toc.dat"))
        .hint("if it holds a directory-format dump, unpack it (tar -xf) and name the folder that holds toc.dat")
}

/// The name and size of the next member; `None` behind the last one, whose two blocks of zeros must be there.
fn member(input: &mut Input) -> Result<Option<(String, u64)>, String> {
    let mut block = [0; 512];
    let short = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => "it ends without a tar archive's two empty blocks".to_owned(),
        _ => e.to_string(),
    };
    input.read_exact(&mut block).map_err(short)?;
    if block == [0; 512] {
        input.read_exact(&mut block).map_err(short)?;
        let mut rest = Vec::new();
        let read = input.take(1 << 20).read_to_end(&mut rest).map_err(|e| e.to_string())?;
        if block != [0; 512] || rest.iter().any(|b| *b != 0) || read == 1 << 20 {
            return Err("something follows the tar archive's end".into());
        }
        return Ok(None);
    }
    let octal = |field: &[u8]| {
        let text = std::str::from_utf8(field).ok()?;
        u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
    };
    let sum: u64 =
        block.iter().enumerate().map(|(n, b)| if (148..156).contains(&n) { 32 } else { u64::from(*b) }).sum();
    if octal(&block[148..156]) != Some(sum) {
        return Err("a member's header is damaged: its checksum differs".into());
    }
    // A size beyond 8 GiB is a number of eleven bytes behind a set bit (GNU's base-256).
    let size = match block[124] & 0x80 {
        0 => octal(&block[124..136]),
        _ => Some(block[125..136].iter().fold(0_u64, |sum, b| sum << 8 | u64::from(*b))),
    };
    let name = block[..100].split(|b| *b == 0).next().unwrap_or_default();
    let size = size.ok_or("a member's header has no size")?;
    Ok(Some((String::from_utf8_lossy(name).into_owned(), size)))
}

fn padding(input: &mut Input, size: u64) -> Result<(), String> {
    let mut fill = vec![0; ((512 - size % 512) % 512) as usize];
    input.read_exact(&mut fill).map_err(|_| "it ends inside a member's last block".to_owned())
}
