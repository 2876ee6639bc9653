//! pg_dump's part of a backup: its table of contents, spliced with our tables, and the data that it writes itself.

use super::{ground::Ground, plan::Seen};
use crate::{
    archive::{
        TABLE_FILE,
        compression::Compression,
        database::Database,
        fingerprint::{DataFile, Fingerprint},
        frame::FrameWriter,
        pack, schema,
        toc::{Entry, TableData, Toc},
    },
    dump::{
        catalog::Size,
        large_objects::{self, Content, PackOut, Sum},
        packer::{Numbers, Packer},
        pg_dump::{self, Part, Running},
        plan::Plan,
        sink::{IN_FLIGHT, InFlight, Sink},
    },
    error::{self, Error, Kind, Result},
    progress::{Event, Progress},
    vault::{
        Filter, Folder,
        manifest::{File, LargeObjectChunk, Role, Source},
    },
    verify::Begin,
};
use bytes::Bytes;
use std::{
    collections::{BTreeSet, HashMap},
    io::{Read, Seek, SeekFrom, Write},
    sync::Arc,
};
use tokio::sync::mpsc;

/// What pg_dump wrote, read and stored.
pub(super) struct OwnPart {
    /// Its table of contents, without our tables' data.
    pub toc: Toc,
    pub files: Vec<File>,
    /// `database.sql`.
    pub database: Option<File>,
    /// Roles that the archive names.
    pub roles: Vec<Role>,
    /// What the rows are that it wrote, by the names of their files in the table of contents.
    pub rows: HashMap<String, Fingerprint>,
    /// Large objects that it wrote. Their owners are not known yet.
    pub large_objects: Vec<(u32, u32, Sum, LargeObjectChunk)>,
}

/// Waits for the table of contents.
pub(super) async fn toc(pg_dump: &mut Running) -> Result<Toc> {
    match pg_dump.parts.recv().await {
        Some(Part::Toc(toc)) => Ok(*toc),
        _ => {
            ended(pg_dump).await?;
            Err(Error::new(Kind::Archive, "pg_dump wrote nothing"))
        }
    }
}

async fn ended(pg_dump: &mut Running) -> Result<()> {
    (&mut pg_dump.ended).await.map_err(|e| Error::new(Kind::Tool, "watching pg_dump stopped").because(e))?
}

/// Stores what pg_dump writes.
pub(super) struct Own<'a> {
    ground: &'a Ground<'a>,
    folder: &'a Folder,
    source: &'a Source,
    compression: Compression,
    sizes: &'a HashMap<u32, Size>,
    in_flight: InFlight,
    toc: Toc,
    /// What was taken out of it, in words.
    left_out: Option<String>,
    /// Where in it each entry stands, by its id.
    places: HashMap<i32, usize>,
    files: Vec<File>,
    /// Takes small files, where there are many.
    packer: Option<Packer<()>>,
    rows: HashMap<String, Fingerprint>,
    large_objects: Vec<(u32, u32, Sum, LargeObjectChunk)>,
    open: Option<OpenPack>,
}

/// A pack of large objects in the making.
struct OpenPack {
    first: u32,
    last: u32,
    sum: Sum,
    out: PackOut,
}

impl<'a> Own<'a> {
    /// Nothing is stored yet.
    pub fn new(
        ground: &'a Ground<'a>,
        folder: &'a Folder,
        source: &'a Source,
        sizes: &'a HashMap<u32, Size>,
        toc: Toc,
        numbers: Numbers,
    ) -> Self {
        let compression = ground.config.compression.for_major(source.major);
        let (toc, left_out) = without_secrets(toc, &ground.config.filter);
        // With large objects there is something to unpack anyway.
        let with_data = || toc.entries.iter().filter(|e| e.had_dumper);
        let many = with_data().count() >= pack::FROM || with_data().any(|e| e.kind() == "BLOBS");
        Self {
            ground,
            folder,
            source,
            compression,
            sizes,
            in_flight: InFlight::new(IN_FLIGHT),
            places: toc.entries.iter().enumerate().map(|(at, e)| (e.dump_id, at)).collect(),
            toc,
            left_out,
            files: Vec::new(),
            packer: many.then(|| Packer::new(folder, numbers, compression, ground.sent(), ground.progress.clone())),
            rows: HashMap::new(),
            large_objects: Vec::new(),
            open: None,
        }
    }

