//! Stores that are no S3, over real servers: the contract, what a broken upload leaves, what errors say, and whole backups.

use super::{Fresh, Lacks, MIB, assert_says_of, keys, pattern, read, wire};
use crate::support::{
    Result,
    compare::compare,
    pg,
    remote::{AZURE_KEY, DAV_PASSWORD, Remote, azure, gcs, sftp, webdav},
    run::Savepoint,
};
use anyhow::ensure;
use bytes::Bytes;
use savepoint::{
    error::Kind,
    store::{self, Store},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// A place of its own on a server.
async fn fresh(server: Result<&'static Remote>, lacks: &'static [Lacks]) -> (Fresh, String) {
    let server = server.unwrap();
    let address = server.address();
    let store = server.open(&address).await.unwrap();
    (Fresh { store, lacks, afterwards: Box::pin(async {}) }, address)
}

/// The stand-in ignores the condition of an upload session; opendal's writer wants parts in their order.
pub async fn fresh_gcs() -> Vec<Fresh> {
    vec![fresh(gcs().await, &[Lacks::Exclusive, Lacks::AnyOrder]).await.0]
}

pub async fn fresh_azure() -> Vec<Fresh> {
    vec![fresh(azure().await, &[Lacks::AnyOrder]).await.0]
}

pub async fn fresh_sftp() -> Vec<Fresh> {
    let (mut place, address) = fresh(sftp().await, &[]).await;
    let root = folder_of(sftp().await.unwrap(), &address);
    place.afterwards = Box::pin(async move {
        // Nothing is left of what was deleted or aborted, and only the owner may look.
        let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("app"), mode("app/a")), (0o700, 0o600));
        assert_eq!(files(&root), ["app", "app/a", "app/empty", "app_staging", "app_staging/a", "new", "new/x"]);
    });
    vec![place]
}

pub async fn fresh_webdav() -> Vec<Fresh> {
    let (mut place, address) = fresh(webdav().await, &[Lacks::Exclusive, Lacks::AnyOrder]).await;
    let server = webdav().await.unwrap();
    let root = server.dir.join("data/dav").join(address.rsplit_once('/').unwrap().1);
    place.afterwards = Box::pin(async move {
        let left: Vec<String> = files(&root).into_iter().filter(|path| root.join(path).is_file()).collect();
        assert_eq!(left, ["app/a", "app/empty", "app_staging/a", "new/x"]);
    });
    vec![place]
}

/// Where an SFTP address lies on this machine.
fn folder_of(server: &Remote, address: &str) -> PathBuf {
    server.dir.join("data").join(address.rsplit_once('/').unwrap().1)
}

/// Everything below a folder, sorted.
fn files(root: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(root).unwrap().display().to_string());
            if path.is_dir() && !path.ends_with(".DAV") {
                folders.push(path);
            }
        }
    }
    found.retain(|path| !path.contains(".DAV"));
    found.sort();
    found
}

