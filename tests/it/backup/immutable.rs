//! Object lock: what is stored cannot be deleted, prune keeps it and says until when, and a bucket without it is told of in time.

use crate::support::{
    Result,
    faulty::{Fault, FaultyS3, Op, When},
    pg::{self, Server},
    run::Savepoint,
    s3::{self, ACCESS_KEY, S3, SECRET_KEY},
};
use anyhow::{Context, ensure};
use aws_sdk_s3::{
    error::ProvideErrorMetadata,
    primitives::DateTime,
    types::{
        DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockLegalHold, ObjectLockLegalHoldStatus,
        ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode, ObjectLockRule,
    },
};
use savepoint::{
    cancel::Cancel,
    progress::Silent,
    prune::{
        self, Scope,
        retention::{Policy, Retention},
    },
    secret::Secret,
    store::{
        Store,
        s3::{S3Options, S3Store},
    },
};
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::OnceCell;

const DB: &str = "it_immutable";
const GOVERNANCE: &[&str] = &["--s3-object-lock-mode", "governance", "--s3-object-lock-days", "1"];
const COMPLIANCE: &[&str] = &["--s3-object-lock-mode", "compliance", "--s3-object-lock-days", "2", "--s3-legal-hold"];

/// A server with one small database.
async fn source() -> Result<&'static Server> {
    static MADE: OnceCell<()> = OnceCell::const_new();
    let server = pg::server(17).await?;
    MADE.get_or_try_init(|| async {
        server.create_db(DB, "").await?;
        server.psql(DB, "CREATE TABLE one AS SELECT generate_series(1, 900) AS id").await.map(drop)
    })
    .await?;
    Ok(server)
}

/// A bucket, and the endpoint that it is reached by.
struct Place {
    s3: &'static S3,
    endpoint: String,
    bucket: String,
}

impl Place {
    async fn locking() -> Result<Place> {
        let s3 = s3::s3().await?;
        Ok(Place { s3, endpoint: s3.endpoint.clone(), bucket: s3.locking_bucket().await? })
    }

    /// A backup whose files are read back.
    async fn backup(&self, args: &[&str]) -> Result<Savepoint> {
        let server = source().await?;
        let run = Savepoint::backup(&server.url(DB), &server.bin)?.to_s3(&self.endpoint, &self.bucket, "x");
        Ok(run.args(["--verify", "archive"]).args(args.iter().copied()))
    }

    fn savepoint(&self, args: &[&str]) -> Result<Savepoint> {
        Ok(Savepoint::new(args.iter().copied())?.to_s3(&self.s3.endpoint, &self.bucket, "x"))
    }

    /// Keys of what a backup stored, below its folder.
    async fn files(&self) -> Result<Vec<String>> {
        let listed = self.s3.list(&self.bucket).await?.into_iter().map(|o| o.key);
        Ok(listed.filter(|key| key.starts_with(&format!("x/{DB}/"))).collect())
    }

    async fn manifest(&self) -> Result<String> {
        self.files().await?.into_iter().find(|key| key.ends_with("/manifest.json")).context("no manifest")
    }

    /// Versions and markers of files of backups.
    async fn versions(&self) -> Result<(Vec<(String, String)>, Vec<(String, String)>)> {
        let all =
            self.s3.client().list_object_versions().bucket(&self.bucket).prefix(format!("x/{DB}/")).send().await?;
        let pair = |key: Option<&str>, id: Option<&str>| Some((key?.to_owned(), id?.to_owned()));
        let versions = all.versions().iter().filter_map(|v| pair(v.key(), v.version_id())).collect();
        let markers = all.delete_markers().iter().filter_map(|m| pair(m.key(), m.version_id())).collect();
        Ok((versions, markers))
    }

    /// Sets another date, passing the lock by: in two seconds all of it is over.
    async fn let_end(&self, keys: &[String]) -> Result {
        let until = DateTime::from(SystemTime::now() + std::time::Duration::from_secs(2));
        let short =
            ObjectLockRetention::builder().mode(ObjectLockRetentionMode::Governance).retain_until_date(until).build();
        for key in keys {
            let put = self.s3.client().put_object_retention().bucket(&self.bucket).key(key);
            put.retention(short.clone()).bypass_governance_retention(true).send().await?;
        }
        Ok(())
    }

