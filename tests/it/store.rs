//! Every backend passes one contract; S3 errors say what is wrong and how it is cured.

use crate::support::s3::{ACCESS_KEY, READER_KEY, SECRET_KEY, old_clone, s3};
use aws_sdk_s3::{
    Client,
    config::{Credentials, Region},
    error::ProvideErrorMetadata,
};
use bytes::Bytes;
use futures_util::{
    TryStreamExt,
    future::{BoxFuture, join_all},
};
use savepoint::{
    Error,
    error::Kind,
    secret::Secret,
    store::{
        self, Destination, Store,
        local::LocalStore,
        s3::{S3Checksums, S3Options, S3Store},
    },
};
use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

mod remote;

const MIB: usize = 1024 * 1024;
const ADMIN: (&str, &str) = (ACCESS_KEY, SECRET_KEY);
const READ_ONLY: (&str, &str) = (READER_KEY, SECRET_KEY);

/// The server under test.
async fn endpoint() -> String {
    s3().await.expect("the S3 server").endpoint.clone()
}

fn sdk(endpoint: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .force_path_style(true)
        .credentials_provider(Credentials::new(ADMIN.0, ADMIN.1, None, None, "test"));
    Client::from_conf(config.build())
}

/// Options for a bucket on a server.
async fn bucket_named(endpoint: &str, bucket: &str) -> S3Options {
    if let Err(e) = sdk(endpoint).create_bucket().bucket(bucket).send().await {
        let code = e.code().unwrap_or_default();
        assert!(code.starts_with("BucketAlready"), "{e:?}");
    }
    S3Options { bucket: bucket.into(), endpoint: Some(endpoint.into()), ..Default::default() }
}

/// Options for a place of the test's own. One bucket for all: SeaweedFS sets volumes aside for each.
async fn bucket(endpoint: &str) -> S3Options {
    let prefix = format!("some/{}", uuid::Uuid::new_v4().simple());
    S3Options { prefix, ..bucket_named(endpoint, "store-tests").await }
}

fn connect(options: &S3Options, (access, secret): (&str, &str)) -> Arc<dyn Store> {
    Arc::new(S3Store::with_credentials(options, access, Secret::new(secret)).unwrap())
}

/// Bytes that differ everywhere, so that a part in the wrong place shows.
fn pattern(len: usize, seed: u64) -> Bytes {
    let mut x = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        bytes.extend_from_slice(&x.to_be_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

async fn read(store: &dyn Store, key: &str) -> Result<Bytes, Error> {
    store.open(key, None).await?.bytes().await
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).await.unwrap().into_iter().map(|o| o.key).collect()
}

/// What a server cannot do, of what a backend otherwise must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// The condition that an object is new: `If-None-Match` and the like.
    Exclusive,
    /// Uploads are not listed, or those of a whole key only.
    Uploads,
    /// Parts in any order: one that is early waits for those before it.
    AnyOrder,
}

