//! Old backups go by the rule, and nothing else goes: real manifests in the real S3 server and in a folder.

use crate::support::{
    Result, copy, pg,
    proxy::{Tamper, TamperingS3},
    run::{Ended, Savepoint},
    s3::{self, ACCESS_KEY, READER_KEY, S3, SECRET_KEY},
    scratch, sealed,
};
use anyhow::{Context, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use savepoint::cancel::Cancel;
use savepoint::{
    progress::Silent,
    prune::{
        self, Done, Scope, Survey,
        retention::{Policy, Retention},
    },
    secret::Secret,
    store::{
        self, Destination, ObjectInfo, Reader, Store, Unfinished, Upload,
        s3::{S3Options, S3Store},
    },
    vault::BackupKind,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime},
};
use time::{Duration, OffsetDateTime, macros::format_description};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::OnceCell,
};

const MAJOR: u32 = 17;

/// The files of one real backup, taken by the binary, by path below its folder.
async fn template() -> Result<&'static Vec<(String, Vec<u8>)>> {
    static FILES: OnceCell<Vec<(String, Vec<u8>)>> = OnceCell::const_new();
    FILES
        .get_or_try_init(|| async {
            let server = pg::server(MAJOR).await?;
            server.create_db("it_prune_template", "").await?;
            server.psql("it_prune_template", "CREATE TABLE one AS SELECT generate_series(1, 9) AS id").await?;
            let dir = scratch()?;
            let run = Savepoint::backup(&server.url("it_prune_template"), &server.bin)?.to_folder(dir.path());
            run.run().await?.expect(0)?;
            let store = store::open(&Destination::folder(dir.path())).await?;
            let mut files = Vec::new();
            for object in store.list("").await? {
                let path = object.key.splitn(6, '/').nth(5).context("no key of ours")?.to_owned();
                files.push((path, store.open(&object.key, None).await?.bytes().await?.to_vec()));
            }
            Ok(files)
        })
        .await
}

/// What a planted backup is to be like.
#[derive(Clone, Copy)]
struct Like<'a> {
    database: &'a str,
    kind: BackupKind,
    age: Duration,
    proven: Option<bool>,
}

const LIKE: Like = Like { database: "app", kind: BackupKind::Scheduled, age: Duration::ZERO, proven: Some(true) };

fn days(age: i64) -> Like<'static> {
    Like { age: Duration::days(age), ..LIKE }
}

/// Stores the real backup as if it had been taken at another time, of another database, for another reason. Its folder.
async fn plant(store: &Arc<dyn Store>, like: Like<'_>) -> Result<String> {
    let at = OffsetDateTime::now_utc() - like.age;
    let stamp = at.format(format_description!("[year][month][day]T[hour][minute][second]Z"))?;
    let day = at.format(format_description!("[year]/[month]/[day]"))?;
    let random = uuid::Uuid::new_v4().simple().to_string();
    let id = format!("{stamp}-{}-{}", like.kind.name(), &random[..7]);
    let folder = format!("{}/{day}/{id}/", savepoint::vault::folder_name(like.database));
    let files = template().await?;
    let (_, manifest) = files.iter().find(|(path, _)| path == "manifest.json").context("a manifest")?;
    let mut manifest: Value = serde_json::from_slice(manifest)?;
    manifest["id"] = json!(id);
    manifest["kind"] = json!(like.kind.name());
    manifest["source"]["database"] = json!(like.database);
    let manifest = sealed(&manifest)?;
    // The manifest last, as a backup does.
    for (path, bytes) in files.iter().rev() {
        let mut bytes = bytes.clone();
        if path == "manifest.json" {
            bytes.clone_from(&manifest);
        } else if path.starts_with("proofs/") {
            let Some(passed) = like.proven else { continue };
            let mut proof: Value = serde_json::from_slice(&bytes)?;
            proof["backup_id"] = json!(id);
            proof["passed"] = json!(passed);
            proof["manifest_sha256"] = json!(hex::encode(Sha256::digest(&manifest)));
            bytes = serde_json::to_vec_pretty(&proof)?;
        }
        store.put(&format!("{folder}{path}"), bytes.into()).await?;
    }
    Ok(folder)
}

/// One backup a day, the newest today, all proven. Their folders, the newest first.
async fn daily(store: &Arc<dyn Store>, number: i64) -> Result<Vec<String>> {
    let mut folders = Vec::new();
    for age in 0..number {
        folders.push(plant(store, days(age)).await?);
    }
    Ok(folders)
}

fn id(folder: &str) -> &str {
    folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

async fn keys(store: &Arc<dyn Store>) -> Result<Vec<String>> {
    Ok(store.list("").await?.into_iter().map(|o| o.key).collect())
}

/// Folders that hold anything.
async fn folders(store: &Arc<dyn Store>) -> Result<BTreeSet<String>> {
    let folder = |key: &String| key.splitn(6, '/').take(5).map(|part| format!("{part}/")).collect::<String>();
    Ok(keys(store).await?.iter().map(folder).collect())
}

fn set<'a>(folders: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    folders.into_iter().cloned().collect()
}

/// A place of its own in the S3 server.
struct Place {
    s3: &'static S3,
    bucket: String,
    store: Arc<dyn Store>,
}