    async fn store(&self) -> Result<Arc<dyn Store>> {
        let endpoint = Some(self.s3.endpoint.clone());
        let options = S3Options { bucket: self.bucket.clone(), prefix: "x".into(), endpoint, ..S3Options::default() };
        Ok(Arc::new(S3Store::with_credentials(&options, ACCESS_KEY, Secret::new(SECRET_KEY))?))
    }
}

const PRUNE: [&str; 6] = ["prune", "--keep-last", "1", "--min-keep", "1", "--json"];

/// The row of the only backup that is not the newest.
fn older(told: &serde_json::Value) -> &serde_json::Value {
    &told["backups"][1]
}

#[tokio::test]
async fn under_governance_it_stays_until_its_date_and_is_pruned_then() -> Result {
    let place = Place::locking().await?;
    let before = OffsetDateTime::now_utc();
    let told = place.backup(GOVERNANCE).await?.args(["--json"]).run().await?.expect(0)?.json()?;
    let lock = &told["backup"]["lock"];
    let until = lock["until"].as_str().context("no date")?.to_owned();
    let days = (OffsetDateTime::parse(&until, &Rfc3339)? - before).as_seconds_f64() / 86_400.0;
    ensure!(lock["mode"] == "governance" && (days - 1.0).abs() < 0.01 && lock["legal_hold"] == false, "{lock}");

    // Every object has the same lock, also the proof record, and the server itself refuses to delete one of them.
    let first = place.files().await?;
    ensure!(first.iter().any(|key| key.contains("/proofs/")) && first.len() > 4, "{first:?}");
    for key in &first {
        let head = place.s3.client().head_object().bucket(&place.bucket).key(key).send().await?;
        let at = head.object_lock_retain_until_date().map(aws_sdk_s3::primitives::DateTime::secs);
        ensure!(at == Some(OffsetDateTime::parse(&until, &Rfc3339)?.unix_timestamp()), "{key}: {head:?}");
        ensure!(head.object_lock_mode() == Some(&ObjectLockMode::Governance), "{key}: {head:?}");
    }
    let (versions, markers) = place.versions().await?;
    ensure!(versions.len() == first.len() && markers.is_empty(), "{versions:?} {markers:?}");
    for (key, version) in &versions {
        let delete = place.s3.client().delete_object().bucket(&place.bucket).key(key).version_id(version);
        ensure!(delete.send().await.is_err(), "{key} could be deleted");
    }
    // The probe of the preflight was not locked: nothing of it is left but what hides it.
    let probes = place.s3.list(&place.bucket).await?;
    ensure!(!probes.iter().any(|o| o.key.contains("savepoint-probe")), "{probes:?}");
    let listed = place.savepoint(&["list"])?.run().await?.expect(0)?;
    let shown = place.savepoint(&["show", "latest"])?.run().await?.expect(0)?;
    for ended in [&listed, &shown] {
        ensure!(ended.stdout.contains(&format!("until {until} (governance)")), "{}", ended.output());
    }

    // Prune keeps it, says until when, and hides nothing. Once the date is over, it goes.
    place.backup(&[]).await?.run().await?.expect(0)?;
    for dry in [&["--dry-run"][..], &[]] {
        let kept = place.savepoint(&[&PRUNE[..], dry].concat())?.run().await?.expect(0)?.json()?;
        ensure!(
            older(&kept)["reasons"] == serde_json::json!([format!("locked until {until} (governance)")]),
            "{kept:#}"
        );
        ensure!(kept["deleted"] == 0 && place.versions().await?.1.is_empty(), "{kept:#}");
    }
    place.let_end(&first).await?;
    let end = Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let told = place.savepoint(&PRUNE)?.run().await?.expect(0)?.json()?;
        if told["deleted"] == 1 {
            break;
        }
        ensure!(Instant::now() < end && older(&told)["action"] == "keep", "{told:#}");
    }
    ensure!(!place.files().await?.iter().any(|key| first.contains(key)), "it is still there");
    Ok(())
}

