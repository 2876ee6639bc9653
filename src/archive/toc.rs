//! `toc.dat`: read, edit, write.
//!
//! The format is PostgreSQL's own (`pg_backup_archiver.c`: `WriteHead`, `WriteToc`, `ReadStr`, `ReadInt`): integers are one
//! sign byte and four little-endian bytes of magnitude, strings are an integer length (-1: NULL) and raw bytes in the
//! encoding of the database. Reading and writing are exact inverses: what cannot be written back byte by byte is refused.

use super::compression::Compression;
use crate::{
    error::{Error, Kind, Result},
    vault::manifest::Sequence,
};
use std::{
    collections::{HashMap, HashSet},
    io::Read,
};

/// A string of the archive: raw bytes in the database's encoding; NULL and empty differ.
pub type RawString = Option<Vec<u8>>;

/// Sections of an archive, as [`Entry::section`] holds them.
pub mod section {
    /// Settings that come before everything (`ENCODING`, `STDSTRINGS`, `SEARCHPATH`).
    pub const NONE: i32 = 1;
    /// Schema that must exist before rows are loaded.
    pub const PRE_DATA: i32 = 2;
    /// Rows, sequence values and large objects.
    pub const DATA: i32 = 3;
    /// Indexes, constraints, triggers and the like.
    pub const POST_DATA: i32 = 4;
}

/// The table of contents of a directory-format archive of version 1.14, 1.15 or 1.16 (pg_dump 12 to 19). The custom format,
/// whose entries carry file offsets and are followed by the data, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toc {
    /// Archive version: major, minor, revision.
    pub version: (u8, u8, u8),
    /// Bytes of a file offset on the machine that wrote it; without meaning in this format.
    pub off_size: u8,
    /// Format code: 3 (tar), which directory-format archives carry too, or 5.
    pub format: u8,
    /// 1.14: zlib level, -1 for the default. From 1.15 on: 0 none, 1 gzip, 2 lz4, 3 zstd.
    pub compression: i32,
    /// When it was written: second, minute, hour, day, month from 0, year - 1900, daylight saving.
    pub time: [i32; 7],
    /// Database name.
    pub dbname: RawString,
    /// Server version as it was printed.
    pub server_version: RawString,
    /// pg_dump version as it was printed.
    pub dump_version: RawString,
    /// What the archive holds, in the order of its restore.
    pub entries: Vec<Entry>,
}

/// One object of the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Id, unique in the archive.
    pub dump_id: i32,
    /// Whether data belongs to it.
    pub had_dumper: bool,
    /// OID of the catalog that the object lies in, as text.
    pub tableoid: RawString,
    /// OID of the object, as text.
    pub oid: RawString,
    /// Name, unquoted, with arguments or table where that is part of the name.
    pub tag: RawString,
    /// Kind of object, such as `TABLE`.
    pub desc: RawString,
    /// See [`section`].
    pub section: i32,
    /// SQL that makes it.
    pub defn: RawString,
    /// SQL that drops it.
    pub drop_stmt: RawString,
    /// `COPY … FROM stdin` for rows.
    pub copy_stmt: RawString,
    /// Schema name, unquoted.
    pub namespace: RawString,
    /// Tablespace.
    pub tablespace: RawString,
    /// Table access method.
    pub tableam: RawString,
    /// `pg_class.relkind` as a character code, 0 for other objects; absent before archive version 1.16.
    pub relkind: Option<i32>,
    /// Owner, unquoted.
    pub owner: RawString,
    /// Ids that must be restored before it; may name ids that are not in the archive.
    pub deps: Vec<i32>,
    /// File with its data, without the suffix of a compression; empty when there is none.
    pub filename: RawString,
}

/// Rows to be added to an archive by [`Toc::add_table_data`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableData {
    /// OID of the table in the source, by which its `TABLE` entry is found.
    pub oid: u32,
    /// `COPY schema.table (columns) FROM stdin;\n` in the database's encoding.
    pub copy_stmt: Vec<u8>,
    /// Name of the data file in the archive's folder, without the suffix of a compression.
    pub filename: String,
}

