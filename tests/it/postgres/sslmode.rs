//! Every `sslmode` against every kind of server: the real psql of the test stack is given the very same URL, and we come as far as it does.

use super::tls::Server;
use crate::support::{
    Result,
    tls::{Behind, Terminator},
};
use anyhow::{Context, ensure};
use futures_util::{StreamExt, stream};
use savepoint::postgres::{connect::connect, conninfo::parse};

const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// How far a client came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    Refused,
    Plain,
    Tls,
}

const IS_TLS: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

async fn psql(server: &Server, url: &str, env: Option<(&str, &str)>) -> Result<Came> {
    let mut psql = tokio::process::Command::from(server.program("psql"));
    psql.args(["-X", "-A", "-t", "-w", "-c", IS_TLS, "-d", url]).envs(env).kill_on_drop(true);
    let out = psql.output().await?;
    Ok(match (out.status.success(), out.stdout.as_slice()) {
        (true, b"t\n") => Came::Tls,
        (true, b"f\n") => Came::Plain,
        (true, other) => anyhow::bail!("psql says {other:?}"),
        (false, _) => Came::Refused,
    })
}

async fn ours(url: &str, env: Option<(&str, &str)>) -> Result<(Came, String)> {
    let look_up = |name: &str| env.filter(|(n, _)| *n == name).map(|(_, value)| value.to_owned());
    let target = match parse(url, &look_up) {
        Ok((target, _)) => target,
        Err(e) => return Ok((Came::Refused, format!("{e:?}"))),
    };
    Ok(match connect(&target, "savepoint-test").await {
        Ok(session) => match session.query_one(IS_TLS, &[]).await?.get(0) {
            true => (Came::Tls, String::new()),
            false => (Came::Plain, String::new()),
        },
        Err(e) => (Came::Refused, format!("{e:?}")),
    })
}

/// Tries each, and fails with all that differ. Returns how often each outcome came, so that a test knows that it saw what it is about.
async fn same(server: &Server, cases: Vec<String>, env: Option<(&str, &str)>) -> Result<[usize; 3]> {
    let tried = stream::iter(cases).map(|url| async move {
        let (libpq, (own, why)) =
            tokio::try_join!(psql(server, &url, env), ours(&url, env)).with_context(|| url.clone())?;
        ensure!(!why.contains("Hunter2Mark"), "{why}");
        Ok::<_, anyhow::Error>((url, libpq, own, why))
    });
    let mut tried = tried.buffer_unordered(4);
    let (mut seen, mut wrong) = ([0; 3], Vec::new());
    while let Some(case) = tried.next().await {
        let (url, libpq, own, why) = case?;
        seen[libpq as usize] += 1;
        if libpq != own {
            wrong.push(format!("{url}: psql {libpq:?}, we {own:?} {why}"));
        }
    }
    ensure!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(seen)
}

/// A URL for each mode, database, host and set of parameters.
fn urls(server: &Server, databases: &[&str], hosts: &[&str], parameters: &[&str]) -> Vec<String> {
    let mut urls = Vec::new();
    for mode in MODES {
        for db in databases {
            for host in hosts {
                urls.extend(parameters.iter().map(|p| server.url_of(db, host, &format!("sslmode={mode}&{p}"))));
            }
        }
    }
    urls
}

const ROOTS: [&str; 4] = ["", "sslrootcert=DIR/ca.crt", "sslrootcert=DIR/other.crt", "sslrootcert=DIR/absent.crt"];