#[tokio::test]
async fn under_compliance_and_a_legal_hold_what_a_thief_hid_is_had_back() -> Result {
    let place = Place::locking().await?;
    let told = place.backup(COMPLIANCE).await?.args(["--json"]).run().await?.expect(0)?.json()?;
    ensure!(told["backup"]["lock"]["legal_hold"] == true, "{told:#}");
    let files = place.files().await?;
    for key in &files {
        let head = place.s3.client().head_object().bucket(&place.bucket).key(key).send().await?;
        ensure!(head.object_lock_mode() == Some(&ObjectLockMode::Compliance), "{key}: {head:?}");
        ensure!(head.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On), "{key}: {head:?}");
        // Whoever may do everything may not shorten it.
        let until = DateTime::from(SystemTime::now() + std::time::Duration::from_secs(60));
        let short =
            ObjectLockRetention::builder().mode(ObjectLockRetentionMode::Compliance).retain_until_date(until).build();
        let put = place.s3.client().put_object_retention().bucket(&place.bucket).key(key).retention(short);
        ensure!(put.bypass_governance_retention(true).send().await.is_err(), "{key}'s date could be moved");
        place.s3.delete(&place.bucket, key).await?;
    }
    // A thief with a key that may delete puts markers on top, and cannot take what lies under them.
    ensure!(place.savepoint(&["show", "latest"])?.run().await?.code == Some(1));
    let (versions, markers) = place.versions().await?;
    ensure!(versions.len() == files.len() && markers.len() == files.len(), "{versions:?} {markers:?}");
    for (key, version) in &versions {
        let delete = place.s3.client().delete_object().bucket(&place.bucket).key(key).version_id(version);
        ensure!(delete.bypass_governance_retention(true).send().await.is_err(), "{key} could be deleted");
    }
    for (key, version) in &markers {
        place.s3.client().delete_object().bucket(&place.bucket).key(key).version_id(version).send().await?;
    }
    let server = source().await?;
    let drill = place.savepoint(&["verify", "latest", "--verify", "archive"])?;
    drill.args(["--pg-bin-dir", &server.bin.display().to_string()]).run().await?.expect(0)?;

    // A hold has no end: neither time nor a rule lets it go, until somebody lifts it.
    place.backup(&[]).await?.run().await?.expect(0)?;
    let kept = place.savepoint(&PRUNE)?.run().await?.expect(0)?.json()?;
    let why = older(&kept)["reasons"][0].as_str().unwrap_or_default().to_owned();
    ensure!(why.contains("(compliance), and by a legal hold") && kept["deleted"] == 0, "{kept:#}");
    let off = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::Off).build();
    let manifest = files.iter().find(|key| key.ends_with("/manifest.json")).context("no manifest")?;
    let lift = place.s3.client().put_object_legal_hold().bucket(&place.bucket).key(manifest).legal_hold(off);
    lift.send().await?;
    let kept = place.savepoint(&PRUNE)?.run().await?.expect(0)?.json()?;
    let why = older(&kept)["reasons"][0].as_str().unwrap_or_default().to_owned();
    ensure!(why.ends_with("(compliance)") && kept["deleted"] == 0, "{kept:#}");
    Ok(())
}

#[tokio::test]
async fn a_bucket_without_object_lock_is_refused_before_anything_is_stored() -> Result {
    let s3 = s3::s3().await?;
    let place = Place { s3, endpoint: s3.endpoint.clone(), bucket: s3.bucket().await? };
    for lock in [GOVERNANCE, COMPLIANCE, &["--s3-legal-hold"]] {
        let ended = place.backup(lock).await?.run().await?.expect(1)?;
        ensure!(ended.stderr.contains("has no object lock, so nothing can be locked there"), "{}", ended.output());
        ensure!(ended.stderr.contains("must be switched on when the bucket is made"), "{}", ended.output());
        ensure!(place.s3.list(&place.bucket).await?.is_empty(), "something is left");
    }
    Ok(())
}

/// The bucket's own rule locks what no option asks to lock: the manifest says nothing of it, the bucket does.
#[tokio::test]
async fn a_bucket_that_locks_by_itself_is_heeded_by_prune() -> Result {
    let place = Place::locking().await?;
    let rule = DefaultRetention::builder().mode(ObjectLockRetentionMode::Governance).days(1).build();
    let rule = ObjectLockRule::builder().default_retention(rule).build();
    let rule = ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled).rule(rule).build();
    let put = place.s3.client().put_object_lock_configuration().bucket(&place.bucket);
    put.object_lock_configuration(rule).send().await?;
    // Also where nothing but the oldest of checksums is known, which such a bucket wants with every object.
    for checksums in ["auto", "off"] {
        place.backup(&["--s3-checksums", checksums]).await?.run().await?.expect(0)?;
    }
    let kept = place.savepoint(&PRUNE)?.run().await?.expect(0)?.json()?;
    let why = older(&kept)["reasons"][0].as_str().unwrap_or_default().to_owned();
    ensure!(why.starts_with("locked until ") && why.ends_with(" (governance)"), "{kept:#}");
    ensure!(place.versions().await?.1.is_empty(), "something was hidden");
    let shown = place.savepoint(&["show", "oldest"])?.run().await?.expect(0)?;
    ensure!(shown.stdout.contains(&why["locked ".len()..]), "{}", shown.output());
    Ok(())
}