/// A `TABLE` entry in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Id of the entry.
    pub dump_id: i32,
    /// OID in the source.
    pub oid: u32,
    /// Schema name; bytes that are not UTF-8 are replaced.
    pub schema: String,
    /// Table name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Whether a `TABLE DATA` entry belongs to it.
    pub has_data: bool,
    /// `r`, `p` …, where the archive says so (1.16).
    pub relkind: Option<char>,
}

/// What the archive names of large objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LargeObjects {
    /// Files that list large objects and their data files (`blobs.toc`, from archive version 1.16 on `blobs_<id>.toc`).
    pub lists: Vec<String>,
    /// OID and owner of each large object.
    pub objects: Vec<(u32, RawString)>,
}

/// The minor version from which on large objects are grouped by owner and privileges (`K_VERS_1_16`).
const BLOBS_BY_GROUP: u8 = 16;

const MAGIC: &[u8] = b"PGDMP";

impl Entry {
    /// Kind of object, such as `TABLE`; empty when it is NULL or not ASCII.
    pub fn kind(&self) -> &str {
        self.desc.as_deref().and_then(|d| std::str::from_utf8(d).ok()).unwrap_or_default()
    }

    /// `schema.name` or `name` for people; bytes that are not UTF-8 are replaced.
    pub fn name(&self) -> String {
        let tag = lossy(&self.tag);
        match self.namespace.as_deref() {
            None | Some(b"") => tag,
            Some(schema) => format!("{}.{tag}", String::from_utf8_lossy(schema)),
        }
    }

    /// OID of the object in the source, if the entry has one.
    pub fn oid(&self) -> Option<u32> {
        std::str::from_utf8(self.oid.as_deref()?).ok()?.parse().ok()
    }
}

/// `pg_compress_algorithm` in PostgreSQL's source.
const PG_COMPRESSION_GZIP: i32 = 1;
const PG_COMPRESSION_ZSTD: i32 = 3;

/// The format code that directory-format archives carry: tar's.
const DIRECTORY: u8 = 3;

impl Toc {
    /// Reads a `toc.dat`. Anything that is not exactly such a file is an error of [`Kind::Archive`].
    pub fn parse(bytes: &[u8]) -> Result<Toc> {
        let mut r = Reader { from: bytes, at: 0 };
        let (toc, _) = Toc::read(&mut r, false)?;
        if !r.from.is_empty() {
            return Err(malformed(format!("{} bytes follow the last entry", r.from.len())));
        }
        Ok(toc)
    }

    /// Says how most data files are compressed. A parallel pg_restore looks for each file under that suffix alone to learn its size
    /// (`_PrepParallelRestore`), and begins with the largest: without sizes it may create the triggers of a partitioned table while
    /// the rows of its partitions are still coming, and so fire them.
    pub fn announce(&mut self, compression: Compression) {
        self.compression = match (compression, self.version.1) {
            (Compression::None, _) => 0,
            (Compression::Gzip(level), ..15) => level.cast_signed(),
            (Compression::Gzip(_), _) => PG_COMPRESSION_GZIP,
            (Compression::Zstd(_), _) => PG_COMPRESSION_ZSTD,
        };
    }

    /// Makes the table of contents of the custom format one of the directory format, with the file names that pg_dump gives
    /// (`pg_backup_directory.c`, `_ArchiveEntry`).
    #[must_use]
    pub fn into_directory(mut self) -> Toc {
        self.format = DIRECTORY;
        let by_group = self.version.1 >= BLOBS_BY_GROUP;
        for entry in &mut self.entries {
            entry.filename = Some(match (entry.had_dumper, entry.kind()) {
                (false, _) => Vec::new(),
                (true, "BLOBS") if by_group => format!("blobs_{}.toc", entry.dump_id).into(),
                (true, "BLOBS") => b"blobs.toc".into(),
                (true, _) => format!("{}.dat", entry.dump_id).into(),
            });
        }
        self
    }