impl Place {
    async fn new() -> Result<Self> {
        let s3 = s3::s3().await?;
        let bucket = s3.bucket().await?;
        Ok(Self { s3, store: connect(s3, &bucket, ACCESS_KEY)?, bucket })
    }

    fn savepoint(&self, args: &[&str]) -> Result<Savepoint> {
        Ok(Savepoint::new(args.iter().copied())?.to_s3(&self.s3.endpoint, &self.bucket, "x"))
    }

    async fn prune(&self, args: &[&str]) -> Result<Ended> {
        self.savepoint(&[&["prune"], args].concat())?.run().await
    }
}

fn connect(s3: &S3, bucket: &str, access_key: &str) -> Result<Arc<dyn Store>> {
    let endpoint = Some(s3.endpoint.clone());
    let options = S3Options { bucket: bucket.to_owned(), prefix: "x".into(), endpoint, ..S3Options::default() };
    Ok(Arc::new(S3Store::with_credentials(&options, access_key, Secret::new(SECRET_KEY))?))
}

const ALL: Scope = Scope { database: None, kind: None, trusted: None };

fn last(last: u32) -> Retention {
    Retention { policy: Some(Policy { last, ..Policy::default() }), min_keep: 1, confirm_large: true }
}

async fn survey(store: &Arc<dyn Store>, retention: Retention, later: Duration) -> Result<Survey> {
    Ok(prune::survey(store, ALL, &retention, OffsetDateTime::now_utc() + later).await?)
}

async fn execute(store: &Arc<dyn Store>, survey: &Survey) -> Done {
    prune::execute(store, survey, &Silent, &Cancel::new()).await
}

#[tokio::test]
async fn only_the_named_database_and_kind() -> Result {
    let place = Place::new().await?;
    let store = &place.store;
    let ours = daily(store, 4).await?;
    let mut others = Vec::new();
    for database in ["app_staging", "ap", "app/scheduled", "App"] {
        for age in 0..4 {
            others.push(plant(store, Like { database, ..days(age) }).await?);
        }
    }
    for kind in [BackupKind::Snapshot, BackupKind::Manual, BackupKind::PreRestore] {
        for age in [0, 400, 401, 402] {
            others.push(plant(store, Like { kind, ..days(age) }).await?);
        }
    }
    // Other people's things: beside, inside and right under the prefix.
    for key in
        ["notes.txt", "app/notes.txt", "app/2020/01/01/notes.txt", "app/2020/01/01/20200101T000000Z-x/manifest.json"]
    {
        store.put(key, Bytes::from_static(b"{}")).await?;
    }
    let rest: Vec<String> = keys(store).await?.into_iter().filter(|k| !ours.iter().any(|f| k.starts_with(f))).collect();

    let args = ["--database", "app", "--kind", "scheduled", "--keep-last", "1", "--min-keep", "2", "--confirm-large"];
    let ended = place.prune(&args).await?.expect(0)?;
    ensure!(ended.stdout.contains("2 backups deleted, 2 kept"), "{}", ended.output());
    for (folder, action) in ours.iter().zip(["keep", "keep", "remove", "remove"]) {
        let line = ended.stdout.lines().find(|l| l.contains(id(folder))).context("not in the plan")?;
        ensure!(line.contains(action), "{line}");
    }
    let line = ended.stdout.lines().find(|l| l.contains(id(&ours[1]))).context("not in the plan")?;
    ensure!(line.contains("one of the last 2 (min-keep)"), "{line}");
    for other in &others {
        ensure!(!ended.stdout.contains(id(other)), "{other} was considered\n{}", ended.output());
    }
    let left = keys(store).await?;
    ensure!(rest.iter().all(|k| left.contains(k)), "more is gone than should be");
    ensure!(folders(store).await?.is_superset(&set(&ours[..2])), "{left:?}");
    ensure!(!left.iter().any(|k| ours[2..].iter().any(|f| k.starts_with(f))), "{left:?}");

    // Each group by its own rule: the manual ones stay, snapshots go after 90 days, pre-restores after 7, but never the last.
    let ended = place.prune(&["--min-keep", "1", "--json"]).await?.expect(0)?;
    let told = ended.json()?;
    let gone = |kind: &str| {
        let backups = told["backups"].as_array().into_iter().flatten();
        backups.filter(|b| b["kind"] == kind && b["deleted"] == true && b["action"] == "remove").count()
    };
    ensure!([gone("scheduled"), gone("snapshot"), gone("manual"), gone("pre-restore")] == [0, 3, 0, 3], "{told:#}");
    ensure!(told["deleted"] == 6 && told["freed_bytes"].as_u64() > Some(0), "{told:#}");
    for key in
        ["notes.txt", "app/notes.txt", "app/2020/01/01/notes.txt", "app/2020/01/01/20200101T000000Z-x/manifest.json"]
    {
        ensure!(keys(store).await?.iter().any(|k| k == key), "{key} is gone");
    }
    Ok(())
}

