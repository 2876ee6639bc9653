//! What is asked of everything that reads bytes of others, whatever these bytes are. No target may panic; and what can be read in two ways,
//! or written back, must come out the same. Known to the engine (`main.rs`) and to the tests, which replay the corpus through it.

use bytes::BytesMut;
use savepoint::{
    archive::{
        compression::Compression,
        custom, database,
        fingerprint::{DataFile, Fingerprint},
        frame::{FrameReader, FrameWriter, TERMINATOR, open_frame},
        pack::{PackReader, Part},
        schema,
        toc::{Entry, TableData, Toc, section},
    },
    crypt::{Identities, Opener},
    dump::large_objects::Objects,
    dumpfile::{
        self, DumpFile,
        sql::{self, Piece, Script},
    },
    error::{Error, Kind, Result},
    postgres::{
        conninfo,
        wire::{Fault, Wire},
    },
    progress::Silent,
    vault::{
        Manifest, Proof,
        manifest::{File, sealed},
    },
    verify::readback,
};
use std::{
    io::{self, BufRead, BufReader, Read},
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A reader of bytes that others wrote, and the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("toc", toc),
    ("dump", dump),
    ("rows", rows),
    ("frame", frame),
    ("sql", sql),
    ("conninfo", conninfo),
    ("manifest", manifest),
    ("proof", proof),
    ("wire", wire),
    ("pack", pack),
    ("objects", objects),
    ("age", age),
];

/// `toc.dat`: read, asked for all that it says, written back byte by byte; with rows added, or as another format's, read once more.
fn toc(bytes: &[u8]) {
    let Ok(mut toc) = Toc::parse(bytes) else { return };
    assert!(toc.to_bytes() == bytes, "it is not written back as it was");
    let again = |toc: &Toc| {
        assert_eq!(Toc::parse(&toc.to_bytes()).ok().as_ref(), Some(toc), "it is not read as it was written")
    };
    let names = toc.entries.iter().map(Entry::name).collect::<Vec<_>>();
    let _ = (toc.sequences(), toc.large_objects(), toc.large_object_lists(), toc.creates_public(), toc.encoding());
    let _ = (schema::digest(&toc), schema::count(&toc), schema::role_names(&toc, &names));
    assert!(schema::differences(&toc, &toc).is_empty(), "it differs from itself");
    if let Some(database) = database::Database::of(&toc) {
        let _ = (database.statements("other"), database.script("UTF8"));
    }
    let table = toc.tables().into_iter().find(|t| !t.has_data);
    let data = table.map(|t| TableData {
        oid: t.oid,
        copy_stmt: b"COPY t FROM stdin;\n".into(),
        filename: format!("t{}", t.oid),
    });
    if data.is_some_and(|data| toc.add_table_data(&[data]).is_ok()) {
        again(&toc);
    }
    again(&toc.into_directory());
}

/// Gives one byte at a time.
struct Slow<R>(R);

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(1);
        self.0.read(&mut into[..most])
    }
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread().build().expect("has a runtime");
    static FILE: tempfile::NamedTempFile = tempfile::NamedTempFile::new().expect("has a temporary file");
}

fn examine(bytes: &[u8]) -> Result<DumpFile> {
    FILE.with(|file| {
        std::fs::write(file.path(), bytes).expect("can be written");
        RUNTIME.with(|runtime| runtime.block_on(dumpfile::examine(file.path(), None, &Silent)))
    })
}

/// tar has a sum in each header, which no mutation would meet: they are set right.
fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for header in bytes.chunks_exact_mut(512).filter(|b| &b[257..262] == b"ustar") {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

/// A dump in one file: of the custom format, a tar, a script, packed or not. What it is is decided by its bytes.
fn dump(bytes: &[u8]) {
    let bytes = with_sums(bytes);
    let read = |from: &mut dyn Read| Toc::parse_custom(from).map_err(|e| e.one_line());
    let (mut whole, mut slow) = (&bytes[..], &bytes[..]);
    assert_eq!(read(&mut whole), read(&mut Slow(&mut slow)), "byte by byte it reads otherwise");
    assert_eq!(whole.len(), slow.len(), "byte by byte it ends elsewhere");
    match examine(&bytes) {
        Ok(file) => assert_eq!(file.size, bytes.len() as u64),
        Err(e) => assert_eq!(e.kind(), Kind::Archive, "{e:?}"),
    }
}

/// The first bytes say where the rest is cut.
struct Cut<'a> {
    sizes: [usize; 3],
    rest: &'a [u8],
}