    /// The files that list large objects, as pg_restore reads them: names and contents. The objects' own files are `blob_<oid>.dat`.
    pub fn large_object_lists(&self) -> Vec<(String, String)> {
        let line = |oid: &str| format!("{oid} blob_{oid}.dat\n");
        let lists = self.entries.iter().filter(|e| e.kind() == "BLOBS" && e.had_dumper);
        let contents = |blobs: &Entry| -> String {
            if self.version.1 < BLOBS_BY_GROUP {
                return self.entries.iter().filter(|e| e.kind() == "BLOB").map(|e| line(&lossy(&e.tag))).collect();
            }
            let groups = self.entries.iter().filter(|e| e.kind() == "BLOB METADATA" && blobs.deps.contains(&e.dump_id));
            groups.flat_map(|e| lossy(&e.defn).lines().map(|oid| line(oid.trim())).collect::<Vec<_>>()).collect()
        };
        lists.map(|e| (lossy(&e.filename), contents(e))).collect()
    }

    /// Reads the table of contents at the beginning of a custom-format file and nothing behind it. Also returns where each entry's data
    /// begins, where the file says so; `filename` is absent in every entry.
    pub fn parse_custom(from: impl Read) -> Result<(Toc, Vec<Option<u64>>)> {
        Toc::read(&mut Reader { from, at: 0 }, true)
    }

    fn read<R: Read>(r: &mut Reader<R>, custom: bool) -> Result<(Toc, Vec<Option<u64>>)> {
        if r.take(MAGIC.len())? != MAGIC {
            return Err(malformed("it does not begin with PGDMP"));
        }
        let version = (r.byte()?, r.byte()?, r.byte()?);
        if !matches!(version, (1, 14..=16, _)) {
            let (a, b, c) = version;
            return Err(malformed(format!("archive version {a}.{b}.{c} is unknown"))
                .hint("savepoint reads the archives of pg_dump 14 to 19"));
        }
        let int_size = r.byte()?;
        if int_size != 4 {
            return Err(malformed(format!("integers of {int_size} bytes")));
        }
        let off_size = r.byte()?;
        let format = r.byte()?;
        match format {
            3 | 5 if !custom => {}
            1 if custom => {}
            1 => {
                return Err(
                    malformed("it is of the custom format").hint("use a directory-format archive (pg_dump -Fd)")
                );
            }
            other => return Err(malformed(format!("format code {other} is unknown"))),
        }
        let compression = if version.1 >= 15 { i32::from(r.byte()?) } else { r.int()? };
        let mut time = [0; 7];
        for t in &mut time {
            *t = r.int()?;
        }
        let (dbname, server_version, dump_version) = (r.string()?, r.string()?, r.string()?);
        let count = r.int()?;
        let count = usize::try_from(count).map_err(|_| malformed(format!("{count} entries")))?;
        let (mut entries, mut offsets) = (Vec::new(), Vec::new());
        for n in 1..=count {
            let in_entry = |e: Error| e.context(format!("entry {n} of {count}"));
            entries.push(r.entry(version.1, custom).map_err(in_entry)?);
            if custom {
                offsets.push(r.offset(off_size).map_err(in_entry)?);
            }
        }
        let toc = Toc { version, off_size, format, compression, time, dbname, server_version, dump_version, entries };
        Ok((toc, offsets))
    }

