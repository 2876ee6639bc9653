//! A key that may only put: a backup needs no more, says what it cannot know, and fails when the store says it took other bytes.

use crate::support::{
    Result,
    faulty::{Fault, FaultyS3, Op, When},
    pg::{self, Server},
    run::Savepoint,
    s3::{self, MY_BACKUPS, PUT_KEY, S3, SECRET_KEY},
};
use anyhow::{Context, ensure};
use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    error::ProvideErrorMetadata,
};
use tokio::sync::OnceCell;

const DB: &str = "it_put_only";

/// A server with a database that has a small table and one of several parts.
async fn source() -> Result<&'static Server> {
    static MADE: OnceCell<()> = OnceCell::const_new();
    let server = pg::server(17).await?;
    MADE.get_or_try_init(|| async {
        server.create_db(DB, "").await?;
        let large = "CREATE TABLE large AS SELECT id, repeat(md5(id::text), 40) AS text FROM generate_series(1, 14000) AS id; \
                     CREATE TABLE small AS SELECT generate_series(1, 900) AS id; SELECT lo_from_bytea(0, 'some bytes')";
        server.psql(DB, large).await.map(drop)
    })
    .await?;
    Ok(server)
}

/// A place below that of the policy.
struct Place {
    s3: &'static S3,
    endpoint: String,
    prefix: String,
}

impl Place {
    async fn new() -> Result<Place> {
        let s3 = s3::s3().await?;
        s3.my_backups().await?;
        let prefix = format!("{}/{}", MY_BACKUPS.1, uuid::Uuid::new_v4().simple());
        Ok(Place { s3, endpoint: s3.endpoint.clone(), prefix })
    }

    async fn behind(when: When, fault: Fault) -> Result<(Place, FaultyS3)> {
        let place = Place::new().await?;
        let proxy = FaultyS3::start(place.s3, MY_BACKUPS.0, when, fault).await?;
        Ok((Place { endpoint: proxy.endpoint.clone(), ..place }, proxy))
    }

    /// A backup with the key that may only put. Uncompressed, the large table has several parts.
    async fn backup(&self, args: &[&str]) -> Result<Savepoint> {
        let server = source().await?;
        let run = Savepoint::backup(&server.url(DB), &server.bin)?.to_s3(&self.endpoint, MY_BACKUPS.0, &self.prefix);
        let run = run.env("AWS_ACCESS_KEY_ID", PUT_KEY).args(["--verify", "sent", "--compression", "none"]);
        Ok(run.args(args.iter().copied()))
    }

    /// With the key that may do everything.
    fn savepoint(&self, args: &[&str]) -> Result<Savepoint> {
        Ok(Savepoint::new(args.iter().copied())?.to_s3(&self.s3.endpoint, MY_BACKUPS.0, &self.prefix))
    }

    async fn keys(&self) -> Result<Vec<String>> {
        let all = self.s3.client().list_objects_v2().bucket(MY_BACKUPS.0).prefix(&self.prefix).send().await?;
        Ok(all.contents().iter().filter_map(|o| o.key().map(str::to_owned)).collect())
    }

    async fn uploads(&self) -> Result<Vec<String>> {
        let all = self.s3.uploads(MY_BACKUPS.0).await?;
        Ok(all.into_iter().filter(|key| key.starts_with(&self.prefix)).collect())
    }
}

/// What is tested here is worth something only where the server refuses.
#[tokio::test]
async fn the_policy_lets_put_and_nothing_else() -> Result {
    let place = Place::new().await?;
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new(PUT_KEY, SECRET_KEY, None, None, "test"))
        .region(Region::new("us-east-1"))
        .endpoint_url(&place.endpoint)
        .force_path_style(true);
    let (put, bucket) = (Client::from_conf(config.build()), MY_BACKUPS.0);
    let key = format!("{}/object", place.prefix);
    put.put_object().bucket(bucket).key(&key).body("x".to_owned().into_bytes().into()).send().await?;
    let get = put.get_object().bucket(bucket).key(&key).send().await.err().context("it may read")?;
    let list = put.list_objects_v2().bucket(bucket).send().await.err().context("it may list")?;
    let delete = put.delete_object().bucket(bucket).key(&key).send().await.err().context("it may delete")?;
    for code in [get.code(), list.code(), delete.code()] {
        ensure!(code == Some("AccessDenied"), "{code:?}");
    }
    ensure!(put.head_object().bucket(bucket).key(&key).send().await.is_err(), "it may look");
    let elsewhere = put.put_object().bucket(bucket).key("elsewhere").body(Vec::new().into());
    ensure!(elsewhere.send().await.is_err(), "it may put anywhere");
    Ok(())
}

