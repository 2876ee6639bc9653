//! Everything awkward, on every major: backed up, proven, downloaded by a plain S3 client, restored by plain pg_restore, equal.

use super::options::stored;
use crate::support::{
    Result,
    compare::compare,
    pg::{self, Server},
    run::{Ended, Savepoint},
    s3::{self, S3},
    scratch,
};
use anyhow::{Context, ensure};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// A stored backup, downloaded by a plain S3 client.
struct Downloaded {
    dir: tempfile::TempDir,
    manifest: serde_json::Value,
}

async fn download(s3: &S3, bucket: &str) -> Result<Downloaded> {
    let objects = s3.list(bucket).await?;
    let manifests: Vec<&str> = objects.iter().filter_map(|o| o.key.strip_suffix("/manifest.json")).collect();
    let [folder] = manifests[..] else { anyhow::bail!("not one manifest: {objects:#?}") };
    let dir = scratch()?;
    s3.download(bucket, folder, dir.path()).await?;
    let manifest = serde_json::from_slice(&std::fs::read(dir.path().join("manifest.json"))?)?;
    Ok(Downloaded { dir, manifest })
}

/// Takes a proven backup of `db` into a fresh bucket.
async fn backup(server: &Server, db: &str) -> Result<(Downloaded, Ended)> {
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    let ended = Savepoint::backup(&server.url(db), &server.bin)?
        .to_s3(&s3.endpoint, &bucket, "some/prefix")
        .run()
        .await?
        .expect(0)?;
    ended.left_nothing()?;
    let uploads = s3.uploads(&bucket).await?;
    ensure!(uploads.is_empty(), "unfinished uploads: {uploads:?}");
    let downloaded = download(s3, &bucket).await?;
    let proofs: Vec<_> = std::fs::read_dir(downloaded.dir.path().join("proofs"))?.collect::<std::io::Result<_>>()?;
    let [proof] = &proofs[..] else { anyhow::bail!("{} proof records", proofs.len()) };
    let proof: serde_json::Value = serde_json::from_slice(&std::fs::read(proof.path())?)?;
    ensure!(proof["passed"] == true && proof["differences"] == serde_json::json!([]), "{proof:#}");
    // What no proof of these databases can cover is said, and nothing else is left unproven.
    let unproven: Vec<_> =
        proof["unproven"].as_array().context("unproven")?.iter().filter_map(|u| u.as_str()).collect();
    let excused = |u: &&str| {
        u.starts_with("rows of materialized views:")
            || u.starts_with("generated columns")
            || u.ends_with("so only pg_dump could read it")
    };
    let unexcused: Vec<_> = unproven.iter().filter(|u| !excused(u)).collect();
    ensure!(unexcused.is_empty(), "{unexcused:?}");
    // A member table of an extension that is none of its configuration tables: no pg_dump takes its rows, and we say so.
    let left_out: Vec<_> =
        downloaded.manifest["left_out"].as_array().context("left_out")?.iter().filter_map(|l| l.as_str()).collect();
    let expected: &[&str] = match db {
        "it awkward" => &["rows of probe.internal: pg_dump leaves them to CREATE EXTENSION"],
        _ => &[],
    };
    ensure!(left_out == expected, "{left_out:?}");
    Ok((downloaded, ended))
}

/// `pg_restore -l` without what may differ: the ids of entries, their order, the header.
pub async fn entries(server: &Server, archive: &Path) -> Result<Vec<String>> {
    let list = server.tool("pg_restore", &["-l", &archive.display().to_string()]).await?;
    let list = String::from_utf8_lossy(&list).into_owned();
    let mut lines: Vec<String> = list
        .lines()
        .filter_map(|l| l.split_once("; "))
        .filter(|(id, _)| id.parse::<u32>().is_ok())
        .map(|(_, e)| e.to_owned())
        .collect();
    lines.sort();
    Ok(lines)
}

async fn survives(major: u32) -> Result {
    survives_between(pg::server(major).await?, &Server::start(major, "").await?).await
}