/// What every backend must do.
#[expect(clippy::too_many_lines, reason = "the contract, from the first object to the last")]
pub async fn contract(store: Arc<dyn Store>, lacks: &[Lacks]) {
    // Put, replace, read, ranges.
    store.put("app/a", Bytes::from_static(b"first")).await.unwrap();
    store.put("app/a", Bytes::from_static(b"hello world")).await.unwrap();
    assert_eq!(read(&*store, "app/a").await.unwrap(), "hello world");
    for (range, expected) in [(0..5, "hello"), (6..11, "world"), (4..7, "o w"), (3..3, ""), (11..11, "")] {
        let reader = store.open("app/a", Some(range.clone())).await.unwrap();
        assert_eq!(reader.size, 11, "{range:?}");
        assert_eq!(reader.bytes().await.unwrap(), expected, "{range:?}");
    }
    for range in [5..12, 11..12, 20..30, 12..12] {
        let e = store.open("app/a", Some(range.clone())).await.err().unwrap();
        assert_eq!(e.kind(), Kind::Archive, "{range:?}: {e}");
    }
    store.put("app/empty", Bytes::new()).await.unwrap();
    assert_eq!(store.open("app/empty", None).await.unwrap().size, 0);
    assert_eq!(read(&*store, "app/empty").await.unwrap(), "");
    for range in [None, Some(0..1), Some(0..0)] {
        let e = store.open("app/none", range).await.err().unwrap();
        assert_eq!(e.kind(), Kind::NotFound, "{e}");
        assert!(e.one_line().contains(&store.uri("app/none")), "{e}");
    }
    assert_eq!(store.open("app", None).await.err().unwrap().kind(), Kind::NotFound);

    // put_new: the second one fails and changes nothing; of many exactly one wins.
    store.put_new("new/x", Bytes::from_static(b"mine")).await.unwrap();
    let e = store.put_new("new/x", Bytes::from_static(b"theirs")).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Exists, "{e}");
    assert_eq!(read(&*store, "new/x").await.unwrap(), "mine");
    if !lacks.contains(&Lacks::Exclusive) {
        let writers = (0..8u64).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { (n, store.put_new("new/race", pattern(1000, n * 2)).await) })
        });
        let mut won = Vec::new();
        for done in join_all(writers).await {
            match done.unwrap() {
                (n, Ok(())) => won.push(n),
                (_, Err(e)) => assert_eq!(e.kind(), Kind::Exists, "{e}"),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(read(&*store, "new/race").await.unwrap(), pattern(1000, won[0] * 2));
        store.delete("new/race").await.unwrap();
    }

    // Listing: a plain string prefix, sorted, with size and time.
    store.put("app_staging/a", Bytes::from_static(b"1")).await.unwrap();
    store.put("app/2026/x", Bytes::from_static(b"22")).await.unwrap();
    assert_eq!(keys(&*store, "app/").await, ["app/2026/x", "app/a", "app/empty"]);
    assert_eq!(keys(&*store, "app").await, ["app/2026/x", "app/a", "app/empty", "app_staging/a"]);
    assert_eq!(keys(&*store, "app/2").await, ["app/2026/x"]);
    assert_eq!(keys(&*store, "").await.len(), 5);
    assert!(keys(&*store, "other/").await.is_empty());
    assert_eq!(store.list_at_once("app/").await.unwrap(), Some(store.list("app/").await.unwrap()));
    assert_eq!(store.folders("").await.unwrap(), ["app/", "app_staging/", "new/"]);
    assert_eq!(store.folders("app/").await.unwrap(), ["app/2026/"]);
    for none in ["app/2026/", "app/a/", "other/"] {
        assert!(store.folders(none).await.unwrap().is_empty(), "{none}");
    }
    assert!(store.folders("../").await.is_err());
    let info = &store.list("app/2026/x").await.unwrap()[0];
    assert_eq!(info.size, 2);
    assert!((time::OffsetDateTime::now_utc() - info.modified).abs() < time::Duration::minutes(2), "{info:?}");

    // Odd keys.
    let odd = ["odd/with space", "odd/ünï ✓", "odd/a+b", "odd/100%25", "odd/q?x=1&y#z", "odd/.hidden", "odd/~'\"$"];
    for key in odd {
        store.put(key, Bytes::from(key)).await.unwrap();
    }
    let mut sorted = odd.to_vec();
    sorted.sort_unstable();
    assert_eq!(keys(&*store, "odd/").await, sorted);
    for key in odd {
        assert_eq!(read(&*store, key).await.unwrap(), key);
        store.delete(key).await.unwrap();
    }
    for bad in ["../x", "/x", "a//b", "a/", ""] {
        assert!(store.put(bad, Bytes::new()).await.is_err(), "{bad}");
        assert!(store.open(bad, None).await.is_err(), "{bad}");
        assert!(store.delete(bad).await.is_err(), "{bad}");
        assert!(store.create_upload(bad).await.is_err(), "{bad}");
    }

    // Delete, twice.
    store.delete("app/2026/x").await.unwrap();
    store.delete("app/2026/x").await.unwrap();
    assert_eq!(keys(&*store, "app/").await, ["app/a", "app/empty"]);

    // Many at once: what is not there is no error.
    let many: Vec<String> = (0..30).map(|n| format!("many at once/ü+{n}&<")).collect();
    for key in &many {
        store.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    store.put("many at once/stays", Bytes::new()).await.unwrap();
    let gone: Vec<String> = many.iter().cloned().chain(["many at once/never".to_owned()]).collect();
    for _ in 0..2 {
        let left = store.delete_many(&gone).await;
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(keys(&*store, "many at once/").await, ["many at once/stays"]);
    }
    assert!(store.delete_many(&[]).await.is_empty());
    let left = store.delete_many(&["many at once/stays".to_owned(), "a/../b".to_owned()]).await;
    assert_eq!(left.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a/../b"]);
    assert!(keys(&*store, "many at once/").await.is_empty());

    multipart(&store, lacks).await;
    unfinished(&store, !lacks.contains(&Lacks::Uploads)).await;

    assert_eq!(store::probe(&*store, "app").await.unwrap(), Vec::<String>::new());
    assert_eq!(store::probe(&*store, "").await.unwrap(), Vec::<String>::new());
    assert_eq!(keys(&*store, "").await, ["app/a", "app/empty", "app_staging/a", "new/x"]);
}

async fn multipart(store: &Arc<dyn Store>, lacks: &[Lacks]) {
    let whole = pattern(5 * MIB * 4 + 77, 3);
    let upload = store.create_upload("big/table.gz").await.unwrap();
    // Out of order and at the same time.
    let mut sending = JoinSet::new();
    for number in [4u32, 2, 5, 1, 3] {
        let (upload, whole) = (upload.clone(), whole.clone());
        sending.spawn(async move {
            let start = (number as usize - 1) * 5 * MIB;
            let part = whole.slice(start..(start + 5 * MIB).min(whole.len()));
            upload.put_part(number, start as u64, part).await
        });
    }
    for sent in sending.join_all().await {
        sent.unwrap();
    }
    assert!(keys(&**store, "big/").await.is_empty(), "visible before it is complete");
    assert_eq!(store.open("big/table.gz", None).await.err().unwrap().kind(), Kind::NotFound);
    upload.complete().await.unwrap();
    upload.abort().await.unwrap();
    assert!(read(&**store, "big/table.gz").await.unwrap() == whole, "content differs");
    let middle = 5 * MIB as u64 - 10..5 * MIB as u64 + 10;
    let range = store.open("big/table.gz", Some(middle.clone())).await.unwrap();
    assert_eq!(range.size, whole.len() as u64);
    assert_eq!(range.bytes().await.unwrap(), whole.slice(middle.start as usize..middle.end as usize));
    store.delete("big/table.gz").await.unwrap();

    // Aborted, also twice: nothing is left.
    let upload = store.create_upload("big/aborted").await.unwrap();
    upload.put_part(1, 0, pattern(5 * MIB, 5)).await.unwrap();
    upload.abort().await.unwrap();
    upload.abort().await.unwrap();
    assert!(upload.put_part(2, 5 * MIB as u64, pattern(9, 1)).await.is_err());
    assert!(upload.complete().await.is_err());
    assert!(keys(&**store, "big/").await.is_empty());

    // A missing part.
    let upload = store.create_upload("big/hole").await.unwrap();
    upload.put_part(1, 0, pattern(5 * MIB, 5)).await.unwrap();
    let early = {
        let upload = upload.clone();
        tokio::spawn(async move { upload.put_part(3, 10 * MIB as u64, pattern(7, 5)).await })
    };
    let waits = lacks.contains(&Lacks::AnyOrder);
    let early = if waits {
        Some(early)
    } else {
        early.await.unwrap().unwrap();
        None
    };
    // One that waits is known all the same.
    tokio::time::sleep(Duration::from_millis(if waits { 50 } else { 0 })).await;
    let e = upload.complete().await.unwrap_err();
    assert!(e.one_line().contains("part 2 is missing"), "{e}");
    assert!(upload.put_part(0, 0, Bytes::new()).await.is_err());
    assert!(upload.put_part(10_001, 0, Bytes::new()).await.is_err());
    upload.abort().await.unwrap();
    if let Some(early) = early {
        // Nothing waits for ever.
        assert!(early.await.unwrap().is_err());
    }
    assert!(keys(&**store, "big/").await.is_empty());
}

/// Uploads that nobody completes are listed with their age, and each is dropped by itself. `by_prefix` is false for servers that list
/// the uploads of a whole key only.
async fn unfinished(store: &Arc<dyn Store>, by_prefix: bool) {
    let mut begun = Vec::new();
    for key in ["big/one", "big/two", "big_other/one"] {
        let upload = store.create_upload(key).await.unwrap();
        upload.put_part(1, 0, pattern(5 * MIB, 5)).await.unwrap();
        begun.push(upload);
    }
    if by_prefix {
        let found = store.uploads("big/").await.unwrap();
        let mut listed: Vec<&str> = found.iter().map(|u| u.key.as_str()).collect();
        listed.sort_unstable();
        assert_eq!(listed, ["big/one", "big/two"]);
        let now = time::OffsetDateTime::now_utc();
        assert!(found.iter().all(|u| (now - u.begun).abs() < time::Duration::minutes(2)), "{found:?}");
        let one = found.iter().find(|u| u.key == "big/one").unwrap();
        store.abort_upload(one).await.unwrap();
        store.abort_upload(one).await.unwrap();
        assert_eq!(store.uploads("big").await.unwrap().len(), 2);
        assert_eq!(store.abort_uploads("big/").await.unwrap(), 1);
        assert_eq!(
            store.uploads("").await.unwrap().iter().map(|u| u.key.as_str()).collect::<Vec<_>>(),
            ["big_other/one"]
        );
    }
    for upload in begun {
        upload.abort().await.unwrap();
    }
    assert!(store.uploads("").await.unwrap().is_empty());
}

/// A fresh, empty place of some backend.
struct Fresh {
    store: Arc<dyn Store>,
    lacks: &'static [Lacks],
    /// What must hold of the place itself when the contract is through.
    afterwards: BoxFuture<'static, ()>,
}

macro_rules! each_keeps_the_contract {
    ($($test:ident: $places:expr,)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            for fresh in $places.await {
                contract(fresh.store, fresh.lacks).await;
                fresh.afterwards.await;
            }
        }
    )+};
}