#[tokio::test]
async fn the_newest_proven_one_stays_whatever_the_rule() -> Result {
    let place = Place::new().await?;
    let store = &place.store;
    let mut planted = Vec::new();
    for (age, proven) in [(0, Some(false)), (1, Some(false)), (2, Some(true)), (3, Some(true)), (4, None)] {
        planted.push(plant(store, Like { proven, ..days(age) }).await?);
    }
    // A later record is the present state: this one was proven once, and then not.
    let again = format!("{}proofs/99991231T235959Z.json", planted[2]);
    let proofs = store.list(&format!("{}proofs/", planted[2])).await?;
    let mut record: Value = serde_json::from_slice(&store.open(&proofs[0].key, None).await?.bytes().await?)?;
    record["passed"] = json!(false);
    store.put(&again, serde_json::to_vec(&record)?.into()).await?;

    let args = ["--keep-last", "1", "--min-keep", "1", "--confirm-large"];
    let ended = place.prune(&args).await?.expect(0)?;
    let line = ended.stdout.lines().find(|l| l.contains(id(&planted[3]))).context("not in the plan")?;
    ensure!(line.contains("keep") && line.contains("newest proven"), "{line}");
    // The never proven one was stored a moment ago, and may be in the middle of its proof.
    let line = ended.stdout.lines().find(|l| l.contains(id(&planted[4]))).context("not in the plan")?;
    ensure!(line.contains("its proof may be going on"), "{line}");
    ensure!(folders(store).await? == set([&planted[0], &planted[3], &planted[4]]), "{}", ended.output());

    // A day later it is not; a record that cannot be read may be that of a good proof.
    store.put(&format!("{}proofs/99991231T235959Z.json", planted[0]), Bytes::from_static(b"{")).await?;
    let newer = plant(store, Like { proven: Some(false), age: Duration::seconds(-1), ..LIKE }).await?;
    let looked = survey(store, last(1), Duration::hours(25)).await?;
    let gone: Vec<&str> = looked.plan.removed().map(|c| c.id.as_str()).collect();
    ensure!(gone == [id(&planted[4])], "{gone:?}");
    let done = execute(store, &looked).await;
    ensure!(done.failures.is_empty() && done.deleted == [id(&planted[4])], "{done:?}");
    ensure!(folders(store).await? == set([&planted[0], &planted[3], &newer]));
    Ok(())
}

/// What the listing shows to be damaged, and a manifest that is not the one that was proven, let no other backup go.
#[tokio::test]
async fn what_is_damaged_counts_for_nothing() -> Result {
    let place = Place::new().await?;
    let all = daily(&place.store, 4).await?;
    for gutted in &all[..2] {
        for key in keys(&place.store).await?.iter().filter(|key| key.starts_with(&format!("{gutted}archive/"))) {
            place.store.delete(key).await?;
        }
    }
    // With a digest of its own, as whoever may write there can make it.
    let key = format!("{}manifest.json", all[2]);
    let mut manifest: Value = serde_json::from_slice(&place.store.open(&key, None).await?.bytes().await?)?;
    manifest["context"]["actor"] = json!("somebody else");
    place.store.put(&key, sealed(&manifest)?.into()).await?;
    let plan = survey(&place.store, last(1), Duration::ZERO).await?.plan;
    ensure!(plan.removed().next().is_none(), "{plan:#?}");
    let reasons = plan.0.iter().find(|d| d.backup.folder() == all[3]).context("the whole one")?.reasons.clone();
    ensure!(reasons.contains(&"last 1".to_owned()) && reasons.contains(&"newest proven".to_owned()), "{reasons:?}");
    Ok(())
}

#[tokio::test]
async fn a_dry_run_prints_the_same_plan_and_touches_nothing() -> Result {
    let place = Place::new().await?;
    daily(&place.store, 6).await?;
    let before = place.s3.list(&place.bucket).await?;
    let args = ["--keep-last", "4", "--min-keep", "1"];
    let dry = place.prune(&[&args[..], &["--dry-run"]].concat()).await?.expect(0)?;
    ensure!(place.s3.list(&place.bucket).await? == before, "something was touched");
    let real = place.prune(&args).await?.expect(0)?;
    let plan = |ended: &Ended| {
        let words = |l: &str| l.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        // The age in minutes may differ.
        let of = |l: &str| words(l).into_iter().filter(|w| w.parse::<u32>().is_err()).collect::<Vec<_>>();
        ended.stdout.lines().filter(|l| l.contains("-scheduled-")).map(of).collect::<Vec<_>>()
    };
    ensure!(plan(&dry) == plan(&real) && plan(&dry).len() == 6, "{}\n{}", dry.output(), real.output());
    ensure!(dry.stdout.contains("nothing touched") && !real.stdout.contains("nothing touched"), "{}", dry.output());
    Ok(())
}

#[tokio::test]
async fn more_than_half_asks() -> Result {
    let place = Place::new().await?;
    let planted = daily(&place.store, 5).await?;
    let before = place.s3.list(&place.bucket).await?;
    let args = ["--keep-last", "2", "--min-keep", "1"];
    let ended = place.prune(&args).await?.expect(1)?;
    ensure!(ended.stderr.contains("3 of 5 backups, more than half"), "{}", ended.output());
    ensure!(ended.stderr.contains("hint: ") && ended.stderr.contains("--confirm-large"), "{}", ended.output());
    ensure!(ended.stdout.lines().filter(|l| l.contains("remove")).count() == 3, "no plan\n{}", ended.output());
    ensure!(place.s3.list(&place.bucket).await? == before, "something was touched");
    let dry = place.prune(&[&args[..], &["--dry-run"]].concat()).await?.expect(0)?;
    ensure!(dry.stdout.contains("--confirm-large"), "{}", dry.output());
    place.prune(&[&args[..], &["--confirm-large"]].concat()).await?.expect(0)?;
    ensure!(folders(&place.store).await? == set(&planted[..2]));
    // Half is not more than half.
    place.prune(&["--keep-last", "1", "--min-keep", "1"]).await?.expect(0)?;
    ensure!(folders(&place.store).await? == set(&planted[..1]));
    Ok(())
}

