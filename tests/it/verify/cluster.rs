//! The throwaway server, for real: every major of the test stack.

use crate::archive::toc::installations;
use savepoint::{
    postgres::tools::Tools,
    scratch::Scratch,
    vault::manifest::Source,
    verify::{
        cluster::{Cluster, ClusterOptions, create_database, create_database_sql},
        limits::Guarded,
    },
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use tokio_postgres::{Client, NoTls};

fn options(tools: &Tools, folder: PathBuf) -> ClusterOptions<'_> {
    ClusterOptions {
        tools,
        folder,
        superuser: "Boot strap".into(),
        lc_monetary: "C".into(),
        locales: vec![],
        jobs: 2,
        memory: None,
        extensions: &[],
        libraries: &[],
        database: "savepoint_proof",
        logs_wal: false,
        guarded: Guarded::default(),
    }
}

async fn connect(cluster: &Cluster, dbname: &str) -> Client {
    let target = cluster.target(dbname);
    let mut config = tokio_postgres::Config::new();
    config.host_path(&target.host).port(target.port).user(&target.user).dbname(&target.dbname);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn value(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Processes whose working folder lies in `folder`.
fn processes_in(folder: &Path) -> Vec<u32> {
    let proc = fs::read_dir("/proc").unwrap().flatten();
    proc.filter_map(|p| p.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
        .collect()
}

/// Inodes of the TCP sockets that a process holds.
fn tcp_sockets(pid: u32) -> Vec<String> {
    let tables = ["tcp", "tcp6"].map(|t| fs::read_to_string(format!("/proc/net/{t}")).unwrap_or_default());
    let tcp: Vec<String> = tables
        .iter()
        .flat_map(|t| t.lines().skip(1))
        .filter_map(|l| Some(l.split_whitespace().nth(9)?.to_owned()))
        .collect();
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|f| {
            fs::read_link(f.path()).ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
        })
        .filter(|inode| tcp.contains(inode))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_each_major_comes_and_goes() {
    for tools in installations() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(Some(base.path())).unwrap();
        let folder = scratch.path().join("server");
        let cluster = Cluster::create(options(&tools, folder.clone())).await.unwrap();
        let pid = cluster.pid().unwrap();
        assert_ne!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), 0, "PostgreSQL must not run as root");
        assert_eq!(tcp_sockets(pid), Vec::<String>::new(), "only a Unix socket");
        assert_eq!(fs::metadata(folder.join("s")).unwrap().mode() & 0o777, 0o700);
        let client = connect(&cluster, "postgres").await;
        let setting = |name: &'static str| {
            let client = &client;
            async move { value(client, &format!("SELECT current_setting('{name}')")).await }
        };
        assert_eq!(setting("server_version_num").await[..2], tools.major.to_string());
        assert_eq!((setting("fsync").await.as_str(), setting("autovacuum").await.as_str()), ("off", "off"));
        assert_eq!(setting("dynamic_shared_memory_type").await, "mmap");
        assert_eq!(value(&client, "SELECT rolname::text FROM pg_roles WHERE oid = 10").await, "Boot strap");
        assert!(cluster.notes().is_empty());
        // A backend that is busy must not outlive the server.
        tokio::spawn(async move { client.batch_execute("SELECT count(*) FROM generate_series(1, 1e12)").await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(processes_in(&folder).len() > 2);
        cluster.stop().await.unwrap();
        assert!(!folder.exists());
        assert_eq!(processes_in(&folder), Vec::<u32>::new());

        let dropped = Cluster::create(options(&tools, folder.clone())).await.unwrap();
        drop(dropped);
        assert!(!folder.exists());
        assert_eq!(processes_in(&folder), Vec::<u32>::new());
        scratch.remove().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_path_gets_a_short_socket() {
    let tools = installations().pop().unwrap();
    let base = tempfile::tempdir().unwrap();
    let scratch = Scratch::create(Some(base.path())).unwrap();
    let folder = scratch.path().join("x".repeat(100));
    let cluster = Cluster::create(options(&tools, folder.clone())).await.unwrap();
    let socket = PathBuf::from(cluster.target("postgres").host);
    assert!(socket.starts_with("/tmp") && socket.is_dir());
    connect(&cluster, "postgres").await;
    cluster.stop().await.unwrap();
    assert!(!socket.exists() && !folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_start_says_why_and_leaves_nothing() {
    let all = installations();
    let tools = all.last().unwrap();
    let base = tempfile::tempdir().unwrap();
    let scratch = Scratch::create(Some(base.path())).unwrap();
    let folder = scratch.path().join("server");
    let reserved = ClusterOptions { superuser: "pg_x".into(), ..options(tools, folder.clone()) };
    let error = Cluster::create(reserved).await.unwrap_err();
    assert!(error.one_line().contains("superuser name \"pg_x\" is disallowed"), "{error}");
    assert!(!folder.exists());

    let mixed = Tools { postgres: all[0].postgres.clone(), ..tools.clone() };
    if all.len() > 1 {
        let error = Cluster::create(options(&mixed, folder.clone())).await.unwrap_err();
        assert!(error.one_line().contains("did not start") && error.one_line().contains("FATAL"), "{error}");
        assert!(!folder.exists());
    }
    let none = Tools { initdb: None, ..tools.clone() };
    assert!(
        Cluster::create(options(&none, folder.clone())).await.unwrap_err().hint_text().unwrap().contains("install")
    );
}

fn source(major: u32, encoding: &str, provider: &str, collate: &str, locale: Option<&str>) -> Source {
    serde_json::from_value(serde_json::json!({
        "host": "h", "port": 5432, "database": "d", "user": "u", "server_version": "", "major": major, "encoding": encoding,
        "locale_provider": provider, "collate": collate, "ctype": collate, "locale": locale, "lc_monetary": "C",
        "database_bytes": 0, "snapshot": "", "bootstrap_role": "postgres", "standby": false,
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_get_the_locale_of_their_source() {
    for tools in installations() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(Some(base.path())).unwrap();
        let locales = vec!["de_DE.UTF-8".to_owned(), "xx_YY.UTF-8".to_owned(), "fr_FR.iso88591".to_owned()];
        let folder = scratch.path().join("server");
        let asked = ClusterOptions { locales, lc_monetary: "de_DE.UTF-8".into(), ..options(&tools, folder) };
        let cluster = Cluster::create(asked).await.unwrap();
        let client = connect(&cluster, "postgres").await;
        let exact = [
            ("plain", source(tools.major, "UTF8", "libc", "C.UTF-8", None)),
            ("Ge\"rman", source(tools.major, "UTF8", "libc", "de_DE.UTF-8", None)),
            ("french", source(tools.major, "LATIN1", "libc", "fr_FR.iso88591", None)),
            ("bytes", source(tools.major, "SQL_ASCII", "libc", "C", None)),
        ];
        for (name, source) in &exact {
            assert_eq!(create_database(&client, source, name).await.unwrap(), Vec::<String>::new(), "{}", tools.major);
        }
        if tools.major >= 17 {
            let builtin = source(17, "UTF8", "builtin", "C", Some("C.UTF-8"));
            assert!(create_database(&client, &builtin, "builtin").await.unwrap().is_empty());
        }
        let german = connect(&cluster, "Ge\"rman").await;
        assert_eq!(
            value(&german, "SELECT string_agg(x, '' ORDER BY x) FROM unnest('{z,ä,B,a}'::text[]) x").await,
            "aäBz"
        );
        assert_eq!(value(&german, "SELECT 1234.5::money::text").await, "1.234,50 €");

        let unknown = source(tools.major, "UTF8", "libc", "xx_YY.UTF-8", None);
        let notes = create_database(&client, &unknown, "fallback").await.unwrap();
        assert!(notes[0].contains("xx_YY.UTF-8 (libc)") && notes[0].contains("C.UTF-8 (libc) is used"), "{notes:?}");
        // The encoding is kept whatever the locale.
        let latin = source(tools.major, "LATIN1", "libc", "xx_YY", None);
        assert_eq!(create_database(&client, &latin, "latin").await.unwrap().len(), 1);
        let sql = "SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = 'latin'";
        assert_eq!(value(&client, sql).await, "LATIN1");
        // What has nothing to do with locales is no reason for another try.
        assert!(
            create_database(&client, &exact[0].1, "plain").await.unwrap_err().one_line().contains("already exists")
        );
        cluster.stop().await.unwrap();
    }
}

#[test]
fn the_statement_follows_the_major() {
    let icu = |major| create_database_sql(&source(major, "UTF8", "icu", "en_US.UTF-8", Some("de-x'y")), "a\"b");
    assert_eq!(
        icu(15),
        "CREATE DATABASE \"a\"\"b\" TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER 'icu' LC_COLLATE 'en_US.UTF-8' \
         LC_CTYPE 'en_US.UTF-8' ICU_LOCALE 'de-x''y'"
    );
    let libc = create_database_sql(&source(14, "LATIN1", "libc", "C", None), "d");
    assert_eq!(libc, "CREATE DATABASE \"d\" TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
}

/// Started by the test below: a run that will be killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of another test, which starts it by itself"]
async fn hold_a_server() {
    let Some(base) = std::env::var_os("SAVEPOINT_TEST_HOLD").map(PathBuf::from) else { return };
    let tools = installations().pop().unwrap();
    let scratch = Scratch::create(Some(&base)).unwrap();
    let folder = scratch.path().join("x".repeat(100));
    let cluster = Cluster::create(options(&tools, folder)).await.unwrap();
    let client = connect(&cluster, "postgres").await;
    fs::write(base.join("socket"), cluster.target("postgres").host).unwrap();
    fs::rename(base.join("socket"), base.join("ready")).unwrap();
    client.batch_execute("SELECT count(*) FROM generate_series(1, 1e12)").await.unwrap();
}

#[test]
fn what_a_killed_run_leaves_is_swept() {
    let base = tempfile::tempdir().unwrap();
    let mut run = Command::new(std::env::current_exe().unwrap())
        .args(["verify::cluster::hold_a_server", "--exact", "--ignored"])
        .env("SAVEPOINT_TEST_HOLD", base.path())
        .spawn()
        .unwrap();
    let ready = base.path().join("ready");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready.exists() {
        assert!(Instant::now() < deadline && run.try_wait().unwrap().is_none(), "the run did not get ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    let socket = PathBuf::from(fs::read_to_string(&ready).unwrap());
    fs::remove_file(ready).unwrap();
    assert_eq!(Scratch::sweep(Some(base.path())), Vec::<String>::new(), "its owner is alive");
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(processes_in(base.path()).len() > 2, "the server outlives a killed run");
    let lines = Scratch::sweep(Some(base.path()));
    assert!(lines.len() == 1 && lines[0].contains("processes ended"), "{lines:?}");
    assert_eq!(processes_in(base.path()), Vec::<u32>::new());
    assert!(!socket.exists());
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
}