    /// Stores the data as it comes, until pg_dump has ended well.
    pub async fn data(&mut self, pg_dump: &mut Running) -> Result<()> {
        let stored = self.parts(&mut pg_dump.parts).await;
        match stored {
            // pg_dump broke off, and says why.
            Err(e) if e.kind() == Kind::Interrupted => {
                ended(pg_dump).await?;
                Err(e)
            }
            Err(e) => Err(e),
            Ok(()) => ended(pg_dump).await,
        }
    }

    async fn parts(&mut self, parts: &mut mpsc::Receiver<Part>) -> Result<()> {
        while let Some(part) = parts.recv().await {
            match part {
                Part::Entry(id) => self.entry(id, parts).await?,
                Part::Object(oid) => self.object(oid, parts).await?,
                Part::Toc(_) | Part::Bytes(_) | Part::Ends => {
                    return Err(Error::new(Kind::Archive, "pg_dump's data came out of order"));
                }
            }
        }
        self.close_pack().await
    }

    fn sink(&self, path: String, expected: u64) -> Arc<Sink> {
        let sink = Sink::new(self.folder, path, expected, self.in_flight.clone(), self.ground.progress.clone());
        let sink = Arc::new(sink);
        self.ground.traces.makes(sink.clone());
        sink
    }

    /// While nobody reads, pg_dump waits, and the server behind it.
    async fn take_time(&self, bytes: &[u8]) {
        if let Some(rate) = &self.ground.rate {
            rate.take(bytes.len() as u64).await;
        }
    }

    /// Stores the data of an entry.
    async fn entry(&mut self, id: i32, parts: &mut mpsc::Receiver<Part>) -> Result<()> {
        let entry = self.places.get(&id).map(|at| &self.toc.entries[*at]);
        let entry = entry.ok_or_else(|| Error::new(Kind::Archive, format!("pg_dump wrote data of no entry, {id}")))?;
        let name = String::from_utf8_lossy(entry.filename.as_deref().unwrap_or_default()).into_owned();
        let mut rows = entry.copy_stmt.as_deref().is_some_and(|s| !s.is_empty()).then(DataFile::default);
        let expected = entry.oid().and_then(|oid| self.sizes.get(&oid)).map_or(0, |size| size.bytes);
        let label = entry.name();
        let sink = self.sink(format!("archive/{name}{}", self.compression.suffix()), expected);
        let mut writer = FrameWriter::new(self.compression)?.checked(self.ground.sent(), self.compression)?;
        loop {
            match parts.recv().await {
                Some(Part::Bytes(bytes)) => {
                    self.take_time(&bytes).await;
                    if let Some(rows) = &mut rows {
                        rows.add(&bytes);
                    }
                    writer.write(&bytes)?;
                    if writer.ready() >= sink.frame_bytes() {
                        sink.append(&writer.finish()?.unwrap_or_default()).await?;
                    }
                }
                Some(Part::Ends) => break,
                _ => return Err(broke_off()),
            }
        }
        if let Some(rows) = rows {
            let rows = rows.end().ok_or_else(|| {
                Error::new(Kind::Archive, format!("pg_dump's rows of table {label} do not end as they should"))
            })?;
            self.rows.insert(name, rows);
        }
        let (_, rest) = sink.end(&writer.finish()?.unwrap_or_default()).await?;
        match rest.is_small() {
            true => {
                let (path, bytes) = rest.into_bytes();
                self.small(&path, bytes).await
            }
            false => {
                self.files.push(rest.store().await?);
                Ok(())
            }
        }
    }

    /// Stores a small file: in a pack, where there are many.
    async fn small(&mut self, path: &str, bytes: Bytes) -> Result<()> {
        let stored = match &self.packer {
            Some(packer) => match packer.add(path, &bytes, ())? {
                Some(full) => full.store().await?.0,
                None => return Ok(()),
            },
            None => self.folder.put(path, bytes).await?,
        };
        self.files.push(stored);
        Ok(())
    }

