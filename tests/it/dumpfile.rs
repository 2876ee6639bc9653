//! What pg_dump writes, in each of its formats: known by its content, read to its end, restored; and damaged in every way, refused.

use crate::support::{
    Result,
    compare::compare,
    pg::{self, Server},
    scratch,
};
use anyhow::{Context, ensure};
use savepoint::{
    archive::toc::Toc,
    dumpfile::{self, DumpFile, Format, Options, Packing},
    error::Kind,
    postgres::{
        conninfo::{self, Target},
        tools::{self, Tools},
    },
    progress::Silent,
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

fn target(server: &Server, db: &str) -> Result<Target> {
    Ok(conninfo::parse(&server.url(db), &|_| None)?.0)
}

async fn tools_of(server: &Server) -> Result<Tools> {
    Ok(tools::find(server.major, std::slice::from_ref(&server.bin), false).await?)
}

async fn look(path: &Path) -> savepoint::Result<DumpFile> {
    dumpfile::examine(path, None, &Silent).await
}

/// Runs pg_dump with these options into a file (`-f`) or a pipe.
async fn dump(server: &Server, db: &str, path: &Path, options: &[&str]) -> Result {
    let (file, socket) = (path.display().to_string(), server.socket(db));
    let mut args = vec!["-f", file.as_str(), "-d", socket.as_str()];
    args.extend(options);
    server.tool("pg_dump", &args).await?;
    Ok(())
}

/// One gzip member per piece.
fn gzip(pieces: &[&[u8]]) -> Vec<u8> {
    let member = |piece: &&[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(piece).unwrap();
        encoder.finish().unwrap()
    };
    pieces.iter().map(member).collect::<Vec<_>>().concat()
}

/// A frame with a checksum per piece, as the zstd program writes it.
fn zstd(pieces: &[&[u8]]) -> Vec<u8> {
    let frame = |piece: &&[u8]| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(piece).unwrap();
        encoder.finish().unwrap()
    };
    pieces.iter().map(frame).collect::<Vec<_>>().concat()
}