    /// The bytes of the `toc.dat`: the exact inverse of [`Toc::parse`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = MAGIC.to_vec();
        let (major, minor, revision) = self.version;
        w.extend([major, minor, revision, 4, self.off_size, self.format]);
        if minor >= 15 {
            // Only 0 to 3 exist; parse read it from one byte.
            w.push(self.compression as u8);
        } else {
            put_int(&mut w, self.compression);
        }
        for t in self.time {
            put_int(&mut w, t);
        }
        for s in [&self.dbname, &self.server_version, &self.dump_version] {
            put_string(&mut w, s.as_deref());
        }
        put_int(&mut w, self.entries.len() as i32);
        for e in &self.entries {
            put_int(&mut w, e.dump_id);
            put_int(&mut w, e.had_dumper.into());
            for s in [&e.tableoid, &e.oid, &e.tag, &e.desc] {
                put_string(&mut w, s.as_deref());
            }
            put_int(&mut w, e.section);
            for s in [&e.defn, &e.drop_stmt, &e.copy_stmt, &e.namespace, &e.tablespace, &e.tableam] {
                put_string(&mut w, s.as_deref());
            }
            if minor >= 16 {
                put_int(&mut w, e.relkind.unwrap_or(0));
            }
            put_string(&mut w, e.owner.as_deref());
            put_string(&mut w, Some(b"false"));
            for d in &e.deps {
                put_string(&mut w, Some(d.to_string().as_bytes()));
            }
            put_string(&mut w, None);
            put_string(&mut w, e.filename.as_deref());
        }
        w
    }

    /// Adds a `TABLE DATA` entry for each table, as pg_dump writes it, in front of the other data. Errors when a table has no
    /// `TABLE` entry or has data already, and when a file name cannot be one or is taken.
    pub fn add_table_data(&mut self, tables: &[TableData]) -> Result<()> {
        let by_oid: HashMap<u32, usize> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, e)| e.kind() == "TABLE")
            .filter_map(|(i, e)| Some((e.oid()?, i)))
            .collect();
        let mut with_data = self.ids_with_data();
        let mut files: HashSet<Vec<u8>> = self.entries.iter().filter_map(|e| e.filename.clone()).collect();
        // pg_dump's own boundary objects take ids, are named in deps, and are not in the archive.
        let used = self.entries.iter().flat_map(|e| e.deps.iter().copied().chain([e.dump_id])).max().unwrap_or(0);
        let mut added = Vec::with_capacity(tables.len());
        for (table, n) in tables.iter().zip(1..) {
            let Some(of) = by_oid.get(&table.oid).map(|i| &self.entries[*i]) else {
                return Err(Error::new(
                    Kind::Archive,
                    format!("toc.dat has no TABLE entry for the table with OID {}, whose rows were read", table.oid),
                ));
            };
            let name = of.name();
            if !with_data.insert(of.dump_id) {
                return Err(Error::new(Kind::Archive, format!("toc.dat has two TABLE DATA entries for table {name}")));
            }
            let file = &table.filename;
            if file.is_empty() || file.contains(['/', '\0']) || !files.insert(file.clone().into_bytes()) {
                return Err(Error::new(Kind::Archive, format!("table {name}: \"{file}\" cannot name its data file")));
            }
            let dump_id = used
                .checked_add(n)
                .ok_or_else(|| Error::new(Kind::Archive, "toc.dat has no ids left for further entries"))?;
            added.push(Entry {
                dump_id,
                had_dumper: true,
                tableoid: Some(b"0".to_vec()),
                oid: of.oid.clone(),
                tag: of.tag.clone(),
                desc: Some(b"TABLE DATA".to_vec()),
                section: section::DATA,
                copy_stmt: Some(table.copy_stmt.clone()),
                namespace: of.namespace.clone(),
                relkind: of.relkind.map(|_| 0),
                owner: of.owner.clone(),
                deps: vec![of.dump_id],
                filename: Some(file.clone().into_bytes()),
                ..Entry::default()
            });
        }
        let first = |s| self.entries.iter().position(|e| e.section == s);
        let at = first(section::DATA).or_else(|| first(section::POST_DATA)).unwrap_or(self.entries.len());
        self.entries.splice(at..at, added);
        Ok(())
    }

    /// The `TABLE` entries: plain and partitioned tables, in the archive's order.
    pub fn tables(&self) -> Vec<TableEntry> {
        let with_data = self.ids_with_data();
        self.entries
            .iter()
            .filter(|e| e.kind() == "TABLE")
            .map(|e| TableEntry {
                dump_id: e.dump_id,
                oid: e.oid().unwrap_or(0),
                schema: lossy(&e.namespace),
                name: lossy(&e.tag),
                has_data: with_data.contains(&e.dump_id),
                relkind: e.relkind.and_then(|k| char::from_u32(k.try_into().ok()?)),
            })
            .collect()
    }

    /// The values that the archive sets sequences to. Errors on a `SEQUENCE SET` entry that cannot be understood.
    pub fn sequences(&self) -> Result<Vec<Sequence>> {
        self.entries
            .iter()
            .filter(|e| e.kind() == "SEQUENCE SET")
            .map(|e| {
                let (last_value, is_called) = setval(&lossy(&e.defn))
                    .ok_or_else(|| malformed(format!("sequence {}: its value cannot be read", e.name())))?;
                Ok(Sequence { schema: lossy(&e.namespace), name: lossy(&e.tag), last_value, is_called })
            })
            .collect()
    }

    /// The large objects and the files that list them, as the `BLOBS`, `BLOB` and `BLOB METADATA` entries name them.
    pub fn large_objects(&self) -> LargeObjects {
        let mut found = LargeObjects::default();
        for e in &self.entries {
            match e.kind() {
                "BLOBS" => found.lists.extend(e.filename.as_ref().map(|f| String::from_utf8_lossy(f).into_owned())),
                // Before 1.16: one entry each, named by its OID.
                "BLOB" => found.objects.extend(lossy(&e.tag).parse().ok().map(|oid| (oid, e.owner.clone()))),
                // From 1.16 on: a group of the same owner and privileges; the definition is a list of OIDs.
                "BLOB METADATA" => {
                    let oids = lossy(&e.defn);
                    found.objects.extend(oids.lines().filter_map(|l| Some((l.trim().parse().ok()?, e.owner.clone()))));
                }
                _ => {}
            }
        }
        found
    }

    /// The schemas that the archive creates.
    pub fn created_schemas(&self) -> Vec<String> {
        let creates =
            |e: &&Entry| e.kind() == "SCHEMA" && e.defn.as_deref().is_some_and(|d| d.starts_with(b"CREATE SCHEMA "));
        self.entries.iter().filter(creates).map(|e| lossy(&e.tag)).collect()
    }

    /// Whether the archive creates the schema `public`, which every new database has already.
    pub fn creates_public(&self) -> bool {
        self.created_schemas().iter().any(|s| s == "public")
    }

    /// The encoding of the archive's strings, such as `UTF8`, from its `ENCODING` entry.
    pub fn encoding(&self) -> Option<String> {
        let defn = lossy(&self.entries.iter().find(|e| e.kind() == "ENCODING")?.defn);
        defn.split('\'').nth(1).map(str::to_owned)
    }

    fn ids_with_data(&self) -> HashSet<i32> {
        self.entries.iter().filter(|e| e.kind() == "TABLE DATA").flat_map(|e| e.deps.iter().copied()).collect()
    }
}