    /// Stores a large object. Its size, which stands in front of it in a pack, is known only in the end, so one that is no small one waits
    /// on the disk.
    async fn object(&mut self, oid: u32, parts: &mut mpsc::Receiver<Part>) -> Result<()> {
        let failed = || error::io(format!("cannot write to {}", self.ground.scratch.display()));
        let mut spool = tempfile::spooled_tempfile_in(IN_FLIGHT, &self.ground.scratch);
        let mut content = Content::of(oid);
        let mut size = 0;
        loop {
            match parts.recv().await {
                Some(Part::Bytes(bytes)) => {
                    self.take_time(&bytes).await;
                    content.add(&bytes);
                    size += bytes.len() as u64;
                    spool.write_all(&bytes).map_err(failed())?;
                }
                Some(Part::Ends) => break,
                _ => return Err(broke_off()),
            }
        }
        spool.seek(SeekFrom::Start(0)).map_err(failed())?;
        let mut pack = match self.open.take() {
            Some(open) => open,
            None => {
                let compression = large_objects::compression(self.compression);
                let number = self.large_objects.len() as u32 + 1;
                let name = pack::name_for_large_objects(number, compression != Compression::None);
                let out = PackOut::new(self.sink(format!("archive/{name}"), 0), compression, self.ground.sent())?;
                OpenPack { first: oid, last: oid, sum: Sum::default(), out }
            }
        };
        (pack.first, pack.last) = (pack.first.min(oid), pack.last.max(oid));
        pack.out.write(pack::Part::Begins(oid, size))?;
        let mut step = vec![0; 256 << 10];
        loop {
            let read = spool.read(&mut step).map_err(failed())?;
            if read == 0 {
                break;
            }
            pack.out.write(pack::Part::Bytes(&step[..read]))?;
            pack.out.relieve().await?;
        }
        pack.out.write(pack::Part::Ends)?;
        content.end(&mut pack.sum);
        self.ground.progress.event(Event::Dumped { rows: 0, bytes: size, planned: 0 });
        let full = large_objects::is_full(&pack.sum);
        self.open = Some(pack);
        if full { self.close_pack().await } else { Ok(()) }
    }

    async fn close_pack(&mut self) -> Result<()> {
        let Some(OpenPack { first, last, sum, out }) = self.open.take() else { return Ok(()) };
        let (frames, rest) = out.end().await?;
        let file = File { members: Some(sum.objects), ..rest.store().await? };
        self.large_objects.push((first, last, sum, sum.chunk(first, last, file.path.clone(), frames)));
        self.files.push(file);
        Ok(())
    }

    /// Stores the table of contents and what else pg_restore reads, and lets the restore begin.
    pub async fn end(
        mut self,
        plan: &mut Plan,
        seen: &Seen,
        begin: tokio::sync::oneshot::Sender<Begin>,
    ) -> Result<OwnPart> {
        let Ground { config, .. } = self.ground;
        plan.left_out.extend(left_out_by_pg_dump(&self.toc, plan, self.sizes, &config.filter));
        plan.left_out.extend(left_out_extensions(self.ground));
        plan.left_out.extend(self.left_out.take());
        plan.left_out.extend(left_out_subscriptions(&self.toc, &seen.subscriptions, &config.filter));
        for (name, list) in self.toc.large_object_lists() {
            self.small(&format!("archive/{name}"), list.into()).await?;
        }
        if let Some(full) = self.packer.as_ref().map(Packer::last).transpose()?.flatten() {
            self.files.push(full.store().await?.0);
        }
        self.files.push(
            self.folder.put("archive/toc.dat", spliced(&self.toc, plan, self.compression)?.to_bytes().into()).await?,
        );
        let database = match Database::of(&self.toc) {
            Some(database) => {
                Some(self.folder.put("database.sql", database.script(&self.source.encoding).into()).await?)
            }
            None => None,
        };
        let roles = roles_named(&self.toc, &seen.roles);
        let objects: BTreeSet<&str> = self.large_objects.iter().map(|(.., chunk)| chunk.file.as_str()).collect();
        let _ = begin.send(Begin {
            source: self.source.clone(),
            roles: roles.clone(),
            single_tables: !config.filter.tables.is_empty(),
            extensions: self.ground.granted(),
            own: self.files.iter().filter(|f| !objects.contains(f.path.as_str())).cloned().collect(),
        });
        let Own { toc, files, rows, large_objects, .. } = self;
        Ok(OwnPart { toc, files, database, roles, rows, large_objects })
    }
}

fn broke_off() -> Error {
    Error::new(Kind::Interrupted, "pg_dump broke off")
}