impl<'a> Cut<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (sizes, rest) = bytes.split_first_chunk::<3>()?;
        Some(Self { sizes: sizes.map(|size| usize::from(size).max(1)), rest })
    }

    fn pieces(&self) -> impl Iterator<Item = &'a [u8]> {
        let (mut rest, mut sizes) = (self.rest, self.sizes.into_iter().cycle());
        std::iter::from_fn(move || {
            let (now, later) = rest.split_at(sizes.next()?.min(rest.len()));
            rest = later;
            Some(now).filter(|now| !now.is_empty())
        })
    }
}

/// An integer as archives hold it.
fn int(n: usize) -> [u8; custom::INT] {
    let [a, b, c, d] = (n as u32).to_le_bytes();
    [0, a, b, c, d]
}

/// A dump of the custom format with one table, whose rows come in these chunks.
fn archive<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let entry = Entry {
        dump_id: 1,
        had_dumper: true,
        desc: text("TABLE DATA"),
        tag: text("t"),
        section: section::DATA,
        copy_stmt: text("COPY public.t (a) FROM stdin;\n"),
        filename: text(""),
        ..Entry::default()
    };
    let nobody = || None;
    let toc = Toc {
        version: (1, 14, 0),
        off_size: 8,
        format: 1,
        compression: 0,
        time: [0; 7],
        dbname: nobody(),
        server_version: nobody(),
        dump_version: nobody(),
        entries: vec![entry],
    };
    let mut bytes = toc.to_bytes();
    // In place of a file's name an offset, not known.
    bytes.truncate(bytes.len() - custom::INT);
    bytes.extend([1; 9]);
    bytes.push(custom::DATA);
    bytes.extend(int(1));
    for chunk in chunks {
        bytes.extend(int(chunk.len()));
        bytes.extend(chunk);
    }
    bytes.extend(int(0));
    bytes
}

/// Rows of COPY text and an end mark, in pieces.
fn rows(bytes: &[u8]) {
    let Some(cut) = Cut::of(bytes) else { return };
    let text = cut.rest;

    // Our own data files, as they are read back.
    let add = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut file = DataFile::default();
        pieces.for_each(|piece| file.add(piece));
        file.end()
    };
    let whole = add(&mut std::iter::once(text));
    assert_eq!(whole, add(&mut cut.pieces()), "rows of a file of ours depend on where it is cut");
    let lines = text.strip_suffix(TERMINATOR).filter(|rows| rows.is_empty() || rows.ends_with(b"\n"));
    let mut direct = Fingerprint::default();
    lines.into_iter().flat_map(|rows| rows.split_inclusive(|b| *b == b'\n')).for_each(|row| direct.add_row(row));
    assert_eq!(whole, lines.map(|_| direct), "rows of a file of ours");

    // Data of others, which ends at the first end mark.
    let is_mark = |line: &&[u8]| matches!(*line, b"\\.\n" | b"\\.\r\n");
    let (mut before, mut mark) = (0, None);
    for line in text.split_inclusive(|b| *b == b'\n') {
        if is_mark(&line) {
            mark = Some(line);
            break;
        }
        before += line.len();
    }
    let rest = mark.map(|mark| &text[before + mark.len()..]);
    let count = text[..before].iter().filter(|b| **b == b'\n').count() as u64;
    let expected = (rest == Some(b"\n\n")).then_some(count);
    for bytes in [archive(std::iter::once(text).filter(|t| !t.is_empty())), archive(cut.pieces())] {
        let found = examine(&bytes).map(|file| file.rows.get("public.t").copied().flatten());
        assert_eq!(found.as_ref().ok().copied().flatten(), expected, "rows of an archive: {found:?}");
    }

    // The same in a script.
    let script = [b"COPY t (a) FROM stdin;\n", text].concat();
    let read = |from: &mut dyn BufRead| {
        let mut script = Script::new(from);
        let copy = script.next_piece().expect("is a statement");
        assert_eq!(copy, Some(Piece::Copy(b"COPY t (a) FROM stdin".into())));
        let mut rows = Vec::new();
        loop {
            match script.next_piece() {
                Ok(Some(Piece::Rows(more))) => rows.extend(more),
                Ok(Some(Piece::EndOfRows)) => return Some(rows),
                Ok(other) => panic!("{other:?} among rows"),
                Err(_) => return None,
            }
        }
    };
    let found = read(&mut &script[..]);
    assert_eq!(
        found,
        read(&mut BufReader::with_capacity(cut.sizes[0], &script[..])),
        "rows of a script depend on reads"
    );
    // There the file may end behind a mark.
    let ends = mark.is_some() || text[..before].ends_with(b"\n\\.") || text == b"\\.";
    let expected = text[..before].strip_suffix(if mark.is_none() { &b"\\."[..] } else { b"" });
    assert_eq!(found.as_deref(), expected.filter(|_| ends), "rows of a script");
}