/// An upload whose server goes away in the middle, and one whose process does: nothing of either is seen.
async fn broken_uploads_leave_nothing(server: &'static Remote, listed: bool) {
    let address = server.address();
    let near = server.open(&address).await.unwrap();
    let (cut, forward) = wire(&format!("http://127.0.0.1:{}", server.port)).await;
    let port = cut.rsplit_once(':').unwrap().1.to_owned();
    let swapped = |text: &str| text.replace(&format!(":{}", server.port), &format!(":{port}"));
    let other: Vec<(&str, String)> = server.env.iter().map(|(name, value)| (*name, swapped(value))).collect();
    let other: Vec<(&str, &str)> = other.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let far = store::open(&server.impatient(&swapped(&address), &other).unwrap()).await.unwrap();

    let upload = far.create_upload("broken/far").await.unwrap();
    upload.put_part(1, 0, pattern(8 * MIB, 1)).await.unwrap();
    forward.abort();
    let started = Instant::now();
    let sent = upload.put_part(2, 8 * MIB as u64, pattern(16 * MIB, 2)).await;
    let ended = match sent {
        Ok(()) => upload.put_part(3, 24 * MIB as u64, pattern(16 * MIB, 3)).await.and(upload.complete().await),
        sent => sent,
    };
    let e = ended.unwrap_err();
    assert_eq!(e.kind(), Kind::Store, "{e:?}");
    assert!(e.one_line().contains(&swapped(&address)) && e.hint_text().is_some(), "{e:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    drop((upload, far));

    let upload = near.create_upload("broken/near").await.unwrap();
    upload.put_part(1, 0, pattern(8 * MIB, 4)).await.unwrap();
    // Nobody aborts it.
    drop(upload);
    assert!(keys(&*near, "").await.is_empty());
    for key in ["broken/far", "broken/near"] {
        assert_eq!(near.open(key, None).await.err().unwrap().kind(), Kind::NotFound);
    }
    if listed {
        let mut left: Vec<String> = near.uploads("broken/").await.unwrap().into_iter().map(|u| u.key).collect();
        left.sort();
        assert_eq!(left, ["broken/far", "broken/near"]);
        assert_eq!(near.abort_uploads("").await.unwrap(), 2);
    }
    assert!(near.uploads("").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_uploads_to_gcs_leave_nothing() {
    broken_uploads_leave_nothing(gcs().await.unwrap(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_uploads_to_azure_leave_nothing() {
    broken_uploads_leave_nothing(azure().await.unwrap(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_uploads_to_sftp_are_found() {
    broken_uploads_leave_nothing(sftp().await.unwrap(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_uploads_to_webdav_leave_nothing() {
    // Apache keeps a body under a name of its own until it is whole.
    broken_uploads_leave_nothing(webdav().await.unwrap(), false).await;
}

/// Opens a place with other variables, and writes to it.
async fn refused(server: &'static Remote, address: &str, other: &[(&str, &str)]) -> savepoint::Error {
    let store = store::open(&server.impatient(address, other).unwrap()).await.unwrap();
    store.put("x", Bytes::from_static(b"x")).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_other_stores_name_the_cure() {
    let server = azure().await.unwrap();
    let wrong = [("AZURE_STORAGE_KEY", "d3Jvbmcgd3Jvbmcgd3Jvbmc=")];
    let secrets = [AZURE_KEY, DAV_PASSWORD, "hunter2", "d3Jvbmcg"];
    assert_says_of(&refused(server, &server.address(), &wrong).await, "HTTP 403", "Storage Blob Data", &secrets);
    let missing = server.open("azblob://no-such-container/p").await.unwrap();
    assert_says_of(&missing.list("").await.unwrap_err(), "ContainerNotFound", "create the container", &secrets);
    let e = missing.put("x", Bytes::from_static(b"x")).await.unwrap_err();
    assert_says_of(&e, "ContainerNotFound", "create the container", &secrets);

    let server = gcs().await.unwrap();
    let missing = server.open("gs://no-such-bucket/p").await.unwrap();
    let e = missing.put("x", Bytes::from_static(b"x")).await.unwrap_err();
    assert_says_of(&e, "gs://no-such-bucket/p/x", "create the bucket", &secrets);

    let server = webdav().await.unwrap();
    let e = refused(server, &server.address(), &[("WEBDAV_PASSWORD", "hunter2")]).await;
    assert_says_of(&e, "HTTP 401", "WEBDAV_PASSWORD", &secrets);
    let store =
        store::open(&server.impatient(&server.address(), &[("WEBDAV_PASSWORD", "hunter2")]).unwrap()).await.unwrap();
    let e = store.create_upload("x").await.err().unwrap();
    assert_says_of(&e, "HTTP 401", "WEBDAV_PASSWORD", &secrets);

    let server = sftp().await.unwrap();
    let stranger = server.dir.join("stranger").display().to_string();
    let e = refused(server, &server.address(), &[("SAVEPOINT_SFTP_KEY", &stranger)]).await;
    assert_says_of(&e, "Permission denied", "SAVEPOINT_SFTP_KEY", &secrets);
    // A server with another key than the one that is known.
    let other = fs::read_to_string(server.dir.join("stranger.pub")).unwrap();
    let other = format!("[127.0.0.1]:{} {other}", server.port);
    let e = refused(server, &server.address(), &[("SAVEPOINT_SFTP_KNOWN_HOSTS", &other)]).await;
    assert_says_of(&e, "Host key verification failed", "ssh-keyscan", &secrets);
    let nobody = server.base.replace(&server.port.to_string(), "1");
    let e = refused(server, &nobody, &[("SAVEPOINT_SFTP_KNOWN_HOSTS", &other)]).await;
    assert_says_of(&e, "refused", "host and port", &secrets);
}

#[test]
fn what_cannot_be_a_destination_is_said() {
    let none = |_: &str| None;
    let parse = |address: &str| store::destination(&store::Given::plain(address, store::Env(&none)));
    for (address, cure) in [
        ("azblob://c/p", "AZURE_STORAGE_CONNECTION_STRING"),
        ("dropbox://p", "DROPBOX_REFRESH_TOKEN"),
        ("gdrive://p", "GOOGLE_DRIVE_REFRESH_TOKEN"),
        ("vercel-blob://p", "BLOB_READ_WRITE_TOKEN"),
        ("webdavs://me:hunter2@h/p", "variables"),
        ("sftp://me:hunter2@h/p", "variables"),
        ("ftp://h/p", "sftp://"),
        ("azure://c/p", "azblob://"),
        ("tape://p", "gs://"),
    ] {
        let e = parse(address).unwrap_err();
        assert_eq!(e.kind(), Kind::Usage, "{address}");
        assert!(e.hint_text().unwrap_or_default().contains(cure), "{address}: {e:?}");
        assert!(!format!("{e:?}").contains("hunter2"), "{e:?}");
    }
    for (address, label) in [
        ("gs://b", "gs://b"),
        ("gs://b/p/", "gs://b/p"),
        ("webdavs://h/a%20b", "webdavs://h/a b"),
        ("sftp://h", "sftp://h"),
    ] {
        let (place, _) = parse(address).unwrap();
        assert_eq!(place.label(), label);
    }
    let token = |name: &str| (name == "BLOB_READ_WRITE_TOKEN").then(|| "hunter2".to_owned());
    let (place, _) = store::destination(&store::Given::plain("vercel-blob://p", store::Env(&token))).unwrap();
    assert!(!place.promises().private && !format!("{place:?}").contains("hunter2"));
}

/// A backup with its proof, a list, and a restore that is compared with the source.
async fn there_and_back(server: &'static Remote, db: &str) -> Result {
    let source = pg::server(17).await?;
    source.create_db(db, "").await?;
    source
        .psql(
            db,
            "CREATE TABLE big (id serial PRIMARY KEY, note text NOT NULL);
             INSERT INTO big (note) SELECT md5(g::text) || md5((g * 7)::text) FROM generate_series(1, 300000) g;
             CREATE TABLE small AS SELECT g AS id FROM generate_series(1, 77) g; CREATE TABLE empty_one (a int);
             SELECT lo_from_bytea(0, decode(repeat(md5(g::text), 4000), 'hex')) FROM generate_series(1, 3) g;",
        )
        .await?;
    let address = server.address();
    let with = |run: Savepoint| {
        let run = run.args(["--destination", &address]);
        server.env.iter().fold(run, |run, (name, value)| run.env(name, value))
    };
    let ended = with(Savepoint::backup(&source.url(db), &source.bin)?).args(["--json"]).run().await?.expect(0)?;
    ended.left_nothing()?;
    let told = ended.json()?;
    ensure!(told["outcome"] == "proven", "{told:#}");
    for secret in [DAV_PASSWORD, AZURE_KEY] {
        ensure!(!ended.output().contains(secret), "{}", ended.output());
    }
    let listed = with(Savepoint::new(["list"])?).run().await?.expect(0)?;
    ensure!(listed.stdout.contains("passed (content"), "{}", listed.output());

    let copy = format!("{db}_copy");
    let restore =
        Savepoint::new(["restore", "latest", "--database", db, "--pg-bin-dir", &source.bin.display().to_string()])?;
    with(restore).env("SAVEPOINT_TO", &source.url(&copy)).run().await?.expect(0)?;
    let found = compare((source, db), (source, &copy)).await?;
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

#[tokio::test]
async fn azure_there_and_back() -> Result {
    there_and_back(azure().await?, "it_azure").await
}

#[tokio::test]
async fn gcs_there_and_back() -> Result {
    there_and_back(gcs().await?, "it_gcs").await
}

#[tokio::test]
async fn sftp_there_and_back() -> Result {
    there_and_back(sftp().await?, "it_sftp").await
}

#[tokio::test]
async fn webdav_there_and_back() -> Result {
    there_and_back(webdav().await?, "it_webdav").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sftp_connection_that_broke_off_is_made_anew() {
    let server = sftp().await.unwrap();
    let address = server.address();
    let (cut, forward) = wire(&format!("http://127.0.0.1:{}", server.port)).await;
    let port = cut.rsplit_once(':').unwrap().1.to_owned();
    let known = server.env.iter().find(|(name, _)| name.ends_with("KNOWN_HOSTS")).unwrap();
    let known = known.1.replace(&server.port.to_string(), &port);
    let place =
        server.impatient(&address.replace(&server.port.to_string(), &port), &[("SAVEPOINT_SFTP_KNOWN_HOSTS", &known)]);
    let store: Arc<dyn Store> = store::open(&place.unwrap()).await.unwrap();
    store.put("a", pattern(3 * MIB, 1)).await.unwrap();
    forward.abort();
    let _ = forward.await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port.parse::<u16>().unwrap())).await.unwrap();
    let target = server.port;
    let again = tokio::spawn(async move {
        let mut links = tokio::task::JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            links.spawn(async move { drop(tokio::io::copy_bidirectional(&mut near, &mut far).await) });
        }
    });
    assert!(read(&*store, "a").await.unwrap() == pattern(3 * MIB, 1));
    again.abort();
}