/// The table of contents with an entry for each table that we take over.
fn spliced(toc: &Toc, plan: &Plan, compression: Compression) -> Result<Toc> {
    let mut toc = toc.clone();
    let data: Vec<TableData> = plan
        .streams
        .iter()
        .map(|t| TableData {
            oid: t.relation.oid,
            copy_stmt: t.relation.copy_from(),
            filename: format!("{TABLE_FILE}{}.dat", t.relation.oid),
        })
        .collect();
    toc.add_table_data(&data)?;
    toc.announce(compression);
    Ok(toc)
}

/// What pg_dump left out on its own account, in words.
fn left_out_by_pg_dump(toc: &Toc, plan: &Plan, sizes: &HashMap<u32, Size>, filter: &Filter) -> Vec<String> {
    let written = pg_dump::rows_written(toc);
    let has_rows = |r: &&crate::dump::catalog::Relation| sizes.get(&r.oid).is_some_and(|s| s.pages > 0);
    let members = plan.pg_dump.iter().filter(|r| r.extension_member && !written.contains(&r.oid)).filter(has_rows);
    let mut lines: Vec<String> =
        members.map(|r| format!("rows of {}: pg_dump leaves them to CREATE EXTENSION", r.label())).collect();
    if !filter.schema_only {
        let entries = &toc.entries;
        let set: BTreeSet<_> =
            entries.iter().filter(|e| e.kind() == "SEQUENCE SET").map(|e| (&e.namespace, &e.tag)).collect();
        let without = |e: &&Entry| e.kind() == "SEQUENCE" && !set.contains(&(&e.namespace, &e.tag));
        lines.extend(
            entries.iter().filter(without).map(|e| format!("value of sequence {}: left out by the filter", e.name())),
        );
    }
    lines
}

/// Extensions that pg_dump left out.
fn left_out_extensions(ground: &Ground<'_>) -> Option<String> {
    let granted = ground.granted();
    let names = granted.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(", ");
    (!granted.is_empty()).then(|| {
        format!(
            "extensions ({names}): pg_dump takes none when schemas or tables are named; create them before a restore"
        )
    })
}

/// The table of contents without what the filter keeps out of it, and a line about that.
fn without_secrets(toc: Toc, filter: &Filter) -> (Toc, Option<String>) {
    if !filter.no_user_mappings {
        return (toc, None);
    }
    let (toc, names) = pg_dump::without_user_mappings(toc);
    let line = || format!("user mappings ({}): left out by no-user-mappings", names.join(", "));
    (toc, (!names.is_empty()).then(line))
}

/// Subscriptions that pg_dump left out.
fn left_out_subscriptions(toc: &Toc, there: &[String], filter: &Filter) -> Option<String> {
    if there.is_empty() || filter.names_a_part() || toc.entries.iter().any(|e| e.kind() == "SUBSCRIPTION") {
        return None;
    }
    let why = match filter.no_subscriptions {
        true => "left out by no-subscriptions",
        false => "pg_dump takes them for a superuser alone",
    };
    Some(format!("subscriptions ({}): {why}", there.join(", ")))
}

/// Roles that the archive names.
fn roles_named(toc: &Toc, all: &[Role]) -> Vec<Role> {
    let names: Vec<String> = all.iter().map(|r| r.name.clone()).collect();
    let named: BTreeSet<String> = schema::role_names(toc, &names).into_iter().collect();
    all.iter().filter(|r| named.contains(&r.name)).cloned().collect()
}

/// The large objects that were stored must be those that the table of contents names.
pub(super) fn all_objects(toc: &Toc, chunks: &[LargeObjectChunk]) -> Result<()> {
    let mut oids: Vec<u32> = toc.large_objects().objects.into_iter().map(|(oid, _)| oid).collect();
    oids.sort_unstable();
    let mut left = oids.len() as u64;
    for chunk in chunks {
        let from = oids.partition_point(|oid| *oid < chunk.first);
        let named = (oids.partition_point(|oid| *oid <= chunk.last) - from) as u64;
        if named != chunk.objects {
            let LargeObjectChunk { first, last, objects, .. } = chunk;
            let what = format!("large objects {first} to {last}: {objects} were read, pg_dump names {named}");
            return Err(Error::new(Kind::Archive, what));
        }
        left -= named;
    }
    match left {
        0 => Ok(()),
        n => Err(Error::new(Kind::Archive, format!("pg_dump names {n} large objects that were not read"))),
    }
}