// Every backend, each with what makes fresh places of it. A new one is a line here.
each_keeps_the_contract! {
    local_folder_keeps_the_contract: fresh_folder(),
    s3_keeps_the_contract: fresh_buckets(),
    an_old_clone_works_with_auto: fresh_bucket_of_an_old_clone(),
    gcs_keeps_the_contract: remote::fresh_gcs(),
    azure_keeps_the_contract: remote::fresh_azure(),
    sftp_keeps_the_contract: remote::fresh_sftp(),
    webdav_keeps_the_contract: remote::fresh_webdav(),
}

async fn fresh_folder() -> Vec<Fresh> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("not/yet/there");
    let store = store::open(&Destination::folder(&root)).await.unwrap();
    let after = store.clone();
    let afterwards = Box::pin(async move {
        folder_afterwards(&root, after).await;
        drop(dir);
    });
    vec![Fresh { store, lacks: &[], afterwards }]
}

async fn folder_afterwards(root: &Path, store: Arc<dyn Store>) {
    // Nothing is left of what was deleted or aborted, and only the owner may look.
    let mode = |path: &str| std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("app"), mode("app/a")), (0o700, 0o700, 0o600));
    let mut left: Vec<_> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["app", "app_staging", "new"]);

    // An upload that is dropped takes its file with it; a partial file of a killed run is not listed.
    let upload = store.create_upload("app/dropped").await.unwrap();
    upload.put_part(1, 0, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(std::fs::read_dir(root.join("app")).unwrap().count(), 3);
    assert_eq!(keys(&*store, "app/").await, ["app/a", "app/empty"]);
    drop(upload);
    assert_eq!(std::fs::read_dir(root.join("app")).unwrap().count(), 2);

    // A file that is cut while it is read is an error, never a short object.
    store.put("cut", pattern(3 * MIB, 1)).await.unwrap();
    let mut reader = store.open("cut", None).await.unwrap();
    reader.stream.try_next().await.unwrap();
    std::fs::OpenOptions::new().write(true).open(root.join("cut")).unwrap().set_len(MIB as u64).unwrap();
    assert_eq!(reader.bytes().await.unwrap_err().kind(), Kind::Archive);

    // A root that has gone is not an empty list.
    std::fs::remove_dir_all(root).unwrap();
    assert!(store.list("").await.is_err());
}