async fn survives_between(server: &Server, target: &Server) -> Result {
    for (db, file, options) in [
        ("it awkward", None, "ENCODING 'UTF8' LOCALE 'C.UTF-8'"),
        ("it_latin1", Some("latin1.sql"), "ENCODING 'LATIN1' LOCALE 'C'"),
        ("it_ascii", Some("sqlascii.sql"), "ENCODING 'SQL_ASCII' LOCALE 'C'"),
    ] {
        match file {
            None => server.awkward(db).await?,
            Some(file) => {
                server.create_db(db, options).await?;
                server.psql_file(db, file).await?;
            }
        }
        let (stored, _) = backup(server, db).await.context(db)?;
        let archive = stored.dir.path().join("archive");

        let own = scratch()?;
        server.pg_dump(db, &own.path().join("dump")).await?;
        let (ours, theirs) = (entries(server, &archive).await?, entries(server, &own.path().join("dump")).await?);
        let missing: Vec<_> = theirs.iter().filter(|e| !ours.contains(e)).collect();
        let added: Vec<_> = ours.iter().filter(|e| !theirs.contains(e)).collect();
        ensure!(ours == theirs, "{db}: pg_dump's entries that are missing: {missing:#?}; added: {added:#?}");

        // The bootstrap role is there already.
        let globals = std::fs::read(stored.dir.path().join("globals.sql"))?;
        let globals = [b"\\set ON_ERROR_STOP off\n".as_slice(), &globals].concat();
        pg::psql(&target.bin, &target.socket("postgres"), globals).await?;
        target.create_db(db, options).await?;
        target.pg_restore(db, &archive).await.context(db)?;
        let found = compare((server, db), (target, db)).await?;
        ensure!(found.is_empty(), "{db}: {found:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn everything_awkward_14() -> Result {
    survives(14).await
}

#[tokio::test]
async fn everything_awkward_15() -> Result {
    survives(15).await
}

#[tokio::test]
async fn everything_awkward_16() -> Result {
    survives(16).await
}

#[tokio::test]
async fn everything_awkward_17() -> Result {
    survives(17).await
}

#[tokio::test]
async fn everything_awkward_18() -> Result {
    survives(18).await
}

/// The release candidate, with what is new in it.
#[tokio::test]
async fn everything_awkward_19() -> Result {
    let conf = "wal_level = logical";
    let (Some(server), Some(target)) = (Server::debian("19", conf).await?, Server::debian("19", conf).await?) else {
        return Ok(());
    };
    survives_between(&server, &target).await
}

/// Each recorded frame of a table can be read alone, and begins and ends at a row; together they hold the rows that the chunks say.
fn frames_hold_whole_rows(dir: &Path, table: &serde_json::Value) -> Result {
    let name = table["file"].as_str().context("file")?;
    let file = std::fs::read(dir.join(name))?;
    for chunk in table["chunks"].as_array().context("chunks")? {
        let mut rows = 0;
        for frame in chunk["frames"].as_array().context("frames")? {
            let number = |key: &str| anyhow::Ok(usize::try_from(frame[key].as_u64().context("no number")?)?);
            let (offset, length) = (number("offset")?, number("length")?);
            let frame = &file[offset..offset + length];
            let text = match name.rsplit_once('.') {
                Some((_, "zst")) => zstd::decode_all(frame)?,
                Some((_, "gz")) => {
                    let mut text = Vec::new();
                    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(frame), &mut text)?;
                    text
                }
                _ => frame.to_vec(),
            };
            ensure!(text.is_empty() || text.ends_with(b"\n"), "the frame at {offset} ends inside a row");
            rows += text.iter().filter(|&&b| b == b'\n').count() as u64;
        }
        ensure!(Some(rows) == chunk["rows"].as_u64(), "{rows} rows in the frames of {chunk:#}");
    }
    Ok(())
}

/// Tiny rows beside rows that are larger than the wire's buffer, than a frame, and than what is handed to the store at once.
async fn rows_of_all_sizes(major: u32, compression: &str) -> Result {
    let server = pg::server(major).await?;
    let db = format!("it_sizes_{major}_{compression}");
    server.create_db(&db, "").await?;
    // The filler cannot be compressed well; the first column orders the sizes.
    let sql = "CREATE TABLE sizes (id int, t text); ALTER TABLE sizes ALTER t SET STORAGE EXTERNAL; \
        CREATE TABLE filler AS SELECT string_agg(md5(g::text), '') AS f FROM generate_series(1, 200000) g; \
        INSERT INTO sizes SELECT g, CASE g % 6 WHEN 0 THEN '' WHEN 1 THEN substr(f, 1, 200 << 10) WHEN 2 THEN 'x' \
            WHEN 3 THEN substr(f, 100, 3 << 20) WHEN 4 THEN substr(f, 7, (128 << 10) - 4 - length(g::text) + g / 6 % 4) \
            ELSE substr(f, 9, 6 << 20) END FROM filler, generate_series(1, 60) g; \
        INSERT INTO sizes SELECT g, 'small' FROM generate_series(100, 30000) g; \
        INSERT INTO sizes SELECT 1, f FROM filler; DROP TABLE filler; ANALYZE";
    server.psql(&db, sql).await?;
    let store = scratch()?;
    let run = Savepoint::backup(&server.url(&db), &server.bin)?.to_folder(store.path());
    run.args(["--compression", compression]).run().await?.expect(0)?.left_nothing()?;
    let dir = stored(store.path())?;
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("manifest.json"))?)?;
    let table = &manifest["tables"][0];
    ensure!(table["rows"] == 29_962, "{}", table["rows"]);
    frames_hold_whole_rows(&dir, table)?;
    let copy = format!("{db}_copy");
    server.create_db(&copy, "").await?;
    server.pg_restore(&copy, &dir.join("archive")).await?;
    let found = compare((server, &db), (server, &copy)).await?;
    ensure!(found.is_empty(), "{found:#?}");
    server.drop_db(&copy).await?;
    server.drop_db(&db).await
}