/// Every format and compression of this major: name, what it is, packing, options of pg_dump.
fn variants(major: u32) -> Vec<(&'static str, Format, Packing, &'static [&'static str])> {
    use {Format::*, Packing::*};
    let mut all: Vec<(&str, Format, Packing, &[&str])> = vec![
        ("plain.data", Plain, None, &["-Fp"]),
        ("create.data", Plain, None, &["-Fp", "--create", "--clean", "--if-exists"]),
        ("clean.data", Plain, None, &["-Fp", "--clean"]),
        ("inserts.data", Plain, None, &["-Fp", "--column-inserts", "--rows-per-insert=7"]),
        ("gzipped.data", Plain, Gzip, &["-Fp", "-Z6"]),
        ("custom.data", Custom, Gzip, &["-Fc"]),
        ("custom-plain.data", Custom, None, &["-Fc", "-Z0"]),
        ("custom-inserts.data", Custom, Gzip, &["-Fc", "--column-inserts"]),
        ("tar.data", Tar, None, &["-Ft"]),
        ("tar-inserts.data", Tar, None, &["-Ft", "--column-inserts"]),
        ("folder.data", Directory, Gzip, &["-Fd", "-j2"]),
        ("folder-plain.data", Directory, None, &["-Fd", "-Z0"]),
    ];
    if major >= 16 {
        all.extend::<[(&str, Format, Packing, &[&str]); 6]>([
            ("plain-zstd.data", Plain, Zstd, &["-Fp", "-Zzstd"]),
            ("plain-lz4.data", Plain, Lz4, &["-Fp", "-Zlz4"]),
            ("custom-zstd.data", Custom, Zstd, &["-Fc", "-Zzstd"]),
            ("custom-lz4.data", Custom, Lz4, &["-Fc", "-Zlz4"]),
            ("folder-zstd.data", Directory, Zstd, &["-Fd", "-Zzstd"]),
            ("folder-lz4.data", Directory, Lz4, &["-Fd", "-Zlz4"]),
        ]);
    }
    all
}

async fn restores(server: &Server, db: &str, options: &str, file: &DumpFile) -> Result {
    let (copy, dir) = (format!("copy of {db}"), scratch()?);
    server.drop_db(&copy).await?;
    server.create_db(&copy, options).await?;
    let how = Options { jobs: 2, ..Options::default() };
    let problems =
        file.restore(&tools_of(server).await?, &target(server, &copy)?, dir.path(), &how, Arc::new(Silent)).await?;
    ensure!(problems.is_empty(), "{problems:#?}");
    let mut found = compare((server, db), (server, &copy)).await?;
    if file.path.display().to_string().contains("inserts") {
        // As a literal without quotes pg_dump's -0 is an integer.
        found.retain(|line| !line.starts_with("table public.numbers: 8 rows"));
    }
    ensure!(found.is_empty(), "{found:#?}");
    server.drop_db(&copy).await
}

async fn told_names(server: &Server, options: &str, file: &DumpFile) -> Result {
    let (copy, dir) = ("copy of names", scratch()?);
    server.create_db(copy, options).await?;
    let (tools, to) = (tools_of(server).await?, target(server, copy)?);
    let problems = file.restore(&tools, &to, dir.path(), &Options::default(), Arc::new(Silent)).await?;
    ensure!(!problems.is_empty() && problems.iter().all(|p| p.contains("COPY public")), "{problems:#?}");
    Ok(())
}

async fn round_trips(major: u32) -> Result {
    let server = pg::server(major).await?;
    let dir = scratch()?;
    let db = "dumped awkward";
    server.awkward(db).await?;
    let tools = tools_of(server).await?;
    let total: u64 = server
        .psql(db, "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace > 16000 AND relname !~ '^probe'")
        .await?
        .parse()?;
    for (name, format, packing, options) in variants(major) {
        let path = dir.path().join(name);
        dump(server, db, &path, options).await?;
        let file = dumpfile::examine(&path, Some(&tools), &Silent).await.context(name)?;
        ensure!((file.format, file.compression, file.major) == (format, packing, Some(major)), "{name}: {file:#?}");
        ensure!(file.encoding.as_deref() == Some("UTF8") && file.tables > total / 2, "{name}: {file:#?}");
        ensure!(file.database.is_some() == (format != Format::Plain || name == "create.data"), "{name}: {file:#?}");
        let weak = file.warnings.iter().any(|w| w.contains("no checksum"));
        ensure!(weak == (packing != Packing::Gzip), "{name}: {:?}", file.warnings);
        // It has one that reads a file of the server's machine.
        ensure!(file.reaches.iter().all(|l| l.contains("a foreign table")), "{name}: {:?}", file.reaches);
        restores(server, db, "ENCODING 'UTF8' LOCALE 'C.UTF-8'", &file).await.context(name)?;
    }
    // From a pipe: no offsets in the custom format, and what a shell's gzip and zstd make of a script.
    let socket = server.socket(db);
    let piped = dir.path().join("piped");
    fs::write(&piped, server.tool("pg_dump", &["-Fc", "-d", &socket]).await?)?;
    restores(server, db, "ENCODING 'UTF8' LOCALE 'C.UTF-8'", &look(&piped).await?).await?;
    let script = server.tool("pg_dump", &["-d", &socket]).await?;
    let (a, b) = script.split_at(script.len() / 2);
    for (bytes, packing) in [(gzip(&[a, b]), Packing::Gzip), (zstd(&[a, b]), Packing::Zstd)] {
        fs::write(&piped, bytes)?;
        let file = look(&piped).await?;
        ensure!(file.compression == packing && file.warnings.is_empty(), "{file:#?}");
        restores(server, db, "ENCODING 'UTF8' LOCALE 'C.UTF-8'", &file).await?;
    }
    // Texts that are no UTF-8.
    for (db, sql, options) in [
        ("dumped latin1", "latin1.sql", "ENCODING 'LATIN1' LOCALE 'C'"),
        ("dumped ascii", "sqlascii.sql", "ENCODING 'SQL_ASCII' LOCALE 'C'"),
    ] {
        server.create_db(db, options).await?;
        server.psql_file(db, sql).await?;
        for (name, how) in [("s", &["-Fp"][..]), ("i", &["-Fp", "--inserts"]), ("c", &["-Fc"]), ("t", &["-Ft"])] {
            let path = dir.path().join(format!("{db}.{name}"));
            dump(server, db, &path, how).await?;
            if db == "dumped ascii" && name == "s" {
                // A table's name that is no UTF-8 cannot be sent in a COPY statement; that is told, not passed over.
                told_names(server, options, &look(&path).await?).await?;
                continue;
            }
            restores(server, db, options, &look(&path).await?).await.with_context(|| format!("{db} {name}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_format_makes_the_round_trip_14() -> Result {
    round_trips(14).await
}

#[tokio::test]
#[ignore = "takes minutes, and the formats are those of 14 and 18"]
async fn every_format_makes_the_round_trip_15() -> Result {
    round_trips(15).await
}

#[tokio::test]
#[ignore = "takes minutes, and the formats are those of 14 and 18"]
async fn every_format_makes_the_round_trip_16() -> Result {
    round_trips(16).await
}

#[tokio::test]
#[ignore = "takes minutes, and the formats are those of 14 and 18"]
async fn every_format_makes_the_round_trip_17() -> Result {
    round_trips(17).await
}

#[tokio::test]
async fn every_format_makes_the_round_trip_18() -> Result {
    round_trips(18).await
}

/// A small database with rows of many sizes, an empty table and large objects.
async fn small(server: &Server, db: &str) -> Result {
    server.create_db(db, "").await?;
    let sql = "CREATE TABLE a AS SELECT n, md5(n::text) AS text FROM generate_series(1, 3000) n;
        CREATE TABLE b AS SELECT n, repeat(md5(n::text), n) AS text FROM generate_series(1, 90) n;
        CREATE TABLE \"empty one\" (n int); CREATE INDEX ON a (n);
        SELECT lo_from_bytea(4711, decode(repeat('00ff5c2e0a', 5000), 'hex')), lo_from_bytea(4712, '');";
    server.psql(db, sql).await?;
    Ok(())
}

/// Fails unless the dump is refused as one that is no dump, or no whole one, in words that name the file.
async fn refused(path: &Path, what: &str) -> Result<String> {
    match look(path).await {
        Ok(file) => anyhow::bail!("{what}: taken for whole: {file:#?}"),
        Err(e) => {
            ensure!(e.kind() == Kind::Archive && e.hint_text().is_some(), "{what}: {e:?}");
            let text = e.one_line();
            ensure!(text.contains(&path.display().to_string()), "{what}: {text}");
            Ok(text)
        }
    }
}

/// Places to cut a file of this length: both ends byte by byte, the blocks of a tar archive, and many in between.
fn cuts(length: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..=40).map(|n| n * length / 41).collect();
    cuts.extend((1..40).chain([512, 1024, 1536]).filter(|n| *n < length).map(|n| length - n));
    cuts.extend((1..length).filter(|n| n % 512 == 0).step_by(length / 512 / 20 + 1));
    cuts.retain(|n| *n < length);
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

#[tokio::test]
async fn a_file_that_was_cut_is_refused_wherever_it_was_cut() -> Result {
    let server = pg::server(17).await?;
    small(server, "cut").await?;
    let dir = scratch()?;
    for (name, format, _, options) in variants(17).into_iter().filter(|v| v.1 != Format::Directory) {
        let (path, part) = (dir.path().join(name), dir.path().join("part"));
        dump(server, "cut", &path, options).await?;
        look(&path).await?;
        let bytes = fs::read(&path)?;
        // What follows pg_dump's last words in a script says nothing.
        let last = b"-- PostgreSQL database dump complete";
        let end = match format {
            Format::Plain => bytes.windows(last.len()).rposition(|w| w == last).map_or(bytes.len(), |n| n + last.len()),
            _ => bytes.len(),
        };
        for at in cuts(end) {
            fs::write(&part, &bytes[..at])?;
            refused(&part, &format!("{name} cut at {at} of {}", bytes.len())).await?;
        }
        if format != Format::Plain || name.contains("zstd") || name.contains("lz4") || name.contains("gz") {
            fs::write(&part, [&bytes[..], b"x"].concat())?;
            refused(&part, &format!("{name} with a byte behind it")).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_file_of_a_folder_that_was_cut_emptied_or_removed_is_missed() -> Result {
    let server = pg::server(17).await?;
    small(server, "cut folder").await?;
    let dir = scratch()?;
    for (name, _, _, options) in variants(17).into_iter().filter(|v| v.1 == Format::Directory) {
        let path = dir.path().join(name);
        dump(server, "cut folder", &path, options).await?;
        look(&path).await?;
        let files: Vec<PathBuf> = fs::read_dir(&path)?.map(|f| Ok(f?.path())).collect::<Result<_>>()?;
        ensure!(files.len() >= 7, "{files:?}");
        for file in files {
            let bytes = fs::read(&file)?;
            // A plain large object has neither length nor end.
            let endless = name == "folder-plain.data" && file.display().to_string().contains("blob_");
            for at in cuts(bytes.len()).into_iter().filter(|_| !endless) {
                fs::write(&file, &bytes[..at])?;
                if at == 0 && file.display().to_string().contains("blob_4711.dat.") && !name.contains("folder.data") {
                    // pg_dump writes an empty object so.
                    let warnings = look(&path).await?.warnings;
                    ensure!(
                        warnings.iter().any(|w| w.contains("blob_4711.dat.") && w.contains("is empty")),
                        "{warnings:?}"
                    );
                    continue;
                }
                let text = look(&path).await.err().map(|e| e.one_line());
                let Some(text) = text else { anyhow::bail!("{} cut at {at} of {}", file.display(), bytes.len()) };
                ensure!(text.contains("damaged") || text.contains("toc.dat"), "{text}");
            }
            fs::remove_file(&file)?;
            refused(&path, &format!("{} removed", file.display())).await?;
            fs::write(&file, &bytes)?;
        }
        look(&path).await?;
        fs::write(path.join("1.dat.gz"), b"")?;
        let file = look(&path).await?;
        ensure!(file.warnings.iter().any(|w| w.contains("1.dat.gz")), "{:?}", file.warnings);
    }
    Ok(())
}

/// pg_restore takes what these refuse.
#[tokio::test]
async fn a_cut_at_the_end_of_a_member_or_frame_is_refused() -> Result {
    let server = pg::server(17).await?;
    small(server, "cut member").await?;
    let dir = scratch()?;
    for (suffix, pack) in [("gz", gzip as fn(&[&[u8]]) -> Vec<u8>), ("zst", zstd)] {
        let folder = dir.path().join(suffix);
        dump(server, "cut member", &folder, &["-Fd", "-Z0", "-B"]).await?;
        let mut cut = 0;
        for file in fs::read_dir(&folder)?.map(|f| Ok(f?.path())).collect::<Result<Vec<_>>>()? {
            let text = fs::read(&file)?;
            let row = text.iter().position(|b| *b == b'\n').unwrap_or(0) + 1;
            if !file.display().to_string().ends_with(".dat") || file.ends_with("toc.dat") || text.len() < 100 {
                continue;
            }
            let packed = PathBuf::from(format!("{}.{suffix}", file.display()));
            fs::remove_file(&file)?;
            let (a, b) = text.split_at(row);
            fs::write(&packed, pack(&[a]))?;
            // The reason for all of this: pg_restore finds nothing wrong.
            server.create_db("half", "").await?;
            server.pg_restore("half", &folder).await?;
            server.drop_db("half").await?;
            let why = refused(&folder, &packed.display().to_string()).await?;
            ensure!(why.contains("it ends behind row 1 without COPY's end mark"), "{why}");
            // The end mark in the middle drops the rest as silently.
            fs::write(&packed, pack(&[a, b"\\.\n\n\n", b]))?;
            let why = refused(&folder, &packed.display().to_string()).await?;
            ensure!(why.contains("its end mark stands behind row 1"), "{why}");
            fs::write(&packed, pack(&[a, b]))?;
            look(&folder).await?;
            cut += 1;
        }
        ensure!(cut == 2, "{cut}");
        let path = dir.path().join(format!("plain.{suffix}"));
        let script = server.tool("pg_dump", &["-d", &server.socket("cut member")]).await?;
        let (a, b) = script.split_at(script.len() / 2);
        fs::write(&path, pack(&[a]))?;
        refused(&path, suffix).await?;
        fs::write(&path, [pack(&[a, b]), pack(&[b"x"])].concat())?;
        refused(&path, suffix).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_flipped_byte_is_seen_wherever_there_is_a_checksum() -> Result {
    let server = pg::server(17).await?;
    server.create_db("flip", "").await?;
    server.psql("flip", "CREATE TABLE a AS SELECT n, md5(n::text) AS text FROM generate_series(1, 40) n").await?;
    let dir = scratch()?;
    let flips = async |path: &Path, file: &Path, from: usize| -> Result {
        let good = fs::read(file)?;
        let mut unseen = Vec::new();
        for at in from..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(file, &bad)?;
            // Bits of a zstd header may change without changing a byte of the content.
            let same =
                good.starts_with(&[0x28, 0xb5]) && zstd::decode_all(&bad[..]).ok() == zstd::decode_all(&good[..]).ok();
            if look(path).await.is_ok() && !same {
                unseen.push(at);
            }
        }
        // Behind the last code of a deflate stream some bits say nothing.
        ensure!(unseen.len() <= 1, "bytes {unseen:?} of {} of {}", good.len(), file.display());
        fs::write(file, good)?;
        Ok(())
    };
    // A gzip header of ten bytes holds a time and the like.
    let plain = dir.path().join("plain.gz");
    dump(server, "flip", &plain, &["-Fp", "-Z6"]).await?;
    flips(&plain, &plain, 10).await?;
    let script = server.tool("pg_dump", &["-d", &server.socket("flip")]).await?;
    fs::write(&plain, zstd(&[&script]))?;
    // The fifth byte of a zstd frame holds a bit that says nothing.
    flips(&plain, &plain, 5).await?;
    let folder = dir.path().join("folder");
    dump(server, "flip", &folder, &["-Fd"]).await?;
    let data = fs::read_dir(&folder)?.filter_map(|f| Some(f.ok()?.path())).find(|f| !f.ends_with("toc.dat"));
    flips(&folder, &data.context("no data")?, 10).await?;
    // Behind the table of contents, which has no checksum, everything of a custom file is either checked or awaited.
    let custom = dir.path().join("custom");
    dump(server, "flip", &custom, &["-Fc"]).await?;
    let (_, offsets) = Toc::parse_custom(&fs::read(&custom)?[..])?;
    let first = offsets.into_iter().flatten().min().context("no offset")?;
    flips(&custom, &custom, usize::try_from(first)?).await?;
    // Of a tar archive the headers have one.
    let tar = dir.path().join("tar");
    dump(server, "flip", &tar, &["-Ft"]).await?;
    let good = fs::read(&tar)?;
    let header = good.chunks(512).enumerate().filter(|(_, block)| block.get(257..262) == Some(b"ustar"));
    for at in header.flat_map(|(n, _)| (n * 512..(n + 1) * 512).step_by(7)).collect::<Vec<_>>() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&tar, bad)?;
        ensure!(look(&tar).await.is_err(), "byte {at} of the tar archive");
    }
    Ok(())
}

/// The table of contents of a custom file may await what is not there; a block may be there that it does not await.
#[tokio::test]
async fn missing_members_and_blocks_are_missed() -> Result {
    let server = pg::server(17).await?;
    small(server, "missing").await?;
    let dir = scratch()?;
    let tar = dir.path().join("tar");
    dump(server, "missing", &tar, &["-Ft"]).await?;
    let good = fs::read(&tar)?;
    let mut at = 0;
    let mut members = Vec::new();
    while good[at] != 0 {
        let name =
            String::from_utf8_lossy(good[at..at + 100].split(|b| *b == 0).next().unwrap_or_default()).into_owned();
        let size =
            u64::from_str_radix(String::from_utf8_lossy(&good[at + 124..at + 135]).trim_matches(['\0', ' ']), 8)?;
        let end = at + 512 + usize::try_from(size)?.div_ceil(512) * 512;
        members.push((name, at..end));
        at = end;
    }
    ensure!(members.len() >= 7, "{members:?}");
    for (name, range) in &members {
        fs::write(&tar, [&good[..range.start], &good[range.end..]].concat())?;
        if name == "restore.sql" {
            // Only for people.
            look(&tar).await?;
            continue;
        }
        let why = refused(&tar, name).await?;
        ensure!(why.contains(if name == "toc.dat" { "not toc.dat" } else { name }), "{why}");
    }
    let custom = dir.path().join("custom");
    fs::write(&custom, server.tool("pg_dump", &["-Fc", "-Z0", "-d", &server.socket("missing")]).await?)?;
    let good = fs::read(&custom)?;
    look(&custom).await?;
    // The first block: type, id, chunks. In a file from a pipe no offset tells where the next begins.
    let (toc, _) = Toc::parse_custom(&good[..])?;
    let file = dir.path().join("seekable");
    dump(server, "missing", &file, &["-Fc", "-Z0"]).await?;
    let mut starts: Vec<u64> = Toc::parse_custom(&fs::read(&file)?[..])?.1.into_iter().flatten().collect();
    starts.sort_unstable();
    let [first, second, ..] = starts[..] else { anyhow::bail!("{starts:?}") };
    let (first, second) = (usize::try_from(first)?, usize::try_from(second)?);
    fs::write(&custom, [&good[..first], &good[second..]].concat())?;
    let why = refused(&custom, "a block less").await?;
    ensure!(why.contains("it ends before the data of 1 entries") && toc.entries.len() > 5, "{why}");
    fs::write(&custom, [&good[..], &good[first..second]].concat())?;
    let why = refused(&custom, "a block twice").await?;
    ensure!(why.contains("does not await"), "{why}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_dump_is_named_for_what_it_looks_like() -> Result {
    let server = pg::server(17).await?;
    server.create_db("wrong", "").await?;
    server.psql("wrong", "CREATE TABLE t AS SELECT 1 AS n").await?;
    let dir = scratch()?;
    let socket = server.socket("wrong");
    let script = server.tool("pg_dump", &["-d", &socket]).await?;
    let custom = server.tool("pg_dump", &["-Fc", "-d", &socket]).await?;
    let tar = server.tool("pg_dump", &["-Ft", "-d", &socket]).await?;
    let all = server.tool("pg_dumpall", &["-d", &server.socket("postgres"), "--roles-only"]).await?;
    let text = String::from_utf8_lossy(&script).into_owned();
    let utf16: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let with =
        |line: &str| text.replacen("SET statement_timeout", &format!("{line}\nSET statement_timeout"), 1).into_bytes();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("html", b"<!DOCTYPE html>\n<html><body>404</body></html>\n".to_vec()),
        ("html.gz", gzip(&[b"<html><body>503</body></html>\n"])),
        ("xml", b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>".to_vec()),
        ("json", b"{\"message\":\"Not Found\"}".to_vec()),
        ("mysql", b"-- MySQL dump 10.13  Distrib 8.0.36\n--\nCREATE TABLE `t` (n int);\n".to_vec()),
        ("mariadb", b"/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19\n".to_vec()),
        ("sqlite", b"SQLite format 3\0abc".to_vec()),
        ("age", b"age-encryption.org/v1\n-> X25519 abc\n".to_vec()),
        ("gpg", [&[0x85, 0x01, 0x0c, 0x03][..], &[0xa7; 300]].concat()),
        ("gpg armor", b"-----BEGIN PGP MESSAGE-----\n\nabc\n".to_vec()),
        ("openssl", b"Salted__abcdefgh".to_vec()),
        ("zip", b"PK\x03\x04abc".to_vec()),
        ("xz", b"\xfd7zXZ\0abc".to_vec()),
        ("binary", (0..=255).collect()),
        ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n".to_vec()),
        ("powershell", utf16),
        ("toc.dat", {
            dump(server, "wrong", &dir.path().join("folder"), &["-Fd"]).await?;
            fs::read(dir.path().join("folder/toc.dat"))?
        }),
        ("custom.gz", gzip(&[&custom])),
        ("tar.zst", zstd(&[&tar])),
        ("pg_dumpall", all),
        ("other sql", b"CREATE TABLE t (n int);\n".to_vec()),
        ("text", b"hello\nworld\n".to_vec()),
        ("shell", with("\\! touch /tmp/owned")),
        ("include", with("\\i /etc/passwd")),
        ("two dumps", [&script[..], &script].concat()),
        ("no magic", custom[1..].to_vec()),
        ("old archive", [b"PGDMP\x01\x0b\x00\x04\x08\x01", &custom[11..]].concat()),
    ];
    let mut seen = String::new();
    for (name, bytes) in cases {
        let path = dir.path().join(name);
        fs::write(&path, bytes)?;
        let Err(e) = look(&path).await else { anyhow::bail!("{name} was taken for a dump") };
        let line = format!("{}\n    {}\n", e.one_line(), e.hint_text().context("no hint")?);
        seen.push_str(&line.replace(&dir.path().display().to_string(), "…"));
    }
    fs::create_dir(dir.path().join("data"))?;
    fs::write(dir.path().join("data/PG_VERSION"), "17\n")?;
    fs::create_dir(dir.path().join("nothing"))?;
    for name in ["data", "nothing", "not there"] {
        let Err(e) = look(&dir.path().join(name)).await else { anyhow::bail!("{name} was taken for a dump") };
        seen.push_str(
            &format!("{}\n    {:?}\n", e.one_line(), e.hint_text()).replace(&dir.path().display().to_string(), "…"),
        );
    }
    insta::assert_snapshot!("no_dump", seen);
    Ok(())
}

/// Rows of a COPY that the server refuses are no statements, and an error does not hide the others.
#[tokio::test]
async fn a_script_runs_no_row_and_tells_every_error() -> Result {
    let server = pg::server(17).await?;
    server.create_db("script", "").await?;
    let sql = "CREATE TABLE a (t text); INSERT INTO a VALUES ('x;'), ('DROP TABLE b;'), (E'\\\\! touch owned');
        CREATE TABLE b (n int); INSERT INTO b VALUES (1);
        CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
        CREATE FUNCTION g() RETURNS text LANGUAGE sql AS $$ SELECT E'it''s; -- \\'' $$;
        COMMENT ON TABLE a IS 'a ; \\ b';";
    server.psql("script", sql).await?;
    let dir = scratch()?;
    let path = dir.path().join("script.sql");
    dump(server, "script", &path, &["--clean"]).await?;
    restores(server, "script", "", &look(&path).await?).await?;
    // The table is there already, with another column, and the role is not.
    let text = fs::read_to_string(&path)?
        .replace("DROP TABLE public.a;", "SELECT 1/0;")
        .replace("OWNER TO postgres", "OWNER TO nobody_here");
    fs::write(&path, text)?;
    let file = look(&path).await?;
    ensure!(file.roles == ["nobody_here"], "{:?}", file.roles);
    server.create_db("script copy", "").await?;
    server.psql("script copy", "CREATE TABLE a (other int); CREATE TABLE b (n int)").await?;
    let (tools, to) = (tools_of(server).await?, target(server, "script copy")?);
    let problems = file.restore(&tools, &to, dir.path(), &Options::default(), Arc::new(Silent)).await?;
    insta::assert_snapshot!("script_problems", problems.join("\n"));
    ensure!(server.psql("script copy", "SELECT count(*) FROM b").await? == "1");
    let options = Options { tables: vec!["a".into()], ..Options::default() };
    let refused = file.restore(&tools, &to, dir.path(), &options, Arc::new(Silent)).await;
    ensure!(refused.is_err_and(|e| e.kind() == Kind::Usage));
    Ok(())
}

#[tokio::test]
async fn programs_that_are_too_old_are_told() -> Result {
    let server = pg::server(17).await?;
    server.create_db("newer", "").await?;
    let dir = scratch()?;
    let path = dir.path().join("newer");
    dump(server, "newer", &path, &["-Fc"]).await?;
    let old = tools_of(pg::server(15).await?).await?;
    let Err(e) = dumpfile::examine(&path, Some(&old), &Silent).await else { anyhow::bail!("15 reads 17") };
    ensure!(e.one_line().contains("unsupported version (1.16)") && e.hint_text().is_some(), "{e:?}");
    Ok(())
}

/// As most people take a dump: `pg_dump … > FILE`, on which the custom format of 16 and later ends with its table of contents once more.
#[tokio::test]
async fn dumps_by_redirection_are_whole() -> Result {
    let dir = scratch()?;
    for major in [14, 16, 17, 18] {
        let server = pg::server(major).await?;
        let db = "dumped by redirection";
        server.create_db(db, "").await?;
        server.psql(db, "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 3000) g").await?;
        server.psql(db, "CREATE TABLE u (id int PRIMARY KEY); SELECT lo_from_bytea(0, 'large')").await?;
        for format in ["-Fc", "-Ft", "-Fp"] {
            let path = dir.path().join(format!("{major}{format}"));
            let mut dump = pg::command(&server.bin, "pg_dump");
            dump.args([format, "-d", &server.socket(db)]).stdout(fs::File::create(&path)?);
            ensure!(dump.status().await?.success(), "{major} {format}");
            let file = look(&path).await.with_context(|| format!("{major} {format}"))?;
            ensure!(file.rows.values().map(|n| n.unwrap_or_default()).sum::<u64>() == 3000, "{file:#?}");
            if format == "-Fc" {
                // Something else behind the data is seen, also where it is a spoiled table of contents.
                for (tail, at_end) in [(&b"x"[..], true), (b"PGDMP", true), (b"", false)] {
                    let mut bytes = fs::read(&path)?;
                    bytes.extend(tail);
                    if !at_end {
                        let last = bytes.len() - 1;
                        bytes.truncate(last);
                    }
                    let spoiled = dir.path().join("spoiled");
                    fs::write(&spoiled, bytes)?;
                    ensure!(look(&spoiled).await.is_err(), "{major}: {tail:?} behind the end, or a byte fewer");
                }
            }
        }
        server.drop_db(db).await?;
    }
    Ok(())
}