#[tokio::test]
async fn a_backup_needs_no_more_than_to_put_and_is_proven_with_another_key() -> Result {
    let place = Place::new().await?;
    let proxy = FaultyS3::watching(place.s3, MY_BACKUPS.0).await?;
    let place = Place { endpoint: proxy.endpoint.clone(), ..place };
    let lock = ["--s3-object-lock-mode", "governance", "--s3-object-lock-days", "1", "--s3-legal-hold", "--json"];
    let ended = place.backup(&lock).await?.run().await?.expect(0)?;
    let told = ended.json()?;
    ensure!(told["outcome"] == "stored" && told["proof"]["level"] == "sent", "{told:#}");
    let compared = &told["proof"]["compared"];
    ensure!(compared["files"] == 0 && compared["rows"] == 0 && compared["tables"] == 0, "{compared}");
    let unproven = told["proof"]["unproven"].to_string();
    ensure!(unproven.contains("nothing was read back") && !unproven.contains("no checksum"), "{unproven}");
    ensure!(told["notices"].to_string().contains("not compared with the backup before"), "{told:#}");
    ensure!(told["warnings"] == serde_json::json!([]), "{told:#}");
    ensure!(told["backup"]["rows"] == 14_900 && told["backup"]["lock"]["legal_hold"] == true, "{told:#}");

    // Nothing was asked but whether the bucket locks; and the large table went in parts.
    let seen = proxy.seen();
    let asked = |s: &&crate::support::faulty::Seen| {
        !matches!(s.op, Some(Op::Put | Op::Part | Op::Create | Op::Complete)) && !s.head.contains("?object-lock")
    };
    ensure!(!seen.iter().any(|s| asked(&s)), "{:?}", seen.iter().find(asked));
    ensure!(seen.iter().filter(|s| s.op == Some(Op::Part)).count() > 1, "no parts");

    // The probe has one name, and a second run stores none.
    let key = age::x25519::Identity::generate().to_public().to_string();
    place.backup(&["--encrypt-to", &key]).await?.without("--compression").run().await?.expect(0)?;
    let probe = format!("{}/savepoint-probe", place.prefix);
    let versions = place.s3.client().list_object_versions().bucket(MY_BACKUPS.0).prefix(&probe).send().await?;
    ensure!(versions.versions().len() == 1 && versions.delete_markers().is_empty(), "{versions:?}");

    let listed = place.savepoint(&["list", "--proof", "none"])?.run().await?.expect(0)?;
    ensure!(listed.stdout.matches("none (sent, ").count() == 2, "{}", listed.output());
    let server = source().await?;
    let id = told["backup"]["id"].as_str().context("no id")?;
    let drill = place.savepoint(&["verify", id, "--json"])?.args(["--pg-bin-dir", &server.bin.display().to_string()]);
    let proven = drill.run().await?.expect(0)?;
    ensure!(
        proven.stdout.contains("\"passed\":true") || proven.stdout.contains("\"passed\": true"),
        "{}",
        proven.output()
    );
    let listed = place.savepoint(&["list", "--proof", "passed", "--json"])?.run().await?.expect(0)?.json()?;
    let listed = listed["backups"].as_array().context("no list")?;
    ensure!(listed.len() == 1 && listed[0]["id"] == id && listed[0]["proof"]["level"] == "content", "{listed:?}");
    Ok(())
}

/// The store's own word, in each of its forms, for an object and for a part.
#[tokio::test]
async fn a_store_that_took_other_bytes_fails_the_run() -> Result {
    let part = When { op: Op::Part, key: "", behind: 1, times: 1 };
    let object = When { op: Op::Put, key: "toc.dat", behind: 0, times: 1 };
    let cases = [
        (part, Fault::OtherCrc("AAAAAA=="), "auto", "answers with CRC32 AAAAAA=="),
        (object, Fault::OtherCrc("AAAAAA=="), "auto", "answers with CRC32 AAAAAA=="),
        (part, Fault::OtherByte, "off", "answers with MD5"),
        (object, Fault::OtherByte, "off", "answers with MD5"),
    ];
    for (when, fault, checksums, why) in cases {
        let (place, proxy) = Place::behind(when, fault).await?;
        let ended = place.backup(&["--s3-checksums", checksums]).await?.run().await?.expect(1)?;
        ensure!(proxy.met() > when.behind, "{fault:?} was not met");
        ensure!(ended.stderr.contains("is not what was sent") && ended.stderr.contains(why), "{}", ended.output());
        ensure!(!place.keys().await?.iter().any(|key| key.ends_with("manifest.json")), "it was committed");
        // Its own uploads it could drop; of its objects it says that they may be there.
        ensure!(place.uploads().await?.is_empty(), "an upload is left");
        ensure!(ended.stderr.matches("may be left below").count() == 1, "{}", ended.output());
    }
    Ok(())
}

/// A store that answers with nothing to compare is believed, and that is said.
#[tokio::test]
async fn silence_of_the_store_is_said() -> Result {
    let silent = When { op: Op::Put, key: "toc.dat", behind: 0, times: 1 };
    let (place, _proxy) = Place::behind(silent, Fault::NoSums).await?;
    let told = place.backup(&["--json"]).await?.run().await?.expect(0)?.json()?;
    let unproven = told["proof"]["unproven"].to_string();
    ensure!(unproven.contains("for 1 of ") && unproven.contains("no checksum that can be compared"), "{unproven}");
    let dir = crate::support::scratch()?;
    let server = source().await?;
    let run =
        Savepoint::backup(&server.url(DB), &server.bin)?.to_folder(dir.path()).args(["--verify", "sent", "--json"]);
    let told = run.run().await?.expect(0)?.json()?;
    ensure!(told["proof"]["unproven"].to_string().contains("answers with no checksums"), "{told:#}");
    Ok(())
}

/// Where not even its own uploads may be dropped, that is one line.
#[tokio::test]
async fn a_failed_run_says_what_may_be_left() -> Result {
    let refused = When { op: Op::Put, key: "/manifest.json", behind: 0, times: 100 };
    let (place, _proxy) = Place::behind(refused, Fault::Answer(403, "AccessDenied", "no")).await?;
    let ended = place.backup(&[]).await?.run().await?.expect(1)?;
    ensure!(ended.stderr.contains("savepoint prune with another key sweeps them"), "{}", ended.output());
    ensure!(ended.stderr.matches("warning").count() == 1, "{}", ended.output());
    Ok(())
}
