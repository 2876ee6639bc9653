//! A backup in several places: each holds the same bytes and says how it was proven; one that fails is told and takes nothing with it.
//! `savepoint copy` brings a backup to another place later.

use crate::support::{
    Result, copy as copy_folder,
    faulty::{Fault, FaultyS3, Op, When},
    find,
    pg::{self, Server},
    proxy::{Tamper, TamperingS3},
    run::{Ended, Savepoint},
    s3::{self, S3},
    scratch,
};
use anyhow::{Context, ensure};
use savepoint::{
    secret::Secret,
    store::{
        Destination, Store,
        s3::{S3Options, S3Store},
    },
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A table of several parts, small ones, and what pg_dump writes itself.
const TABLES: &str = "CREATE TABLE big (id serial PRIMARY KEY, note text NOT NULL);
    INSERT INTO big (note) SELECT md5(g::text) || md5((g * 7)::text) || md5((g * 11)::text) || md5((g * 13)::text)
    FROM generate_series(1, 150000) g;
    CREATE TABLE small AS SELECT g AS id FROM generate_series(1, 10) g;
    SELECT lo_from_bytea(0, decode(repeat(md5(g::text), 400), 'hex')) FROM generate_series(1, 3) g;";

/// A database and a bucket.
struct Ground {
    server: &'static Server,
    db: String,
    s3: &'static S3,
    bucket: String,
    here: tempfile::TempDir,
}

impl Ground {
    async fn new() -> Result<Ground> {
        let (server, s3) = (pg::server(17).await?, s3::s3().await?);
        let db = format!("copies_{}", uuid::Uuid::new_v4().simple());
        server.create_db(&db, "").await?;
        server.psql(&db, TABLES).await?;
        Ok(Ground { server, db, s3, bucket: s3.bucket().await?, here: scratch()? })
    }

    fn verb(&self, verb: &str) -> Result<Savepoint> {
        let mut run = Savepoint::new([verb])?;
        if ["backup", "restore", "verify"].contains(&verb) {
            run = run.args(["--pg-bin-dir", &self.server.bin.display().to_string()]);
        }
        Ok(run.env("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", s3::SECRET_KEY))
    }

    fn backup(&self, places: &[&str]) -> Result<Savepoint> {
        let run = self.verb("backup")?.env("SAVEPOINT_DATABASE_URL", &self.server.url(&self.db));
        Ok(places.iter().fold(run, |run, place| run.args(["--destination", place])))
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    /// The address of a prefix of the bucket, by way of an endpoint.
    fn address(&self, prefix: &str, endpoint: &str) -> String {
        format!("s3://{}/{prefix}?endpoint={endpoint}", self.bucket)
    }

    /// What lies below a prefix, downloaded.
    async fn downloaded(&self, prefix: &str) -> Result<tempfile::TempDir> {
        let there = scratch()?;
        self.s3.download(&self.bucket, &format!("{prefix}/"), there.path()).await?;
        Ok(there)
    }
}

/// The files of a folder by their paths.
fn files(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut waiting: Vec<PathBuf> = dir.exists().then(|| dir.to_owned()).into_iter().collect();
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.insert(path.strip_prefix(dir)?.display().to_string(), fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

/// The same without the records of proofs.
fn stored(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    Ok(files(dir)?.into_iter().filter(|(path, _)| !path.contains("/proofs/")).collect())
}

fn proofs(dir: &Path) -> Result<Vec<Value>> {
    let proofs = files(dir)?.into_iter().filter(|(path, _)| path.contains("/proofs/"));
    proofs.map(|(_, bytes)| Ok(serde_json::from_slice(&bytes)?)).collect()
}

fn says(ended: &Ended, words: &[&str]) -> Result {
    for word in words {
        ensure!(ended.output().contains(word), "{word:?} is not said\n{}", ended.output());
    }
    Ok(())
}

#[tokio::test]
async fn two_places_hold_the_same_and_each_is_proven() -> Result {
    let ground = Ground::new().await?;
    let (bucket, folder) = (ground.address("one", &ground.s3.endpoint), ground.folder("two"));
    let both = [bucket.as_str(), &folder.display().to_string()];
    let ended = ground.backup(&both)?.args(["--json"]).run().await?.expect(0)?;
    ended.left_nothing()?;
    let json = ended.json()?;
    ensure!(json["copies"][0]["state"] == "proven" && json["copies"][1]["state"] == "equal", "{}", json["copies"]);
    let first = ground.downloaded("one").await?;
    let (here, there) = (stored(first.path())?, stored(&folder)?);
    ensure!(here == there && here.len() > 6, "{:?} {:?}", here.keys(), there.keys());
    let (one, other) = (proofs(first.path())?, proofs(&folder)?);
    ensure!(one.len() == 1 && one[0]["level"] == "content" && one[0]["passed"] == true, "{one:?}");
    ensure!(one[0].get("equal_to").is_none(), "{one:?}");
    ensure!(other.len() == 1 && other[0]["passed"] == true, "{other:?}");
    ensure!(other[0]["equal_to"].as_str().is_some_and(|to| to.starts_with("s3://")), "{other:?}");

    let at = |verb: &str| {
        Ok::<_, anyhow::Error>(both.iter().fold(ground.verb(verb)?, |run, p| run.args(["--destination", p])))
    };
    says(&at("list")?.run().await?.expect(0)?, &["2 of 2"])?;
    says(&at("show")?.run().await?.expect(0)?, &["proven", "read back and equal to the copy that was restored"])?;

    // Restored by each restore: the record of the second says so itself.
    let ended = ground.backup(&both)?.args(["--verify-all"]).run().await?.expect(0)?;
    says(&ended, &["in 2 places"])?;
    let records = proofs(&folder)?;
    ensure!(
        records.iter().filter(|p| p.get("equal_to").is_none() && p["level"] == "content").count() == 1,
        "{records:?}"
    );

    // Where the first has lost one, the second has it still.
    let newest =
        ended.output().lines().find_map(|l| l.split("manual-").nth(1).map(|r| r[..7].to_owned())).context("an id")?;
    for object in ground.s3.list(&ground.bucket).await?.iter().filter(|o| o.key.contains(&newest)) {
        ground.s3.delete(&ground.bucket, &object.key).await?;
    }
    says(&at("list")?.run().await?.expect(0)?, &["1 of 2", "lacks", "savepoint copy"])?;
    let restored = format!("{}_back", ground.db);
    ground.server.create_db(&restored, "").await?;
    let target = ground.server.url(&restored);
    let ended = at("restore")?.args(["latest"]).env("SAVEPOINT_TO", &target).run().await?.expect(0)?;
    says(&ended, &[&newest])?;
    let rows = ground.server.psql(&restored, "SELECT count(*) FROM big").await?;
    ensure!(rows.trim() == "150000", "{rows}");

    // Pruned by the same rule in both, each by what lies there.
    let ended = at("prune")?.args(["--keep-last", "1", "--min-keep", "1", "--confirm-large"]).run().await?.expect(0)?;
    says(&ended, &["two"])?;
    let left =
        |dir: &Path| Ok::<_, anyhow::Error>(stored(dir)?.keys().filter(|k| k.ends_with("manifest.json")).count());
    ensure!((left(ground.downloaded("one").await?.path())?, left(&folder)?) == (1, 1), "{}", ended.output());
    Ok(())
}

/// A second place that fails in one way or another is exit code 4, nothing is left there, and the first is whole; with `require` it fails
/// the run, and nothing is left anywhere.
#[tokio::test]
async fn a_place_that_fails_takes_nothing_with_it() -> Result {
    let ground = Ground::new().await?;
    let no = Fault::Answer(403, "AccessDenied", "no");
    for (n, (op, key, behind)) in [
        (Op::Put, "savepoint-probe", 0),
        (Op::Part, ".dat", 0),
        (Op::Create, ".dat", 0),
        (Op::Complete, ".dat", 0),
        (Op::Put, "toc.dat", 0),
        (Op::Put, "manifest.json", 0),
    ]
    .into_iter()
    .enumerate()
    {
        let when = When { op, key, behind, times: u32::MAX };
        let faulty = FaultyS3::start(ground.s3, &ground.bucket, when, no).await?;
        let (prefix, folder) = (format!("bad-{n}"), ground.folder(&format!("good-{n}")));
        let (bad, good) = (ground.address(&prefix, &faulty.endpoint), folder.display().to_string());
        // The one that fails is the first of the two, every other time.
        let places = if n % 2 == 0 { [bad.as_str(), &good] } else { [good.as_str(), &bad] };
        let ended = ground.backup(&places)?.run().await?.expect(4).with_context(|| format!("case {n}"))?;
        ensure!(faulty.met() > 0, "case {n} met nothing");
        says(&ended, &["but only in 1 of 2 places", "FAILED", "AccessDenied"])?;
        let records = proofs(&folder)?;
        ensure!(records.iter().any(|p| p["passed"] == true && p["level"] == "content"), "case {n}: {records:?}");
        let left =
            |objects: Vec<s3::Object>| objects.into_iter().filter(|o| o.key.starts_with(&prefix)).collect::<Vec<_>>();
        let lying = left(ground.s3.list(&ground.bucket).await?);
        ensure!(lying.is_empty(), "case {n}: {lying:?}\n{}", ended.output());
        ensure!(ground.s3.uploads(&ground.bucket).await?.is_empty(), "case {n}: uploads are left");

        let none = ground.folder(&format!("none-{n}"));
        let (bad, good) = (ground.address(&prefix, &faulty.endpoint), none.display().to_string());
        let ended = ground.backup(&[&good, &bad])?.args(["--require", "all"]).run().await?.expect(1)?;
        says(&ended, &["2 of 2 destinations must take it by require"])?;
        let lying = left(ground.s3.list(&ground.bucket).await?);
        ensure!(lying.is_empty() && files(&none)?.is_empty(), "case {n}: {lying:?}\n{}", ended.output());
    }
    Ok(())
}

/// A second copy whose bytes are others is seen by reading it back, and by nothing else.
#[tokio::test]
async fn a_damaged_copy_is_found() -> Result {
    let ground = Ground::new().await?;
    for (n, tamper) in [Tamper::Flip(None), Tamper::CutAtFrame, Tamper::Delete].into_iter().enumerate() {
        let bad = TamperingS3::start(ground.s3, &ground.bucket, tamper, |key| key.contains(".dat.zst")).await?;
        let (folder, prefix) = (ground.folder(&format!("whole-{n}")).display().to_string(), format!("damaged-{n}"));
        let bucket = ground.address(&prefix, &bad.endpoint);
        for (options, code) in [(vec![], 4), (vec!["--require", "all"], 3), (vec!["--verify-all"], 4)] {
            let ended = ground.backup(&[&folder, &bucket])?.args(options.clone()).run().await?.expect(code)?;
            says(&ended, &["FAILED", "savepoint copy"]).with_context(|| format!("{n} {options:?}"))?;
        }
        ensure!(!bad.served().is_empty());
        let records = proofs(ground.downloaded(&prefix).await?.path())?;
        ensure!(records.iter().all(|p| p["passed"] == false), "{records:?}");
    }
    Ok(())
}

/// Of two copies the second restores where the first is damaged, and where a proof has said so; never an older backup.
#[tokio::test]
async fn another_copy_is_restored_in_place_of_a_damaged_one() -> Result {
    let ground = Ground::new().await?;
    let [one, two] = ["one", "two"].map(|name| ground.folder(name));
    let both = format!("{},{}", one.display(), two.display());
    ground.backup(&[&both])?.run().await?.expect(0)?;
    ground.backup(&[&both])?.run().await?.expect(0)?;
    let newest = |folder: &Path| -> Result<PathBuf> {
        let all = files(folder)?.into_keys().filter(|path| path.ends_with(".dat.zst"));
        Ok(folder.join(all.max_by_key(|path| path.split('/').nth(4).map(str::to_owned)).context("a file")?))
    };
    let flip = |path: &Path| -> Result {
        let mut bytes = fs::read(path)?;
        bytes[20] ^= 1;
        Ok(fs::write(path, bytes)?)
    };
    flip(&newest(&one)?)?;
    let restore = |n: usize| {
        let run = ground.verb("restore")?.env("SAVEPOINT_TO", &ground.server.url("postgres"));
        Ok::<_, anyhow::Error>(run.args(["latest", "--destination", &both, "--create", &format!("{}_{n}", ground.db)]))
    };
    let ended = restore(0)?.run().await?.expect(0)?;
    says(&ended, &["is damaged", &format!("the copy in {} is taken in its place", two.display())])?;
    let rows = ground.server.psql(&format!("{}_0", ground.db), "SELECT count(*) FROM big").await?;
    ensure!(rows.trim() == "150000", "{rows}");
    ground.verb("verify")?.args(["--destination", &one.display().to_string()]).run().await?.expect(3)?;
    says(&restore(1)?.run().await?.expect(0)?, &["proof", "is taken in its place"])?;
    flip(&newest(&two)?)?;
    let ended = restore(2)?.run().await?;
    ensure!(ended.code != Some(0), "an older backup, or a damaged one: {}", ended.output());
    Ok(())
}

#[tokio::test]
async fn a_stored_backup_is_copied() -> Result {
    let ground = Ground::new().await?;
    let from = ground.address("from", &ground.s3.endpoint);
    for _ in 0..2 {
        ground.backup(&[&from])?.run().await?.expect(0)?;
    }
    let copy = |to: &str, more: &[&str]| {
        let run = ground.verb("copy")?.args(more.to_vec()).args(["--destination", &from, "--to", to]);
        Ok::<_, anyhow::Error>(run)
    };
    let folder = ground.folder("copied");
    let to = folder.display().to_string();
    says(&copy(&to, &["all", "--dry-run"])?.run().await?.expect(0)?, &["2 backups would be copied"])?;
    ensure!(!folder.exists() || files(&folder)?.is_empty());
    says(&copy(&to, &["all"])?.run().await?.expect(0)?, &["2 backups copied", "every byte read back"])?;
    let original = ground.downloaded("from").await?;
    ensure!(files(original.path())? == files(&folder)?);
    says(&copy(&to, &["all"])?.run().await?.expect(0)?, &["lay there, every byte read"])?;

    // In one store the server copies; the copy restores by the plain program.
    let ended = copy(&ground.address("inside", &ground.s3.endpoint), &["latest", "--json"])?.run().await?.expect(0)?;
    let json = ended.json()?;
    ensure!(json["copies"][0]["inside_the_store"] == json["copies"][0]["files"], "{json}");
    let inside = ground.downloaded("inside").await?;
    let restored = format!("{}_inside", ground.db);
    ground.server.create_db(&restored, "").await?;
    let archive = find(inside.path(), "toc.dat")?.parent().context("a folder")?.to_owned();
    ground.server.pg_restore(&restored, &archive).await?;
    ensure!(ground.server.psql(&restored, "SELECT count(*) FROM big").await?.trim() == "150000");

    // A source that is damaged is not copied, nothing of it stays, and what is there is never replaced.
    let damaged = scratch()?;
    copy_folder(original.path(), damaged.path())?;
    let victim = files(damaged.path())?.into_keys().find(|p| p.ends_with(".dat.zst")).context("a file")?;
    let path = damaged.path().join(&victim);
    let mut bytes = fs::read(&path)?;
    bytes[20] ^= 1;
    fs::write(&path, bytes)?;
    let other = ground.folder("of-damaged");
    let from_damaged = |to: &Path| {
        let (from, to) = (damaged.path().display().to_string(), to.display().to_string());
        Ok::<_, anyhow::Error>(ground.verb("copy")?.args(["all", "--destination", &from, "--to", &to]))
    };
    let ended = from_damaged(&other)?.run().await?;
    ensure!(ended.code == Some(1), "{}", ended.output());
    says(&ended, &["is not what was stored", "1 of 2 backups could not be copied"])?;
    ensure!(
        files(&other)?.keys().all(|p| !victim.starts_with(p.split("/archive").next().unwrap_or_default())),
        "{victim}"
    );
    // A copy that lies there and is damaged is said.
    let there = folder.join(&victim);
    let mut bytes = fs::read(&there)?;
    bytes[20] ^= 1;
    fs::write(&there, bytes)?;
    says(&copy(&to, &["all"])?.run().await?.expect(1)?, &["the copy is not what was copied", "read twice"])
}

/// A file of several parts, copied part by part by the server.
#[tokio::test]
async fn a_large_object_is_copied_in_parts_inside_the_store() -> Result {
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    let place = |prefix: &str| -> Result<Arc<S3Store>> {
        let endpoint = Some(s3.endpoint.clone());
        let options = S3Options { bucket: bucket.clone(), prefix: prefix.into(), endpoint, ..S3Options::default() };
        Ok(Arc::new(S3Store::with_credentials(&options, s3::ACCESS_KEY, Secret::new(s3::SECRET_KEY))?))
    };
    let (from, to) = (place("from here")?, place("to+there")?);
    let bytes: Vec<u8> = (0..12_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let key = "an ö/ob+ject";
    from.put(key, bytes.clone().into()).await?;
    let source = from.copy_source(key).context("a source")?;
    ensure!(to.copy_in_parts(&source, key, bytes.len() as u64, 5 << 20).await?);
    ensure!(to.open(key, None).await?.bytes().await? == bytes);
    ensure!(to.copy_from(&source, "at once", bytes.len() as u64).await?);
    ensure!(to.open("at once", None).await?.bytes().await? == bytes);
    ensure!(s3.uploads(&bucket).await?.is_empty());
    // What is not there is no copy, and leaves none.
    let missing = from.copy_source("missing").context("a source")?;
    ensure!(!to.copy_from(&missing, "missing", 7).await?);
    ensure!(!to.copy_in_parts(&missing, "missing", 11 << 20, 5 << 20).await?);
    ensure!(to.list("missing").await?.is_empty() && s3.uploads(&bucket).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn wrong_options_are_told() -> Result {
    let ground = Ground::new().await?;
    let folder = ground.folder("x").display().to_string();
    for (places, more, words) in [
        (vec![folder.as_str(), &folder], vec![], "is named twice"),
        (vec!["s3://b/p?colour=red", &folder], vec![], "has an option that is not known"),
        (vec!["s3://b/p?keys=NONE", &folder], vec![], "NONE_ACCESS_KEY_ID"),
        (vec![folder.as_str()], vec!["--require", "2"], "2 of 1 destinations cannot be"),
        (vec![folder.as_str()], vec!["--require", "most"], "\"most\" is not known"),
    ] {
        let ended = ground.backup(&places)?.args(more).run().await?.expect(2)?;
        says(&ended, &[words, "hint: "])?;
    }
    Ok(())
}

/// Keys of its own for one of two buckets.
#[tokio::test]
async fn each_bucket_may_have_keys_of_its_own() -> Result {
    let ground = Ground::new().await?;
    let own = format!("{}&keys=SECOND", ground.address("own", &ground.s3.endpoint));
    let folder = ground.folder("first").display().to_string();
    let backup =
        ground.backup(&[&folder, &own])?.env("AWS_ACCESS_KEY_ID", "wrong").env("AWS_SECRET_ACCESS_KEY", "wrong");
    let ended = backup
        .env("SECOND_ACCESS_KEY_ID", s3::ACCESS_KEY)
        .env("SECOND_SECRET_ACCESS_KEY", s3::SECRET_KEY)
        .run()
        .await?
        .expect(0)?;
    says(&ended, &["in 2 places"])?;
    ensure!(!ended.output().contains(s3::SECRET_KEY));
    Ok(())
}

/// The places pass the contract of a store as one.
#[tokio::test]
async fn several_places_are_a_store() -> Result {
    let dirs = [scratch()?, scratch()?];
    let places = dirs.iter().map(|dir| Destination::folder(dir.path())).collect();
    let store = savepoint::store::open(&Destination::several(places).context("places")?).await?;
    crate::store::contract(store, &[]).await;
    Ok(())
}