#[tokio::test]
async fn what_is_not_certainly_ours_stays_and_is_named() -> Result {
    let dir = scratch()?;
    let store = &store::open(&Destination::folder(dir.path())).await?;
    daily(store, 2).await?;
    let mut odd = Vec::new();
    let cases: [(&str, &str); 9] = [
        ("format", "format 4"),
        ("id", "names backup"),
        ("kind", "names kind snapshot"),
        ("database", "names database other"),
        ("cut", "not one of savepoint's"),
        ("tail", "is damaged"),
        ("large", "is damaged"),
        ("empty", "not one of savepoint's"),
        ("foreign", "not one of savepoint's"),
    ];
    for (n, (case, why)) in cases.into_iter().enumerate() {
        let folder = plant(store, days(50 + n as i64)).await?;
        let path = dir.path().join(&folder).join("manifest.json");
        let text = fs::read_to_string(&path)?;
        let mut manifest: Value = serde_json::from_str(&text)?;
        let changed = match case {
            "cut" => text[..30].to_owned(),
            "tail" => text[..text.len() - 3].to_owned(),
            "empty" => String::new(),
            "foreign" => r#"{"name": "an app", "icons": []}"#.to_owned(),
            "large" => {
                // Larger than what is read of a backup that stays: its head is right, its end is not.
                manifest["zzz"] = json!("x".repeat(100_000));
                let text = manifest.to_string();
                format!("{}!", &text[..text.len() - 1])
            }
            field => {
                match field {
                    "format" => manifest["format"] = json!(4),
                    "id" => manifest["id"] = json!("20200101T000000Z-scheduled-0000000"),
                    "kind" => manifest["kind"] = json!("snapshot"),
                    _ => manifest["source"]["database"] = json!("other"),
                }
                String::from_utf8(sealed(&manifest)?)?
            }
        };
        fs::write(&path, changed)?;
        odd.push((folder, why));
    }
    // `%61pp` reads as `app` too, but savepoint does not write it so.
    let alias = plant(store, days(70)).await?;
    copy(&dir.path().join(&alias), &dir.path().join(alias.replacen("app", "%61pp", 1)))?;
    let good = format!("{alias}manifest.json");
    ensure!(keys(store).await?.contains(&good), "{good}");
    let before = keys(store).await?;

    let run =
        Savepoint::new(["prune", "--keep-last", "1", "--min-keep", "1", "--confirm-large"])?.to_folder(dir.path());
    let ended = run.run().await?.expect(0)?;
    for (folder, why) in &odd {
        let line = ended.stdout.lines().find(|l| l.contains(id(folder)));
        let line = line.with_context(|| format!("{folder} is not named\n{}", ended.output()))?;
        ensure!(line.contains(why), "{line} does not say {why}");
    }
    let named = ended.stdout.lines().any(|l| l.contains("%61pp") && l.contains("another way"));
    ensure!(named, "{}", ended.output());
    let left = keys(store).await?;
    let gone: Vec<&String> = before.iter().filter(|k| !left.contains(k)).collect();
    ensure!(!gone.is_empty() && gone.iter().all(|k| !odd.iter().any(|(f, _)| k.starts_with(f))), "{gone:?}");
    ensure!(gone.iter().all(|k| k.starts_with("app/")), "{gone:?}");
    ensure!(!left.contains(&good), "the good one stays");
    Ok(())
}