/// A frame: as others may have damaged it; and what is written in pieces, read in pieces.
fn frame(bytes: &[u8]) {
    let Some(cut) = Cut::of(bytes).filter(|cut| !cut.rest.is_empty()) else { return };
    let compression = match cut.sizes[2] % 3 {
        0 => Compression::None,
        1 => Compression::Gzip(1),
        _ => Compression::Zstd(1),
    };
    let whole = |frame: &[u8]| {
        let mut text = Vec::new();
        open_frame(compression, frame.to_vec().into())?
            .read_to_end(&mut text)
            .map(|_| text)
            .map_err(savepoint::archive::frame::damaged)
    };
    let pieces = |frame: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = FrameReader::new(compression)?;
        frame.map(|piece| reader.text(piece)).collect::<Result<Vec<_>>>().map(|text| text.concat())
    };
    if let Ok(text) = whole(cut.rest) {
        assert!(pieces(&mut cut.pieces()).ok() == Some(text), "in pieces the frame has another text");
    } else {
        let _ = pieces(&mut cut.pieces());
    }
    let mut writer = FrameWriter::new(compression).expect("there is such a level");
    let mut stored = Vec::new();
    for piece in cut.pieces() {
        writer.write(piece).expect("is taken");
        stored.extend(writer.drain());
    }
    stored.extend(writer.finish().expect("is written").unwrap_or_default());
    assert!(whole(&stored).ok().as_deref() == Some(cut.rest), "the frame is not read as it was written");
    let stored = Cut { rest: &stored, ..cut };
    assert!(
        pieces(&mut stored.pieces()).ok().as_deref() == Some(cut.rest),
        "the frame is not read in pieces as it was written"
    );
}

/// A script, however it is read.
fn sql(bytes: &[u8]) {
    let read = |from: &mut dyn BufRead| {
        let mut script = Script::new(from);
        let mut pieces = Vec::new();
        loop {
            match script.next_piece() {
                Ok(Some(piece)) => pieces.push((script.line(), piece)),
                Ok(None) => return (pieces, None),
                Err(e) => return (pieces, Some(e.one_line())),
            }
        }
    };
    let whole = read(&mut &bytes[..]);
    assert_eq!(whole, read(&mut BufReader::with_capacity(1, bytes)), "pieces depend on reads");
    for (_, piece) in &whole.0 {
        if let Piece::Statement(statement) | Piece::Copy(statement) = piece {
            let _ = sql::tokens(statement);
        }
    }
}

/// Stands in the password; nothing may show it.
const MARK: &str = "Hunter2Mark";