async fn fresh_buckets() -> Vec<Fresh> {
    let endpoint = endpoint().await;
    let mut places = Vec::new();
    for checksums in [S3Checksums::Auto, S3Checksums::Required, S3Checksums::Off] {
        let options = S3Options { checksums, ..bucket(&endpoint).await };
        let store = connect(&options, ADMIN);
        let list = sdk(&endpoint).list_multipart_uploads().bucket(&options.bucket).prefix(&options.prefix);
        let afterwards = Box::pin(async move {
            let uploads = list.send().await.unwrap();
            assert!(uploads.uploads().is_empty(), "{checksums:?}: {:?}", uploads.uploads());
        });
        places.push(Fresh { store, lacks: &[], afterwards });
    }
    // Without a prefix.
    let name = format!("store-{}", uuid::Uuid::new_v4().simple());
    let store = connect(&bucket_named(&endpoint, &name).await, ADMIN);
    places.push(Fresh { store, lacks: &[], afterwards: Box::pin(async {}) });
    places
}

async fn fresh_bucket_of_an_old_clone() -> Vec<Fresh> {
    let old = old_clone().await.expect("the old S3 gateway");
    let store = connect(&bucket(&old.endpoint).await, ADMIN);
    let lacks = &[Lacks::Exclusive, Lacks::Uploads];
    vec![Fresh { store, lacks, afterwards: Box::pin(async move { drop(old) }) }]
}