async fn server() -> Result<Server> {
    let server = tokio::task::spawn_blocking(Server::start).await?;
    let session = connect(&server.target("db.test", "sslmode=require"), "savepoint-test").await?;
    for db in ["both", "unencrypted", "certs", "trusted"] {
        session.batch_execute(&format!("CREATE DATABASE \"{db}\"")).await?;
    }
    Ok(server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_comes_as_far_as_libpq() -> Result {
    let server = server().await?;
    let s = &server;
    // Own CA, right and wrong host; servers that take TLS alone, both, or no TLS.
    let mut cases = urls(s, &["postgres", "both"], &["db.test", "wrong.test"], &ROOTS);
    cases.extend(urls(s, &["unencrypted"], &["db.test"], &ROOTS[..2]));
    let seen = same(s, cases, None).await?;
    ensure!(seen.iter().all(|n| *n > 5), "{seen:?}");
    // The machine's own roots, which are weak with any other mode than verify-full.
    let system = ["sslrootcert=system"];
    same(s, urls(s, &["both"], &["db.test"], &system), None).await?;
    let roots = s.dir().join("ca.crt").display().to_string();
    let seen = same(s, urls(s, &["both"], &["db.test"], &system), Some(("SSL_CERT_FILE", &roots))).await?;
    ensure!(seen[Came::Tls as usize] == 1, "{seen:?}");
    // Certificates of the client.
    let certificates = [
        "",
        "sslcert=DIR/client.crt&sslkey=DIR/client.key",
        "sslcert=DIR/stranger.crt&sslkey=DIR/stranger.key",
        "sslcert=DIR/client.crt&sslkey=DIR/loose.key",
        "sslcert=DIR/client.crt&sslkey=DIR/stranger.key",
        "sslcert=DIR/client.crt&sslkey=DIR/absent.key",
        "sslcert=DIR/client.crt",
        "sslcert=DIR/absent.crt&sslkey=DIR/client.key",
    ];
    let with_roots = certificates.map(|c| format!("sslrootcert=DIR/ca.crt&{c}"));
    let with_roots: Vec<&str> = with_roots.iter().map(String::as_str).collect();
    let seen = same(s, urls(s, &["certs", "both"], &["db.test"], &with_roots), None).await?;
    ensure!(seen.iter().all(|n| *n > 3), "{seen:?}");
    // Channel binding: SCRAM over TLS and without, and a server that asks for no password.
    let binding = ["channel_binding=require", "channel_binding=prefer", "channel_binding=disable"];
    let seen = same(s, urls(s, &["both", "unencrypted", "trusted"], &["any.test"], &binding), None).await?;
    ensure!(seen.iter().all(|n| *n > 3), "{seen:?}");
    for (certificate, roots) in [
        ("old", vec!["", "sslrootcert=DIR/ca.crt"]),
        ("own", vec!["", "sslrootcert=DIR/ca.crt", "sslrootcert=DIR/own.crt"]),
        ("", vec!["", "sslrootcert=DIR/ca.crt"]),
    ] {
        s.restart_with(certificate);
        let seen = same(s, urls(s, &["postgres", "both"], &["db.test"], &roots), None).await?;
        ensure!(seen[Came::Refused as usize] > 3 && seen[Came::Plain as usize] > 1, "{certificate}: {seen:?}");
    }
    Ok(())
}

/// Somebody in between who has a certificate of his own: whoever does not check it is protected by channel binding, which is used wherever
/// the server offers it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channel_binding_is_used_when_it_is_offered() -> Result {
    let server = server().await?;
    let at = server.dir();
    let between = Terminator::start(&at.join("own.crt"), &at.join("own.key"), Behind::Postgres(server.port())).await?;
    let to = |parameters: &str| {
        let url = server.url("db.test", parameters);
        url.replace(&format!(":{}/", server.port()), &format!(":{}/", between.port))
    };
    let cases = ["", "&channel_binding=prefer", "&channel_binding=require", "&channel_binding=disable"];
    let cases: Vec<String> = cases.iter().map(|p| to(&format!("sslmode=require{p}"))).collect();
    let seen = same(&server, cases, None).await?;
    ensure!(seen == [3, 0, 1], "{seen:?}");
    let (_, why) = ours(&to("sslmode=require"), None).await?;
    ensure!(why.contains("channel binding"), "{why}");
    Ok(())
}

/// What is wrong with a client's key is said, with the cure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_libpq_refuses_is_named() -> Result {
    let server = server().await?;
    for (key, said) in [
        ("loose", "others than its owner can read it"),
        ("absent", "absent.key cannot be read"),
        ("stranger", "does not go with sslkey"),
    ] {
        let url = server.url("db.test", &format!("sslmode=require&sslcert=DIR/client.crt&sslkey=DIR/{key}.key"));
        let (came, why) = ours(&url, None).await?;
        ensure!(came == Came::Refused && why.contains(said), "{key}: {why}");
    }
    Ok(())
}