/// A connection string with a password that nobody has encoded.
fn conninfo(bytes: &[u8]) {
    let Some(([form, at], rest)) = bytes.split_first_chunk::<2>() else { return };
    let text = String::from_utf8_lossy(rest);
    let cut = text.floor_char_boundary(usize::from(*at));
    let (before, after) = text.split_at(cut);
    let password = format!("{before}{MARK}{after}");
    let string = match form % 12 {
        0 => text.to_string(),
        1 => format!("postgresql://ann:{password}@db.example.com:6000/shop?sslmode=require"),
        2 => format!("postgres://ann:{password}@[::1]/shop"),
        3 => format!("postgresql://ann:{password}@db.example.com"),
        4 => format!("postgresql://db.example.com/shop?user=ann&password={password}"),
        5 => format!("postgresql://db.example.com/shop?password={password}&sslmode=require"),
        6 => format!("host=db.example.com user=ann password={password} dbname=shop"),
        7 => format!("host=db.example.com user=ann dbname=shop password='{password}'"),
        8 => format!("password = {password}"),
        9 => format!("jdbc:postgresql://db.example.com/shop?user=ann&password={password}"),
        10 => format!("\"postgresql://ann:{password}@db.example.com/shop\""),
        _ => String::new(),
    };
    let env = |name: &str| match name {
        "PGPASSWORD" => Some(password.clone()),
        "PGHOST" | "PGUSER" => Some("of-the-environment".to_owned()),
        _ => None,
    };
    let parsed = conninfo::parse(&string, &|name| env(name).filter(|_| form % 12 == 11));
    match &parsed {
        Err(e) => {
            assert_eq!(e.kind(), Kind::Usage);
            let shown = format!("{e} {e:?} {} {:?}", e.one_line(), e.hint_text());
            assert!(!shown.contains(MARK), "an error about {string:?} shows the password: {shown}");
        }
        Ok((target, notices)) => {
            assert!(
                !format!("{notices:?}").contains(MARK),
                "a notice about {string:?} shows the password: {notices:?}"
            );
            // What follows a & or a blank that nobody has quoted may well be another parameter: that cannot be known.
            if target.password.as_ref().is_some_and(|p| p.expose().contains(MARK)) {
                let shown = format!("{target:?} {} {:?}", target.redacted(), target.pooler());
                assert!(!shown.contains(MARK), "{string:?} shows the password: {shown}");
            }
            let _ = target.child_env();
        }
    }
}

/// `manifest.json`, as it is and with the digest that belongs to it.
fn manifest(bytes: &[u8]) {
    let _ = Manifest::parse(bytes);
    let Ok(mut manifest) = Manifest::parse(&sealed(bytes.to_vec())) else { return };
    let stored = manifest.seal().expect("can be written");
    assert_eq!(Manifest::parse(&stored).ok().as_ref(), Some(&manifest), "it is not read as it was written");
    let _ = (manifest.large_objects(), manifest.own_files().count());
    let file = |path: &str| File {
        path: path.to_owned(),
        size: manifest.totals.stored_bytes,
        sha256: String::new(),
        plain: None,
        members: None,
    };
    let files: Vec<&File> = manifest.files.iter().collect();
    let find = |path: &str| files.iter().find(|f| f.path == path).map_or_else(|| file(path), |f| (*f).clone());
    for table in &manifest.tables {
        if let Some(path) = table.stored_in() {
            let _ = readback::tiles(table, &find(path)).map(|frames| readback::range(&frames));
        }
    }
    for chunk in &manifest.large_object_chunks {
        let _ = readback::tile(&find(&chunk.file), &chunk.frames).map(|()| readback::range(&chunk.frames));
    }
}

/// An age file: in one piece and in many it comes to the same, and what it is cut off from is an error.
fn age(bytes: &[u8]) {
    // Made for these files; it opens nothing else.
    const KEY: &str = "AGE-SECRET-KEY-1A5PM6D8HT9DFEUC9JNQURY6924QHJHGVW8Y4URXVHZ60986YQ7XSCDEKD9";
    let keys = Identities::parse(&KEY.into(), "the seeds' key").expect("is a key");
    let opened = |step: usize, bytes: &[u8]| -> Result<BytesMut> {
        let (mut opener, mut plain) = (Opener::new("age", &keys, true), BytesMut::new());
        bytes.chunks(step).try_for_each(|bytes| opener.feed(bytes, &mut plain))?;
        opener.end(&mut plain)?;
        Ok(plain)
    };
    let whole = opened(bytes.len().max(1), bytes).ok();
    assert!(whole == opened(1021, bytes).ok(), "it depends on how it comes");
    if whole.is_some() {
        assert!(opened(4096, &bytes[..bytes.len() - 1]).is_err(), "its last byte is not missed");
    }
}

/// `proofs/<time>.json`.
fn proof(bytes: &[u8]) {
    let Ok(proof) = serde_json::from_slice::<Proof>(bytes) else { return };
    let stored = serde_json::to_vec_pretty(&proof).expect("can be written");
    assert_eq!(serde_json::from_slice::<Proof>(&stored).expect("is one"), proof, "it is not read as it was written");
}

/// What a server says, in pieces; then it hangs up.
struct Server {
    pieces: std::vec::IntoIter<Vec<u8>>,
    open: Vec<u8>,
}

