//! Whatever verify passes, restore takes, and what one of them refuses the other refuses: both read a backup through one door.

use crate::support::{
    Result, copy, find,
    pg::{self, Server},
    run::{Savepoint, in_process},
    scratch,
};
use anyhow::{Context, ensure};
use savepoint::cancel::Cancel;
use savepoint::{
    backup, drill,
    drill::VerifyConfig,
    progress::Silent,
    report::page::{Page, Verdict},
    restore::{self, RestoreConfig},
    store::Destination,
    vault::{Pick, VerifyLevel},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

const MAJOR: u32 = 17;

/// A proven backup of a database with little in it; the folder of the store and the backup's own.
async fn stored(server: &Server, db: &str) -> Result<(tempfile::TempDir, PathBuf)> {
    server.create_db(db, "").await?;
    server.psql(db, "CREATE TABLE t (n int, note text); INSERT INTO t VALUES (1, 'a'), (2, 'b')").await?;
    let store = scratch()?;
    Savepoint::backup(&server.url(db), &server.bin)?.to_folder(store.path()).run().await?.expect(0)?;
    let manifest = find(store.path(), "manifest.json")?;
    let folder = manifest.parent().context("no folder")?.to_owned();
    Ok((store, folder))
}

/// The two verbs on the backups of a folder, in this process.
struct Verbs {
    verify: VerifyConfig,
    restore: RestoreConfig,
}

impl Verbs {
    fn new(server: &Server, store: &Path, into: &str, temporary: &Path) -> Result<Verbs> {
        // Programs, connections and the place as a backup in this process has them.
        let like = in_process(server, into, store, temporary);
        let place = || Destination::folder(store);
        let mut verify = VerifyConfig::new(Pick::latest(), place());
        verify.engine = like.engine.clone();
        let mut restore = RestoreConfig::new(Pick::latest(), place(), like.source.clone());
        restore.engine = like.engine;
        // A proof that failed before must not be what stops it.
        restore.force_unproven = true;
        Ok(Verbs { verify, restore })
    }

    async fn verify(&self, level: VerifyLevel) -> Page {
        let config = VerifyConfig { level, ..self.verify.clone() };
        drill::run(&config, Arc::new(Silent), Cancel::new()).await
    }

    async fn restore(&self) -> Page {
        restore::run(&self.restore, Arc::new(Silent), Cancel::new()).await
    }
}

fn passed(page: &Page) -> bool {
    page.verdict == Verdict::Good
}

#[tokio::test(flavor = "multi_thread")]
async fn each_byte_of_a_backup_is_guarded_and_both_verbs_say_so() -> Result {
    let server = pg::server(MAJOR).await?;
    let (store, folder) = stored(server, "one answer").await?;
    server.create_db("one answer target", "").await?;
    let temporary = scratch()?;
    let verbs = Verbs::new(server, store.path(), "one answer target", temporary.path())?;
    let mut seen = 0;
    for path in ["manifest.json", "globals.sql", "database.sql", "archive"].map(|name| folder.join(name)) {
        let files = if path.is_dir() {
            fs::read_dir(&path)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?
        } else {
            vec![path]
        };
        for path in files {
            let good = fs::read(&path)?;
            for at in 0..good.len() {
                // Thousands of records of what failed would make each look at the folder slower than the one before.
                if at % 16 == 0 && folder.join("proofs").exists() {
                    fs::remove_dir_all(folder.join("proofs"))?;
                }
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs::write(&path, bad)?;
                let what = format!("{} at byte {at} of {}", path.display(), good.len());
                ensure!(!passed(&verbs.verify(VerifyLevel::Archive).await), "verify passes {what}");
                // Each of them connects to the target; a part of the bytes will do.
                if at % 41 == seen % 41 {
                    ensure!(!passed(&verbs.restore().await), "restore takes {what}");
                }
                if at % 2503 == seen % 2503 {
                    ensure!(!passed(&verbs.verify(VerifyLevel::Content).await), "the proof passes {what}");
                }
            }
            fs::write(&path, good)?;
            seen += 1;
        }
    }
    ensure!(seen == 5, "{seen} files");
    // Nine proofs within a second have names of their own, no more.
    fs::remove_dir_all(folder.join("proofs"))?;
    ensure!(
        passed(&verbs.verify(VerifyLevel::Content).await) && passed(&verbs.restore().await),
        "the whole one is refused"
    );
    Ok(())
}

/// A manifest as an older version wrote it, with one thing changed.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_digest_the_verbs_agree_as_well() -> Result {
    let server = pg::server(MAJOR).await?;
    let (store, folder) = stored(server, "no digest").await?;
    server.create_db("no digest target", "").await?;
    let temporary = scratch()?;
    let verbs = Verbs::new(server, store.path(), "no digest target", temporary.path())?;
    let path = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path)?)?;
    manifest["format"] = json!(1);
    manifest.as_object_mut().context("an object")?.remove("digest");
    let file = manifest["tables"][0]["file"].clone();
    let files = manifest["files"].as_array().context("files")?;
    let file = files.iter().position(|f| f["path"] == file).context("no file")?;
    let changes = [
        format!("/files/{file}/sha256"),
        "/tables/0/chunks/0/fingerprint".into(),
        "/tables/0/chunks/0/frames/0/sha256".into(),
        "/tables/0/fingerprint".into(),
        "/tables/0/rows".into(),
    ];
    for pointer in changes {
        let mut changed = manifest.clone();
        let value = changed.pointer_mut(&pointer).context("no such value")?;
        *value = match value.as_str() {
            Some(hex) => json!(format!("{}{}", if hex.starts_with('0') { '1' } else { '0' }, &hex[1..])),
            None => json!(value.as_u64().context("a number")? + 1),
        };
        fs::write(&path, serde_json::to_vec_pretty(&changed)?)?;
        ensure!(!passed(&verbs.verify(VerifyLevel::Content).await), "verify passes {pointer}");
        ensure!(!passed(&verbs.restore().await), "restore takes {pointer}");
    }
    fs::write(&path, serde_json::to_vec_pretty(&manifest)?)?;
    ensure!(
        passed(&verbs.verify(VerifyLevel::Content).await) && passed(&verbs.restore().await),
        "the whole one is refused"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_under_a_newer_name_is_never_chosen() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "older under newer";
    let (store, older) = stored(server, db).await?;
    let temporary = scratch()?;
    server.psql(db, "INSERT INTO t VALUES (3, 'c')").await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let report =
        backup::run(&in_process(server, db, store.path(), temporary.path()), Arc::new(Silent), Cancel::new()).await;
    let newer = find(store.path(), &report.backup.context("no backup")?.manifest.id)?;
    fs::remove_dir_all(&newer)?;
    copy(&older, &newer)?;
    let (old_id, new_id) = (name(&older)?, name(&newer)?);
    let run = |verb: &str, which: &str, code: i32| {
        let run = Savepoint::new([verb, which]).map(|run| match verb {
            "show" => run,
            _ => run.args(["--pg-bin-dir", &server.bin.display().to_string()]),
        });
        let run =
            run.map(|run| run.to_folder(store.path()).env("SAVEPOINT_TO", &server.url("older under newer target")));
        async move { run?.run().await?.expect(code) }
    };
    for verb in ["verify", "show", "restore"] {
        let ended = run(verb, "latest", 0).await?;
        ensure!(
            ended.output().contains(&format!("{new_id}/ is no backup: manifest.json names backup {old_id}")),
            "{}",
            ended.output()
        );
        ensure!(ended.stdout.contains(old_id), "{}", ended.output());
    }
    for verb in ["verify", "show", "restore"] {
        let ended = run(verb, new_id, 1).await?;
        ensure!(ended.stderr.contains("is no backup"), "{}", ended.output());
    }
    // A newest backup whose manifest is damaged is not passed over: it is a backup that is lost.
    let path = newer.join("manifest.json");
    fs::write(&path, fs::read_to_string(&path)?.replace(old_id, new_id))?;
    ensure!(run("verify", "latest", 3).await?.stderr.contains("digest"));
    Ok(())
}

fn name(folder: &Path) -> Result<&str> {
    folder.file_name().and_then(|n| n.to_str()).context("no name")
}