#[tokio::test]
async fn a_root_that_is_a_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    for (root, said) in [("file", "is no folder"), ("file/below", "cannot create the folder")] {
        let e = LocalStore::open(&dir.path().join(root)).await.unwrap_err();
        assert!(e.one_line().contains(said), "{e}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_lists_more_than_a_page() {
    let endpoint = endpoint().await;
    let options = bucket(&endpoint).await;
    let store = connect(&options, ADMIN);
    let mut sending = JoinSet::new();
    for n in 0..1100 {
        if sending.len() >= 32 {
            sending.join_next().await.unwrap().unwrap();
        }
        let store = store.clone();
        sending.spawn(async move { store.put(&format!("many/{n:05}"), Bytes::from_static(b"x")).await.unwrap() });
    }
    sending.join_all().await;
    assert_eq!(keys(&*store, "many/").await, (0..1100).map(|n| format!("many/{n:05}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_objects_carry_what_was_asked_for() {
    let endpoint = endpoint().await;
    let options =
        S3Options { sse: Some("AES256".into()), storage_class: Some("STANDARD_IA".into()), ..bucket(&endpoint).await };
    let store = connect(&options, ADMIN);
    store.put("m/manifest.json", Bytes::from_static(b"{}")).await.unwrap();
    let upload = store.create_upload("m/1.dat").await.unwrap();
    upload.put_part(1, 0, pattern(MIB, 1)).await.unwrap();
    upload.complete().await.unwrap();
    for (key, content_type) in [("m/manifest.json", "application/json"), ("m/1.dat", "application/octet-stream")] {
        let head = sdk(&endpoint)
            .head_object()
            .bucket(&options.bucket)
            .key(format!("{}/{key}", options.prefix))
            .send()
            .await
            .unwrap();
        assert_eq!(head.content_type(), Some(content_type), "{key}");
        assert_eq!(head.server_side_encryption().map(|s| s.as_str()), Some("AES256"), "{key}");
        assert_eq!(head.storage_class().map(|s| s.as_str()), Some("STANDARD_IA"), "{key}");
    }
    assert_eq!(read(&*store, "m/1.dat").await.unwrap(), pattern(MIB, 1));
}

/// The message, which must name the object and hold `reason`, and the hint, which must hold `cure`.
fn assert_says(e: &Error, reason: &str, cure: &str) {
    assert!(e.one_line().contains("s3://"), "{e:?}");
    assert_says_of(e, reason, cure, &[ADMIN.1, READ_ONLY.1, "wrongsecret"]);
}

/// As [`assert_says`], for any store.
fn assert_says_of(e: &Error, reason: &str, cure: &str, secrets: &[&str]) {
    let (line, hint) = (e.one_line(), e.hint_text().unwrap_or_default());
    assert_eq!(e.kind(), Kind::Store, "{e:?}");
    assert!(line.contains("://") && line.contains(reason), "{e:?}");
    assert!(hint.contains(cure), "{e:?}");
    for secret in secrets {
        assert!(!format!("{e:?}").contains(secret), "{e:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_errors_name_the_cure() {
    let endpoint = endpoint().await;
    let options = bucket(&endpoint).await;
    let body = Bytes::from_static(b"x");
    connect(&options, ADMIN).put("there", body.clone()).await.unwrap();

    let e = connect(&options, ("nobody", "wrongsecret")).put("x", body.clone()).await.unwrap_err();
    assert_says(&e, "InvalidAccessKeyId (HTTP 403)", "AWS_ACCESS_KEY_ID");
    let e = connect(&options, (ADMIN.0, "wrongsecret")).put("x", body.clone()).await.unwrap_err();
    assert_says(&e, "SignatureDoesNotMatch (HTTP 403)", "AWS_SECRET_ACCESS_KEY");

    let missing = connect(&S3Options { bucket: "no-such-bucket-at-all".into(), ..options.clone() }, ADMIN);
    // No put or upload: SeaweedFS makes the bucket for the administrator's.
    assert_says(&missing.list("").await.unwrap_err(), "NoSuchBucket", "create the bucket no-such-bucket-at-all");
    assert_says(&missing.open("x", None).await.err().unwrap(), "NoSuchBucket", "--destination");

    let read_only = connect(&options, READ_ONLY);
    assert_eq!(read(&*read_only, "there").await.unwrap(), "x");
    let denied = "AccessDenied (HTTP 403)";
    let resource = format!("arn:aws:s3:::{}/{}/x", options.bucket, options.prefix);
    let e = read_only.put("x", body.clone()).await.unwrap_err();
    assert_says(&e, denied, &format!("s3:PutObject on {resource}"));
    assert_says(&read_only.put_new("x", body.clone()).await.unwrap_err(), denied, "s3:PutObject");
    assert_says(&read_only.create_upload("x").await.unwrap_err(), denied, "s3:PutObject");
    assert_says(&read_only.delete("there").await.unwrap_err(), denied, "s3:DeleteObject");
    let e = store::probe(&*read_only, "app").await.unwrap_err();
    assert_says(&e, "the destination cannot be written", "s3:PutObject");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_named_soon() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let options = S3Options { bucket: "b".into(), endpoint: Some(endpoint.clone()), ..Default::default() };
    let started = Instant::now();
    let e = connect(&options, ADMIN).put("x", Bytes::from_static(b"x")).await.unwrap_err();
    assert_says(&e, &format!("no connection to {endpoint}"), "--s3-endpoint");
    assert!(e.one_line().contains("refused"), "{e}");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
}

#[test]
fn endpoints_and_regions_are_checked() {
    let open = |options: S3Options| {
        S3Store::with_credentials(&options, "a", "b".into()).err().map(|e| (e.kind(), format!("{e:?}")))
    };
    let at = |endpoint: &str| S3Options { endpoint: Some(endpoint.into()), ..Default::default() };
    assert_eq!(open(at("http://localhost:9000")), None);
    for bad in ["localhost:9000", "https://", "https://user:hunter2@host"] {
        let (kind, text) = open(at(bad)).unwrap();
        assert_eq!(kind, Kind::Usage);
        assert!(text.contains("--s3-endpoint") && !text.contains("hunter2"), "{text}");
    }
    let (_, text) = open(S3Options::default()).unwrap();
    assert!(text.contains("--s3-region"), "{text}");
    assert_eq!(open(S3Options { region: Some("eu-central-1".into()), ..Default::default() }), None);
}

/// A server behind a wire that can be cut: the port is closed and every connection is dropped.
async fn wire(endpoint: &str) -> (String, tokio::task::JoinHandle<()>) {
    let target = endpoint.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let forward = tokio::spawn(async move {
        let mut links = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let target = target.clone();
            links.spawn(async move {
                if let Ok(mut far) = TcpStream::connect(target).await {
                    // Slow enough that it can be cut in the middle.
                    let _ = tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, 64 * 1024, 64 * 1024).await;
                }
            });
        }
    });
    (address, forward)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_is_a_clear_error() {
    let endpoint = endpoint().await;
    let options = bucket(&endpoint).await;
    connect(&options, ADMIN).put("big", pattern(40 * MIB, 9)).await.unwrap();

    // While parts are sent.
    let (address, forward) = wire(&endpoint).await;
    let store = connect(&S3Options { endpoint: Some(address.clone()), ..options.clone() }, ADMIN);
    let upload = store.create_upload("killed").await.unwrap();
    upload.put_part(1, 0, pattern(5 * MIB, 1)).await.unwrap();
    let started = Instant::now();
    let sending = {
        let upload = upload.clone();
        tokio::spawn(async move { upload.put_part(2, 5 * MIB as u64, pattern(64 * MIB, 2)).await })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    forward.abort();
    assert_says(&sending.await.unwrap().unwrap_err(), &format!("no connection to {address}"), "--s3-endpoint");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    assert!(!keys(&*connect(&options, ADMIN), "").await.contains(&"killed".to_owned()));

    // While an object is read.
    let (address, forward) = wire(&endpoint).await;
    let store = connect(&S3Options { endpoint: Some(address.clone()), ..options.clone() }, ADMIN);
    let mut reader = store.open("big", None).await.unwrap();
    reader.stream.try_next().await.unwrap();
    forward.abort();
    let e = reader.bytes().await.unwrap_err();
    assert_says(&e, &format!("no connection to {address}"), "--s3-endpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_survives_a_broken_connection() {
    let endpoint = endpoint().await;
    let options = bucket(&endpoint).await;
    let whole = pattern(40 * MIB, 9);
    connect(&options, ADMIN).put("big", whole.clone()).await.unwrap();
    let (address, forward) = wire(&endpoint).await;
    let store = connect(&S3Options { endpoint: Some(address.clone()), ..options }, ADMIN);
    let mut reader = store.open("big", None).await.unwrap();
    let first = reader.stream.try_next().await.unwrap().unwrap();
    forward.abort();
    let _ = forward.await;
    // The server is back at the same address.
    let listener = TcpListener::bind(address.trim_start_matches("http://")).await.unwrap();
    let target = endpoint.trim_start_matches("http://").to_owned();
    let again = tokio::spawn(async move {
        let mut links = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(&target).await.unwrap();
            links.spawn(async move { drop(tokio::io::copy_bidirectional(&mut near, &mut far).await) });
        }
    });
    let rest = reader.bytes().await.unwrap();
    assert!([first, rest].concat() == whole, "content differs");
    again.abort();
}

/// A store, and a webhook, whose certificates are signed by a root that nobody knows: the error names the option, and with it all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_of_ones_own() -> crate::support::Result {
    use crate::support::{
        pg,
        run::Savepoint,
        scratch, slack,
        tls::{Behind, Terminator, certificates},
    };
    use anyhow::ensure;
    let (server, s3, dir) = (pg::server(17).await?, s3().await?, scratch()?);
    certificates(dir.path())?;
    let ca = dir.path().join("ca.crt").display().to_string();
    let front = async |port| {
        Terminator::start(&dir.path().join("server.crt"), &dir.path().join("server.key"), Behind::Bare(port)).await
    };
    let store = front(s3.port).await?;
    let hook = slack::Slack::start([]).await?;
    let hook_port = hook.url().split(':').nth(2).and_then(|rest| rest.split('/').next()).unwrap_or_default().parse()?;
    let hook_front = front(hook_port).await?;
    let hook_url =
        hook.url().replace("http:", "https:").replace(&format!(":{hook_port}/"), &format!(":{}/", hook_front.port));
    let endpoint = format!("https://127.0.0.1:{}", store.port);
    let bucket = s3.bucket().await?;
    server.create_db("it_own_root", "").await?;
    server.psql("it_own_root", "CREATE TABLE t AS SELECT generate_series(1, 100) AS id").await?;
    let backup = |endpoint: &str| {
        let run = Savepoint::backup(&server.url("it_own_root"), &server.bin)?.to_s3(endpoint, &bucket, "x");
        Ok::<_, anyhow::Error>(run.args(["--jobs", "1"]).env("SAVEPOINT_SLACK_WEBHOOK_URL", &hook_url))
    };

    let begun = Instant::now();
    let ended = backup(&endpoint)?.run().await?.expect(1)?;
    ensure!(ended.stderr.contains("UnknownIssuer") && ended.stderr.contains("--ca-file"), "{}", ended.output());
    ensure!(ended.stdout.contains("Slack was not reached"), "{}", ended.output());
    ensure!(begun.elapsed() < Duration::from_secs(45), "it took {:?}", begun.elapsed());
    ensure!(hook.bodies().is_empty());
    let ended = backup(&endpoint)?.args(["--ca-file", &ca]).run().await?.expect(0)?;
    ensure!(hook.bodies().len() == 1 && !ended.output().contains("Slack"), "{}", ended.output());
    // As AWS's own programs have it; the commands that are printed reach the same place.
    let show = Savepoint::new(["show", "latest"])?.to_s3(&endpoint, &bucket, "x").env("AWS_CA_BUNDLE", &ca);
    let show = show.run().await?.expect(0)?;
    ensure!(show.stdout.contains(&format!("--ca-file {ca}")), "{}", show.output());
    // Trusted, but made out to another name.
    let other = endpoint.replace("127.0.0.1", "localhost");
    let ended = backup(&other)?.args(["--ca-file", &ca]).run().await?.expect(1)?;
    ensure!(ended.stderr.contains("check the server's certificate"), "{}", ended.output());
    let ended = backup(&endpoint)?.args(["--ca-file", "/nonexistent/ca.pem"]).run().await?.expect(2)?;
    ensure!(ended.stderr.contains("option ca-file"), "{}", ended.output());
    Ok(())
}