/// `(last_value, is_called)` of `SELECT pg_catalog.setval('public.s', 12, true);`. Read from its end: the name may hold anything.
fn setval(sql: &str) -> Option<(i64, bool)> {
    let args = sql.trim_end().strip_suffix(");")?;
    let mut parts = args.rsplitn(3, ", ");
    let (called, value, head) = (parts.next()?, parts.next()?, parts.next()?);
    head.starts_with("SELECT pg_catalog.setval(").then_some(())?;
    Some((value.parse().ok()?, called.parse().ok()?))
}

/// Text for people: bytes that are not UTF-8 are replaced, what is absent is empty.
pub fn lossy(s: &RawString) -> String {
    String::from_utf8_lossy(s.as_deref().unwrap_or_default()).into_owned()
}

fn malformed(why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Archive, format!("toc.dat cannot be read: {why}"))
}

fn put_int(w: &mut Vec<u8>, value: i32) {
    w.push(u8::from(value < 0));
    w.extend(value.unsigned_abs().to_le_bytes());
}

fn put_string(w: &mut Vec<u8>, s: Option<&[u8]>) {
    match s {
        None => put_int(w, -1),
        Some(s) => {
            put_int(w, s.len() as i32);
            w.extend(s);
        }
    }
}

struct Reader<R> {
    from: R,
    at: u64,
}