/// S3 locks nothing that it cannot check. Where no checksum of the newer kinds is sent, it is told the MD5.
#[tokio::test]
async fn without_checksums_the_md5_comes_with_what_is_locked() -> Result {
    let mut place = Place::locking().await?;
    let proxy = FaultyS3::watching(place.s3, &place.bucket).await?;
    place.endpoint = proxy.endpoint.clone();
    let stored = |proxy: &FaultyS3| -> Vec<_> {
        let of_backup = |head: &str| head.lines().next().is_some_and(|line| line.contains(&format!("/x/{DB}/")));
        proxy.seen().into_iter().filter(|s| s.op == Some(Op::Put) && of_backup(&s.head)).collect()
    };
    place.backup(&[GOVERNANCE, &["--s3-checksums", "off"]].concat()).await?.run().await?.expect(0)?;
    let off = stored(&proxy);
    ensure!(off.len() > 4 && off.iter().all(|s| s.has("content-md5") && s.has("x-amz-object-lock-mode")), "{off:?}");
    place.backup(GOVERNANCE).await?.run().await?.expect(0)?;
    let auto = &stored(&proxy)[off.len()..];
    ensure!(auto.len() > 4 && auto.iter().all(|s| s.has("x-amz-checksum-crc32")), "{auto:?}");
    Ok(())
}

/// A refusal to take the manifest: nothing is committed, and nothing that is locked is hidden. Prune names it while it is held, and sweeps
/// it when it is not.
#[tokio::test]
async fn what_a_failed_run_left_is_named_in_one_line_and_swept_later() -> Result {
    let mut place = Place::locking().await?;
    let refused = When { op: Op::Put, key: "/manifest.json", behind: 0, times: 100 };
    let denied = Fault::Answer(403, "AccessDenied", "no");
    let proxy = FaultyS3::start(place.s3, &place.bucket, refused, denied).await?;
    place.endpoint = proxy.endpoint.clone();
    let lock = ["--s3-object-lock-mode", "governance", "--s3-object-lock-days", "2"];
    let ended = place.backup(&lock).await?.run().await?.expect(1)?;
    let files = place.files().await?;
    ensure!(proxy.met() > 0 && files.len() > 2, "{files:?}");
    let lines = ended.stderr.lines().filter(|line| line.contains("of this run stay below")).count();
    ensure!(lines == 1 && ended.stderr.contains(&format!("{} objects of this run", files.len())), "{}", ended.output());
    ensure!(!ended.stderr.contains("could not be removed"), "{}", ended.output());
    ensure!(place.versions().await?.1.is_empty(), "something was hidden");

    let store = place.store().await?;
    let rule = Retention { policy: Some(Policy { last: 1, ..Policy::default() }), min_keep: 1, confirm_large: true };
    let survey = async |later: i64| {
        let all = Scope { database: None, kind: None, trusted: None };
        prune::survey(&store, all, &rule, OffsetDateTime::now_utc() + Duration::hours(later)).await
    };
    let held = survey(25).await?;
    ensure!(held.leftovers.is_empty() && held.held.len() == 1, "{held:?}");
    ensure!(held.held[0].contains("no backup, locked until ") && held.held[0].contains("governance"), "{held:?}");
    let free = survey(49).await?;
    ensure!(free.leftovers.len() == 1 && free.held.is_empty(), "{free:?}");
    let done = prune::execute(&store, &free, &Silent, &Cancel::new()).await;
    ensure!(done.swept == 1 && place.files().await?.is_empty(), "{done:?}");
    Ok(())
}

/// A version of the server's that refused all would make the tests above say nothing.
#[tokio::test]
async fn the_servers_own_refusal_is_the_locks() -> Result {
    let place = Place::locking().await?;
    place.backup(&[]).await?.run().await?.expect(0)?;
    let manifest = place.manifest().await?;
    let (versions, _) = place.versions().await?;
    let (key, version) = versions.iter().find(|(key, _)| *key == manifest).context("no version")?;
    let delete = place.s3.client().delete_object().bucket(&place.bucket).key(key).version_id(version).send().await;
    ensure!(delete.is_ok(), "{:?}", delete.err().and_then(|e| e.code().map(str::to_owned)));
    Ok(())
}