#[tokio::test]
async fn rows_of_all_sizes_plain() -> Result {
    rows_of_all_sizes(14, "none").await
}

#[tokio::test]
async fn rows_of_all_sizes_in_gzip_members() -> Result {
    rows_of_all_sizes(15, "gzip").await
}

#[tokio::test]
async fn rows_of_all_sizes_in_zstd_frames() -> Result {
    rows_of_all_sizes(17, "zstd").await
}

/// A table larger than everything else is read by several connections, and is one file of many frames or members.
async fn big_table(major: u32) -> Result {
    let server = pg::server(major).await?;
    server.create_db("it_big", "").await?;
    server.psql_file("it_big", "big.sql").await?;
    let watch = tokio::spawn(async move {
        let mut most = 0;
        loop {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'it_big' AND state = 'active' \
                AND query LIKE '%COPY%\"big\"%'";
            if let Ok(n) = server.psql("postgres", sql).await {
                most = most.max(n.parse::<u32>().unwrap_or(0));
            }
            if most > 1 {
                return most;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (stored, _) = backup(server, "it_big").await?;
    ensure!(watch.is_finished(), "the table was never read by two connections at a time");
    let tables = stored.manifest["tables"].as_array().context("tables")?;
    let big = tables.iter().find(|t| t["name"] == "big").context("big")?;
    let chunks = big["chunks"].as_array().context("chunks")?;
    let mut frames = BTreeMap::new();
    for frame in chunks.iter().flat_map(|c| c["frames"].as_array().into_iter().flatten()) {
        frames.insert(frame["offset"].as_u64().context("offset")?, frame["length"].as_u64().context("length")?);
    }
    ensure!(chunks.len() > 1 && frames.len() > chunks.len(), "{} chunks, {} frames", chunks.len(), frames.len());
    // A frame is closed behind the block of 2 MiB of text that fills it.
    ensure!(frames.values().all(|&length| length < 3 << 20), "{frames:?}");
    frames_hold_whole_rows(stored.dir.path(), big)?;
    server.create_db("it_big_copy", "").await?;
    server.pg_restore("it_big_copy", &stored.dir.path().join("archive")).await?;
    let found = compare((server, "it_big"), (server, "it_big_copy")).await?;
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

#[tokio::test]
async fn big_table_in_gzip_members() -> Result {
    big_table(15).await
}

#[tokio::test]
async fn big_table_in_zstd_frames() -> Result {
    big_table(17).await
}