impl<R: Read> Reader<R> {
    fn take(&mut self, n: usize) -> Result<Vec<u8>> {
        // Not allocated at once: the number may be false.
        let mut bytes = Vec::new();
        let read = Read::take(&mut self.from, n as u64).read_to_end(&mut bytes);
        let read = read.map_err(|e| malformed(format!("reading on from byte {} failed", self.at)).because(e))?;
        if read < n {
            let (at, end) = (self.at, self.at + read as u64);
            return Err(malformed(format!("it ends at byte {end}, {n} bytes are wanted from byte {at} on")));
        }
        self.at += n as u64;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// Where an entry's data begins (`pg_backup_archiver.c`, `ReadOffset`): 1 not known, 2 known, 3 no data.
    fn offset(&mut self, size: u8) -> Result<Option<u64>> {
        let flag = self.byte()?;
        let bytes = self.take(size.into())?;
        match flag {
            1 | 3 => Ok(None),
            2 if bytes.iter().skip(8).all(|b| *b == 0) => {
                Ok(Some(bytes.iter().take(8).rev().fold(0, |sum, b| sum << 8 | u64::from(*b))))
            }
            _ => Err(malformed(format!("an offset with flag {flag}"))),
        }
    }

    fn int(&mut self) -> Result<i32> {
        let b = self.take(5)?;
        let magnitude = i64::from(u32::from_le_bytes([b[1], b[2], b[3], b[4]]));
        let value = match (b[0], magnitude) {
            (0, m) => m,
            (1, m) if m > 0 => -m,
            (sign, _) => return Err(malformed(format!("an integer with sign {sign}"))),
        };
        i32::try_from(value).map_err(|_| malformed(format!("the integer {value}")))
    }

    fn string(&mut self) -> Result<RawString> {
        match self.int()? {
            -1 => Ok(None),
            n => {
                let n = usize::try_from(n).map_err(|_| malformed(format!("a string of {n} bytes")))?;
                Ok(Some(self.take(n)?))
            }
        }
    }

    fn entry(&mut self, minor: u8, custom: bool) -> Result<Entry> {
        let dump_id = self.int()?;
        let had_dumper = match self.int()? {
            0 => false,
            1 => true,
            other => return Err(malformed(format!("a data flag of {other}"))),
        };
        let (tableoid, oid, tag, desc) = (self.string()?, self.string()?, self.string()?, self.string()?);
        let section = self.int()?;
        if !(section::NONE..=section::POST_DATA).contains(&section) {
            return Err(malformed(format!("section {section}")));
        }
        let (defn, drop_stmt, copy_stmt) = (self.string()?, self.string()?, self.string()?);
        let (namespace, tablespace, tableam) = (self.string()?, self.string()?, self.string()?);
        let relkind = if minor >= 16 { Some(self.int()?) } else { None };
        let owner = self.string()?;
        if self.string()?.as_deref() != Some(b"false") {
            return Err(malformed("a table WITH OIDS"));
        }
        let mut deps = Vec::new();
        while let Some(dep) = self.string()? {
            let id = std::str::from_utf8(&dep).ok().and_then(|d| d.parse::<i32>().ok());
            match id {
                Some(id) if id.to_string().as_bytes() == dep => deps.push(id),
                _ => return Err(malformed(format!("a dependency on {:?}", String::from_utf8_lossy(&dep)))),
            }
        }
        let filename = if custom { None } else { self.string()? };
        Ok(Entry {
            dump_id,
            had_dumper,
            tableoid,
            oid,
            tag,
            desc,
            section,
            defn,
            drop_stmt,
            copy_stmt,
            namespace,
            tablespace,
            tableam,
            relkind,
            owner,
            deps,
            filename,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> RawString {
        Some(s.as_bytes().to_vec())
    }

    fn sample(minor: u8) -> Toc {
        let relkind = |k: char| (minor >= 16).then_some(k as i32);
        let entry = |dump_id, desc: &str, tag: &str, section, deps| Entry {
            dump_id,
            tableoid: text("1259"),
            oid: text(&(16000 + dump_id).to_string()),
            tag: text(tag),
            desc: text(desc),
            section,
            defn: text(""),
            namespace: text("public"),
            relkind: relkind('\0'),
            owner: Some(vec![b'j', 0xe9]),
            deps,
            filename: text(""),
            ..Entry::default()
        };
        Toc {
            version: (1, minor, 0),
            off_size: 8,
            format: 3,
            compression: if minor >= 15 { 1 } else { -1 },
            time: [1, 2, 3, 22, 10, 126, 0],
            dbname: text("shop"),
            server_version: text("17.5"),
            dump_version: None,
            entries: vec![
                entry(7, "ENCODING", "ENCODING", section::NONE, vec![]),
                Entry { relkind: relkind('r'), ..entry(3, "TABLE", "orders", section::PRE_DATA, vec![2]) },
                Entry {
                    defn: text("SELECT pg_catalog.setval('public.a, 1', -12, false);\n"),
                    ..entry(4, "SEQUENCE SET", "a, 1", section::DATA, vec![])
                },
                entry(5, "INDEX", "orders_idx", section::POST_DATA, vec![3, 41]),
            ],
        }
    }

    #[test]
    fn round_trip_of_every_version() {
        for minor in 14..=16 {
            let toc = sample(minor);
            assert_eq!(Toc::parse(&toc.to_bytes()).unwrap(), toc);
        }
    }

    /// No damage may panic, and damage that is accepted must be written back as it was read.
    #[test]
    fn damage_is_an_error_or_survives_the_round_trip() {
        for minor in 14..=16 {
            let good = sample(minor).to_bytes();
            for cut in 0..good.len() {
                assert_eq!(Toc::parse(&good[..cut]).unwrap_err().kind(), Kind::Archive, "cut at {cut}");
            }
            for at in 0..good.len() {
                for mask in [1, 0x80, 0xff, 0x7f] {
                    let mut bad = good.clone();
                    bad[at] ^= mask;
                    match Toc::parse(&bad) {
                        Ok(toc) => assert_eq!(toc.to_bytes(), bad, "byte {at} ^ {mask}"),
                        Err(e) => assert_eq!(e.kind(), Kind::Archive),
                    }
                }
            }
            let mut long = good.clone();
            long.push(0);
            assert!(Toc::parse(&long).is_err());
        }
    }

    #[test]
    fn the_custom_format_is_refused_by_name() {
        let mut bytes = sample(16).to_bytes();
        bytes[10] = 1;
        assert!(Toc::parse(&bytes).unwrap_err().message().contains("custom format"));
    }

    #[test]
    fn table_data_goes_before_other_data_with_fresh_ids() {
        let mut toc = sample(16);
        let data = TableData {
            oid: 16003,
            copy_stmt: b"COPY public.orders (id) FROM stdin;\n".into(),
            filename: "16003.dat".into(),
        };
        assert!(!toc.tables()[0].has_data);
        toc.add_table_data(std::slice::from_ref(&data)).unwrap();
        let e = &toc.entries[2];
        // 41 is named as a dependency only and must not be reused.
        assert_eq!((e.dump_id, e.kind(), e.name().as_str(), &e.deps), (42, "TABLE DATA", "public.orders", &vec![3]));
        assert_eq!((e.relkind, &e.owner, e.had_dumper), (Some(0), &Some(vec![b'j', 0xe9]), true));
        assert_eq!(
            toc.tables()[0],
            TableEntry {
                dump_id: 3,
                oid: 16003,
                schema: "public".into(),
                name: "orders".into(),
                has_data: true,
                relkind: Some('r')
            }
        );
        assert_eq!(Toc::parse(&toc.to_bytes()).unwrap(), toc);

        assert!(
            toc.clone()
                .add_table_data(std::slice::from_ref(&data))
                .unwrap_err()
                .message()
                .contains("two TABLE DATA entries")
        );
        let unknown = TableData { oid: 1, ..data.clone() };
        assert!(sample(16).add_table_data(&[unknown]).unwrap_err().message().contains("OID 1"));
        for filename in ["", "a/b"] {
            assert!(sample(16).add_table_data(&[TableData { filename: filename.into(), ..data.clone() }]).is_err());
        }
    }

    #[test]
    fn sequences_are_read_from_their_setval() {
        let one = Sequence { schema: "public".into(), name: "a, 1".into(), last_value: -12, is_called: false };
        assert_eq!(sample(14).sequences().unwrap(), [one]);
        let mut toc = sample(14);
        toc.entries[2].defn = text("SELECT 1;");
        assert!(toc.sequences().unwrap_err().message().contains("public.a, 1"));
    }
}