impl AsyncRead for Server {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.open.is_empty() {
            self.open = self.pieces.next().unwrap_or_default();
        }
        let most = self.open.len().min(into.remaining());
        into.put_slice(&self.open.drain(..most).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Server {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a server sends for some COPYs, however it arrives.
fn wire(bytes: &[u8]) {
    let Some(cut) = Cut::of(bytes) else { return };
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let pieces = pieces.map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter();
        let mut wire = Wire::new(Box::new(Server { pieces, open: Vec::new() }));
        let mut copies = Vec::new();
        let copied = async {
            while wire.next_copy().await? {
                let mut rows = vec![Vec::new()];
                while wire.fill().await? {
                    while let Some(data) = wire.data() {
                        rows.last_mut().expect("there is one").extend_from_slice(data.bytes);
                        if data.ends {
                            rows.push(Vec::new());
                        }
                    }
                }
                copies.push(rows);
            }
            Ok(wire.answered())
        };
        let ended = RUNTIME.with(|runtime| runtime.block_on(copied));
        (copies, ended.map_err(|e: Fault| e.explain("a copy").one_line()))
    };
    let whole = read(&mut std::iter::once(cut.rest));
    assert_eq!(whole, read(&mut cut.pieces()), "what is read depends on how it arrives");
    assert_eq!(whole, read(&mut cut.rest.chunks(1)), "what is read depends on how it arrives");
}

/// What a reader in pieces told: beginnings, bytes and ends.
#[derive(Debug, Default, PartialEq)]
struct Told(Vec<(String, u64, Vec<u8>, bool)>);

impl Told {
    fn take<K: ToString>(&mut self, part: Part<'_, K>) -> Result<()> {
        let out_of_turn = "comes within a file";
        match part {
            Part::Begins(name, size) => {
                assert!(self.0.last().is_none_or(|(.., ended)| *ended), "another one begins before the end");
                self.0.push((name.to_string(), size, Vec::new(), false));
            }
            Part::Bytes(bytes) => self.0.last_mut().filter(|l| !l.3).expect(out_of_turn).2.extend_from_slice(bytes),
            Part::Ends => self.0.last_mut().filter(|l| !l.3).expect(out_of_turn).3 = true,
        }
        let whole = self.0.last().is_none_or(|(_, size, bytes, ended)| !ended || bytes.len() as u64 == *size);
        assert!(whole, "it has another size than was told");
        Ok(())
    }
}

/// A pack, in pieces.
fn pack(bytes: &[u8]) {
    let Some(cut) = Cut::of(bytes) else { return };
    let bytes = with_sums(cut.rest);
    let cut = Cut { rest: &bytes, ..cut };
    let read = |mut pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut told, mut reader) = (Told::default(), PackReader::default());
        let fed = Iterator::try_for_each(&mut pieces, |piece| reader.feed(piece, |part| told.take(part)));
        (told, fed.and_then(|()| reader.end()).map_err(|e: Error| e.one_line()))
    };
    let whole = read(&mut std::iter::once(cut.rest));
    assert_eq!(whole, read(&mut cut.pieces()), "members depend on where the pack is cut");
    assert_eq!(whole, read(&mut cut.rest.chunks(1)), "members depend on where the pack is cut");
}

/// Large objects in rows of COPY's binary format: each with its length in front, as they come and in pieces.
fn objects(bytes: &[u8]) {
    let Some(cut) = Cut::of(bytes) else { return };
    let mut rows = Vec::new();
    let mut rest = cut.rest;
    while let Some((length, more)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(more.len());
        rows.push(&more[..length]);
        rest = &more[length..];
    }
    let read = |pieces: fn([usize; 3], &[u8]) -> Vec<&[u8]>| {
        let (mut told, mut objects) = (Told::default(), Objects::default());
        let fed = rows.iter().try_for_each(|row| {
            let pieces = pieces(cut.sizes, row);
            let last = pieces.len().saturating_sub(1);
            pieces
                .iter()
                .enumerate()
                .try_for_each(|(n, piece)| objects.feed(piece, n == last, &mut |part| told.take(part)))
        });
        (told, fed.and_then(|()| objects.end()).map_err(|e| e.one_line()))
    };
    let whole = read(|_, row| vec![row]);
    let cut = read(|sizes, row| if row.is_empty() { vec![row] } else { Cut { sizes, rest: row }.pieces().collect() });
    // What is no row is found out sooner where it comes in pieces.
    assert!(
        whole == cut || (whole.1.is_err() && cut.1.is_err()),
        "objects depend on how their rows come: {whole:?} {cut:?}"
    );
}