/// Makes everything in a folder look as old.
fn let_age(dir: &Path, age: Duration) -> Result {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            let_age(&path, age)?;
        } else {
            fs::File::options().write(true).open(&path)?.set_modified(SystemTime::now() - age.unsigned_abs())?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn leftovers_go_when_no_run_can_be_writing_them() -> Result {
    let dir = scratch()?;
    let store = &store::open(&Destination::folder(dir.path())).await?;
    let whole = daily(store, 2).await?;
    let mut half = Vec::new();
    for like in [days(2), days(3), days(4), days(0), Like { database: "other", ..days(9) }] {
        let folder = plant(store, like).await?;
        store.delete(&format!("{folder}manifest.json")).await?;
        let_age(&dir.path().join(&folder), Duration::hours(25))?;
        half.push(folder);
    }
    // A run that takes days: its last object is an hour old, or it still sends one.
    let file = dir.path().join(&half[1]).join("archive/toc.dat");
    fs::File::options()
        .write(true)
        .open(&file)?
        .set_modified(SystemTime::now() - Duration::hours(23).unsigned_abs())?;
    let sending = store.create_upload(&format!("{}archive/t1.dat", half[2])).await?;
    sending.put_part(1, 0, Bytes::from_static(b"x")).await?;
    // An upload that a killed run left in a backup that another attempt finished, and other people's.
    for key in [format!("{}archive/.t2.dat.partial-abc", whole[1]), "app/.notes.partial-abc".to_owned()] {
        fs::write(dir.path().join(&key), "x")?;
        fs::File::options()
            .write(true)
            .open(dir.path().join(&key))?
            .set_modified(SystemTime::now() - Duration::hours(25).unsigned_abs())?;
    }

    let prune = |args: &[&str]| {
        let all = [&["prune", "--database", "app"], args].concat();
        Savepoint::new(all).map(|run| run.to_folder(dir.path()))
    };
    let before = folders(store).await?;
    let dry = prune(&["--dry-run"])?.run().await?.expect(0)?;
    ensure!(folders(store).await? == before && dry.stdout.contains(id(&half[0])), "{}", dry.output());
    let other_kind = prune(&["--kind", "snapshot"])?.run().await?.expect(0)?;
    ensure!(folders(store).await? == before, "{}", other_kind.output());
    let ended = prune(&[])?.run().await?.expect(0)?;
    let left = folders(store).await?;
    ensure!(!left.contains(&half[0]), "the old one stays\n{}", ended.output());
    for (n, why) in [(1, "young object"), (2, "young upload"), (3, "young id"), (4, "another database")] {
        ensure!(left.contains(&half[n]), "{why}: swept\n{}", ended.output());
    }
    ensure!(left.is_superset(&set(&whole)), "{left:?}");
    let uploads = store.uploads("").await?;
    let mut uploads: Vec<&str> = uploads.iter().map(|u| u.key.as_str()).collect();
    uploads.sort_unstable();
    ensure!(uploads == [format!("{}archive/t1.dat", half[2]).as_str(), "app/notes"], "{uploads:?}");
    ensure!(ended.stdout.contains("2 unfinished backup or uploads"), "{}", ended.output());
    sending.abort().await?;
    Ok(())
}

#[tokio::test]
async fn leftovers_and_uploads_in_s3() -> Result {
    let place = Place::new().await?;
    let store = &place.store;
    let whole = daily(store, 1).await?;
    let half = plant(store, days(3)).await?;
    store.delete(&format!("{half}manifest.json")).await?;
    let lone = plant(store, days(5)).await?;
    for object in store.list(&lone).await? {
        store.delete(&object.key).await?;
    }
    let lone = format!("{lone}archive/t1.dat");
    let keys_of_uploads =
        [lone.clone(), format!("{}archive/t1.dat", whole[0]), "app/notes.txt".to_owned(), "big".to_owned()];
    let mut uploads = Vec::new();
    for key in &keys_of_uploads {
        let upload = store.create_upload(key).await?;
        upload.put_part(1, 0, Bytes::from(vec![1; 6 << 20])).await?;
        uploads.push(upload);
    }
    // All of it was written a moment ago.
    let ended = place.prune(&[]).await?.expect(0)?;
    ensure!(
        folders(store).await?.contains(&half) && place.s3.uploads(&place.bucket).await?.len() == 4,
        "{}",
        ended.output()
    );
    let looked = survey(store, last(1), Duration::hours(23)).await?;
    ensure!(looked.leftovers.is_empty() && looked.uploads.is_empty(), "{looked:?}");
    // A day and an hour later; the upload in the whole backup, which is then a day old, goes too.
    let looked = survey(store, last(1), Duration::hours(25)).await?;
    let done = execute(store, &looked).await;
    ensure!(done.failures.is_empty() && done.swept == 3 && done.deleted.is_empty(), "{done:?}");
    ensure!(folders(store).await? == set(&whole), "{:?}", folders(store).await?);
    let mut left = place.s3.uploads(&place.bucket).await?;
    left.sort();
    ensure!(left == ["x/app/notes.txt", "x/big"], "{left:?}");
    Ok(())
}

/// A store that stops answering after so many requests for deletes, as one does whose client was killed; and counts requests.
#[derive(Debug)]
struct Killed {
    inner: Arc<dyn Store>,
    deletes: AtomicUsize,
    after: usize,
    reads: AtomicUsize,
}

impl Killed {
    fn after(after: usize, inner: &Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner: inner.clone(), deletes: AtomicUsize::new(0), after, reads: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Store for Killed {
    fn uri(&self, key: &str) -> String {
        self.inner.uri(key)
    }
    async fn put(&self, key: &str, body: Bytes) -> savepoint::Result<()> {
        self.inner.put(key, body).await
    }
    async fn put_new(&self, key: &str, body: Bytes) -> savepoint::Result<()> {
        self.inner.put_new(key, body).await
    }
    async fn create_upload(&self, key: &str) -> savepoint::Result<Arc<dyn Upload>> {
        self.inner.create_upload(key).await
    }
    async fn open(&self, key: &str, range: Option<Range<u64>>) -> savepoint::Result<Reader> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.open(key, range).await
    }
    async fn list(&self, prefix: &str) -> savepoint::Result<Vec<ObjectInfo>> {
        self.inner.list(prefix).await
    }
    async fn folders(&self, prefix: &str) -> savepoint::Result<Vec<String>> {
        self.inner.folders(prefix).await
    }
    async fn delete(&self, key: &str) -> savepoint::Result<()> {
        if self.deletes.fetch_add(1, Ordering::Relaxed) >= self.after {
            std::future::pending::<()>().await;
        }
        self.inner.delete(key).await
    }
    async fn uploads(&self, prefix: &str) -> savepoint::Result<Vec<Unfinished>> {
        self.inner.uploads(prefix).await
    }
    async fn abort_upload(&self, upload: &Unfinished) -> savepoint::Result<()> {
        self.inner.abort_upload(upload).await
    }
}

#[tokio::test]
async fn a_half_pruned_backup_is_no_backup() -> Result {
    let dir = scratch()?;
    let real = store::open(&Destination::folder(dir.path())).await?;
    let files = template().await?.len();
    for after in [1, 2, 3, 5, 9] {
        daily(&real, 4).await?;
        let killed: Arc<dyn Store> = Killed::after(after, &real);
        let looked = survey(&killed, last(1), Duration::ZERO).await?;
        let work = execute(&killed, &looked);
        let broken_off = tokio::time::timeout(Duration::milliseconds(300).unsigned_abs(), work).await.is_err();
        ensure!(broken_off, "it came to its end");
        let left = keys(&real).await?;
        for folder in folders(&real).await? {
            let here = left.iter().filter(|k| k.starts_with(&folder)).count();
            let committed = left.contains(&format!("{folder}manifest.json"));
            ensure!(!committed || here == files, "after {after}: {folder} has a manifest and {here} of {files} files");
        }
        // The next run takes the rest, once it is old enough.
        let looked = survey(&real, last(1), Duration::hours(25)).await?;
        let done = execute(&real, &looked).await;
        ensure!(done.failures.is_empty(), "{done:?}");
        ensure!(folders(&real).await?.len() == 1, "{:?}", folders(&real).await?);
        for key in keys(&real).await? {
            real.delete(&key).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn few_proofs_are_read() -> Result {
    let dir = scratch()?;
    let real = store::open(&Destination::folder(dir.path())).await?;
    plant(&real, Like { proven: Some(false), ..LIKE }).await?;
    for age in 1..20 {
        plant(&real, days(age)).await?;
    }
    let counting = Killed::after(0, &real);
    let store: Arc<dyn Store> = counting.clone();
    survey(&store, last(3), Duration::ZERO).await?;
    // Every manifest once, and the proofs of the newest two; of the one that passed both once more, as they must belong together.
    ensure!(counting.reads.load(Ordering::Relaxed) == 24, "{counting:?}");
    Ok(())
}

#[tokio::test]
async fn what_may_not_be_deleted_fails_and_stays_whole() -> Result {
    let place = Place::new().await?;
    daily(&place.store, 4).await?;
    let before = place.s3.list(&place.bucket).await?;
    let run = place.savepoint(&["prune", "--keep-last", "2", "--min-keep", "1", "--json"])?;
    let ended = run.env("AWS_ACCESS_KEY_ID", READER_KEY).run().await?.expect(1)?;
    ensure!(ended.stderr.contains("AccessDenied") && ended.stderr.contains("s3:DeleteObject"), "{}", ended.output());
    let told = ended.json()?;
    ensure!(
        told["deleted"] == 0 && told["kept"] == 4 && told["not_deleted"].as_array().is_some_and(|a| a.len() == 2),
        "{told:#}"
    );
    ensure!(place.s3.list(&place.bucket).await? == before, "something was touched");
    Ok(())
}

/// On a bucket with object lock a delete would leave the locked version and put a marker on top: the backup would be gone from every list
/// and nothing be freed. The lock was set by somebody else, so no manifest tells of it.
#[tokio::test]
async fn a_versioned_bucket_keeps_what_is_locked() -> Result {
    use aws_sdk_s3::types::{ObjectLockRetention, ObjectLockRetentionMode};
    let s3 = s3::s3().await?;
    let bucket = format!("lock-{}", uuid::Uuid::new_v4());
    s3.client().create_bucket().bucket(&bucket).object_lock_enabled_for_bucket(true).send().await?;
    let place = Place { s3, store: connect(s3, &bucket, ACCESS_KEY)?, bucket };
    let planted = daily(&place.store, 4).await?;
    let until = aws_sdk_s3::primitives::DateTime::from(SystemTime::now() + Duration::days(1).unsigned_abs());
    let lock =
        ObjectLockRetention::builder().mode(ObjectLockRetentionMode::Compliance).retain_until_date(until).build();
    let objects = place.store.list("").await?;
    for object in &objects {
        let (client, key) = (s3.client(), format!("x/{}", object.key));
        client.put_object_retention().bucket(&place.bucket).key(key).retention(lock.clone()).send().await?;
    }
    let rest = place.store.list(&planted[3]).await?;
    let free = plant(&place.store, days(9)).await?;
    let told = place.prune(&["--keep-last", "2", "--min-keep", "1"]).await?.expect(0)?;
    ensure!(told.stdout.matches("locked until ").count() == 2, "{}", told.output());
    ensure!(folders(&place.store).await? == set(&planted), "the locked ones stay, {free} goes");
    let versions = s3.client().list_object_versions().bucket(&place.bucket).send().await?;
    ensure!(versions.versions().len() == objects.len() + rest.len(), "versions are gone: {versions:?}");
    ensure!(versions.delete_markers().len() == rest.len(), "{versions:?}");
    Ok(())
}

/// A stand-in for a store that refuses to delete what is locked (R2, Google Cloud and gateways without versions do): answers so to
/// deletes of keys that hold `locked`, and knows no delete of many; all else goes to the real server.
async fn refusing(s3: &S3, locked: String) -> Result<(String, tokio_util::task::AbortOnDropHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (endpoint, port) = (format!("http://{}", listener.local_addr()?), s3.port);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, port, locked.clone()));
        }
    });
    Ok((endpoint, tokio_util::task::AbortOnDropHandle::new(task)))
}

async fn serve(mut client: TcpStream, port: u16, locked: String) -> Result {
    let mut request = Vec::new();
    let end = loop {
        if let Some(at) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        ensure!(client.read_buf(&mut request).await? > 0, "closed");
    };
    let head = String::from_utf8_lossy(&request[..end]).into_owned();
    let line = head.lines().next().unwrap_or_default();
    let answer = match line.split_once(' ') {
        Some(("POST", path)) if path.contains("?delete") => {
            Some(("501 Not Implemented", "NotImplemented", "no such request"))
        }
        Some(("DELETE", path)) if path.contains(&locked) => {
            Some(("403 Forbidden", "AccessDenied", "Access Denied because object protected by object lock."))
        }
        _ => None,
    };
    if let Some((status, code, message)) = answer {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        client.write_all(format!("{head}{body}").as_bytes()).await?;
        return Ok(client.shutdown().await?);
    }
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    server.write_all(head.as_bytes()).await?;
    server.write_all(b"\r\nConnection: close").await?;
    server.write_all(&request[end..]).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_locked_is_kept_and_no_error() -> Result {
    let all = template().await?;
    let (files, archive) = (all.len(), all.iter().filter(|(path, _)| path.starts_with("archive/")).count());
    // A manifest that is held keeps its backup whole; of two that go, the other goes.
    for (what, deleted, left_of_it) in [("", 1, files), ("/archive", 2, archive)] {
        let place = Place::new().await?;
        let planted = daily(&place.store, 6).await?;
        let (endpoint, _task) = refusing(place.s3, format!("{}{what}", id(&planted[5]))).await?;
        let args = ["prune", "--keep-last", "4", "--min-keep", "1", "--json"];
        let ended = Savepoint::new(args)?.to_s3(&endpoint, &place.bucket, "x").run().await?.expect(0)?;
        let told = ended.json()?;
        let lines = told["held"].as_array().context("none held")?;
        ensure!(!lines.is_empty() && lines.iter().all(|l| l.to_string().contains("object lock")), "{told:#}");
        ensure!(told["not_deleted"] == json!([]) && told["deleted"] == deleted, "{told:#}");
        let left = keys(&place.store).await?;
        let of_it = left.iter().filter(|k| k.starts_with(&planted[5])).count();
        ensure!(of_it == left_of_it, "{of_it} of {files} files are left of it: {left:#?}");
        ensure!(!left.iter().any(|k| k.starts_with(&planted[4])), "the other one is there: {left:#?}");
    }
    Ok(())
}

/// Several prunes at once: each deletes what the others delete too.
#[tokio::test]
async fn many_prunes_at_once() -> Result {
    let place = Place::new().await?;
    for _ in 0..3 {
        let planted = daily(&place.store, 12).await?;
        let args = ["--keep-last", "3", "--confirm-large"];
        let (a, b, c) = tokio::join!(place.prune(&args), place.prune(&args), place.prune(&args));
        for ended in [a?, b?, c?] {
            ended.expect(0)?;
        }
        ensure!(folders(&place.store).await? == set(&planted[..3]), "{:?}", folders(&place.store).await?);
        for key in keys(&place.store).await? {
            place.store.delete(&key).await?;
        }
    }
    Ok(())
}

/// Two backups and two prunes at once, again and again: every backup that was reported is there, whole and proven.
#[tokio::test]
async fn backups_and_prunes_at_once() -> Result {
    let server = pg::server(MAJOR).await?;
    server.create_db("it_prune_loop", "").await?;
    server.psql("it_prune_loop", "CREATE TABLE one AS SELECT generate_series(1, 99) AS id").await?;
    let place = Place::new().await?;
    let backup = |prune: &str| -> Result<Savepoint> {
        let args = ["--kind", "scheduled", "--json", "--keep-last", "1", "--min-keep", "3", "--confirm-large", prune];
        Ok(Savepoint::backup(&server.url("it_prune_loop"), &server.bin)?
            .to_s3(&place.s3.endpoint, &place.bucket, "x")
            .args(args))
    };
    let mut taken: Vec<String> = Vec::new();
    for round in 0..5 {
        let prune = ["--keep-last", "1", "--min-keep", "3", "--confirm-large", "--kind", "scheduled"];
        let (one, two) = (backup("--prune=false")?.spawn()?, backup("--prune=true")?.spawn()?);
        let first = place.prune(&prune).await?.expect(0)?;
        let second = place.prune(&prune);
        let (one, two, second) = tokio::join!(one.wait(), two.wait(), second);
        second?.expect(0)?;
        let mut new = Vec::new();
        for ended in [one?.expect(0)?, two?.expect(0)?] {
            new.push(ended.json()?["backup"]["id"].as_str().context("no id")?.to_owned());
        }
        new.sort();
        taken.extend(new);
        let objects = place.store.list("").await?;
        // The rails leave at least the last three of those that were finished.
        for id in taken.iter().rev().take(3.min(taken.len())) {
            let of = |name: &str| objects.iter().any(|o| o.key.contains(&format!("/{id}/{name}")));
            ensure!(of("manifest.json") && of("proofs/"), "round {round}: {id} is gone\n{}", first.output());
            let folder =
                objects.iter().find_map(|o| o.key.split_once(&format!("{id}/")).map(|(f, _)| format!("{f}{id}/")));
            let folder = folder.context("no folder")?;
            let manifest = place.store.open(&format!("{folder}manifest.json"), None).await?.bytes().await?;
            let manifest: Value = serde_json::from_slice(&manifest)?;
            for file in manifest["files"].as_array().into_iter().flatten() {
                let key = format!("{folder}{}", file["path"].as_str().unwrap_or_default());
                ensure!(objects.iter().any(|o| o.key == key && Some(o.size) == file["size"].as_u64()), "{key} is gone");
            }
        }
        // No folder is left half: each has its manifest.
        for folder in folders(&place.store).await? {
            ensure!(objects.iter().any(|o| o.key == format!("{folder}manifest.json")), "{folder} is half");
        }
    }
    Ok(())
}

#[tokio::test]
async fn behind_a_backup() -> Result {
    let server = pg::server(MAJOR).await?;
    server.create_db("it_prune_behind", "").await?;
    server.psql("it_prune_behind", "CREATE TABLE one AS SELECT generate_series(1, 99) AS id").await?;
    let place = Place::new().await?;
    let database = "it_prune_behind";
    let mut others = Vec::new();
    for like in [Like { database: "app", ..days(400) }, Like { database, kind: BackupKind::Snapshot, ..days(400) }] {
        for more in 0..4 {
            others.push(plant(&place.store, Like { age: like.age + Duration::days(more), ..like }).await?);
        }
    }
    let mut old = Vec::new();
    for age in 1..=4 {
        old.push(plant(&place.store, Like { database, ..days(age) }).await?);
    }
    let at = |endpoint: &str, args: &[&str]| -> Result<Savepoint> {
        let run = Savepoint::backup(&server.url(database), &server.bin)?.to_s3(endpoint, &place.bucket, "x");
        Ok(run.args(["--kind", "scheduled", "--prune", "--min-keep", "1"]).args(args.iter().copied()))
    };
    let before = folders(&place.store).await?;
    let all_there = async |ended: &Ended| -> Result {
        ensure!(folders(&place.store).await?.is_superset(&before), "something was deleted\n{}", ended.output());
        Ok(())
    };

    // Not proven: not asked for, and failed.
    let ended = at(&place.s3.endpoint, &["--keep-last", "3", "--verify", "none"])?.run().await?.expect(0)?;
    ensure!(ended.stdout.contains("nothing was pruned"), "{}", ended.output());
    all_there(&ended).await?;
    let bad = TamperingS3::start(place.s3, &place.bucket, Tamper::Flip(None), |key| {
        key.contains("/archive/t") && key.contains(".dat") && !key.ends_with("toc.dat")
    })
    .await?;
    let ended = at(&bad.endpoint, &["--keep-last", "3"])?.run().await?.expect(3)?;
    ensure!(ended.stdout.contains("nothing was pruned"), "{}", ended.output());
    all_there(&ended).await?;

    // Proven, but the plan is refused: nothing deleted, and the exit code says that only this failed.
    let ended = at(&place.s3.endpoint, &["--keep-last", "1", "--json"])?.run().await?.expect(4)?;
    let told = ended.json()?;
    ensure!(told["outcome"] == "proven" && told["pruned"]["deleted"] == 0, "{told:#}");
    ensure!(ended.stderr.contains("pruning failed") && ended.stderr.contains("--confirm-large"), "{}", ended.output());
    all_there(&ended).await?;

    // Proven and pruned: this database and kind only.
    let ended = at(&place.s3.endpoint, &["--keep-last", "1", "--confirm-large"])?.run().await?.expect(0)?;
    ensure!(ended.stdout.lines().any(|l| l.contains("pruned") && l.contains("deleted")), "{}", ended.output());
    let left = folders(&place.store).await?;
    ensure!(left.is_superset(&set(&others)), "{left:?}");
    ensure!(old.iter().all(|f| !left.contains(f)), "{left:?}");
    Ok(())
}

/// 5,000 real manifests: how long, and by how many requests. Run by hand.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn five_thousand() -> Result {
    let place = Place::new().await?;
    let mut planting = tokio::task::JoinSet::new();
    template().await?;
    for n in 0..5000 {
        if planting.len() >= 32 {
            planting.join_next().await.context("none")???;
        }
        let store = place.store.clone();
        planting.spawn(async move { plant(&store, Like { age: Duration::hours(n), ..LIKE }).await });
    }
    while let Some(planted) = planting.join_next().await {
        planted??;
    }
    let counting = Killed::after(usize::MAX, &place.store);
    let store: Arc<dyn Store> = counting.clone();
    let begun = Instant::now();
    let looked = survey(&store, last(100), Duration::ZERO).await?;
    eprintln!("survey: {:?}, {} reads", begun.elapsed(), counting.reads.load(Ordering::Relaxed));
    ensure!(looked.plan.removed().count() == 4900);
    let begun = Instant::now();
    let args = ["--keep-last", "100", "--confirm-large", "--json"];
    let ended = place.prune(&args).await?.expect(0)?;
    eprintln!("savepoint prune: {:?}, {}", begun.elapsed(), ended.json()?["deleted"]);
    ensure!(folders(&place.store).await?.len() == 100);
    Ok(())
}
