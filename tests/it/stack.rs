//! The test stack proves itself: the awkward databases load and survive plain pg_dump and pg_restore, and the independent
//! comparison sees what it must see. A failure here is a failure of the tests' own parts.

use crate::support::{MAJORS, Result, compare::compare, pg, proxy, s3, scratch, slack};
use anyhow::{Context, ensure};

/// Dumps `db` by plain pg_dump and restores it into a new database `<db>_copy`.
async fn copy(server: &pg::Server, db: &str, options: &str) -> Result<String> {
    let dir = scratch()?;
    let copied = format!("{db}_copy");
    server.pg_dump(db, &dir.path().join("dump")).await?;
    server.create_db(&copied, options).await?;
    server.pg_restore(&copied, &dir.path().join("dump")).await?;
    Ok(copied)
}

async fn awkward_survives(major: u32) -> Result {
    let server = pg::server(major).await?;
    server.awkward("stack_awkward").await?;
    let copied = copy(server, "stack_awkward", "ENCODING 'UTF8' LOCALE 'C.UTF-8'").await?;
    let found = compare((server, "stack_awkward"), (server, &copied)).await?;
    ensure!(found.is_empty(), "{found:#?}");
    for (db, file, encoding) in [("stack_latin1", "latin1.sql", "LATIN1"), ("stack_ascii", "sqlascii.sql", "SQL_ASCII")]
    {
        let options = format!("ENCODING '{encoding}' LOCALE 'C'");
        server.create_db(db, &options).await?;
        server.psql_file(db, file).await?;
        let copied = copy(server, db, &options).await?;
        let found = compare((server, db), (server, &copied)).await?;
        ensure!(found.is_empty(), "{db}: {found:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn awkward_survives_pg_dump_14() -> Result {
    awkward_survives(14).await
}

#[tokio::test]
async fn awkward_survives_pg_dump_15() -> Result {
    awkward_survives(15).await
}

#[tokio::test]
async fn awkward_survives_pg_dump_16() -> Result {
    awkward_survives(16).await
}

#[tokio::test]
async fn awkward_survives_pg_dump_17() -> Result {
    awkward_survives(17).await
}

#[tokio::test]
async fn awkward_survives_pg_dump_18() -> Result {
    awkward_survives(18).await
}

#[tokio::test]
async fn comparison_sees_each_change() -> Result {
    let server = pg::server(*MAJORS.last().context("majors")?).await?;
    server.awkward("stack_changes").await?;
    let copied = copy(server, "stack_changes", "ENCODING 'UTF8' LOCALE 'C.UTF-8'").await?;
    for (change, undo, named) in [
        ("UPDATE tree SET up = 2 WHERE id = 500", "UPDATE tree SET up = 250 WHERE id = 500", "public.tree"),
        ("SELECT setval('seq_called', 3)", "SELECT setval('seq_called', 2)", "public.seq_called"),
        ("SELECT setval('seq_called', 2, false)", "SELECT setval('seq_called', 2)", "public.seq_called"),
        ("DROP INDEX tree_expression", "CREATE INDEX tree_expression ON tree (add_one(id))", "tree_expression"),
        (
            "ALTER TABLE with_defaults ALTER id SET DEFAULT 7",
            "ALTER TABLE with_defaults ALTER id SET DEFAULT add_one(1)",
            "7",
        ),
        (
            "SELECT lo_put(70002, 5, 'x')",
            "SELECT lo_unlink(70002); SELECT lo_from_bytea(70002, decode(repeat(md5('large'), 20000), 'hex'))",
            "70002",
        ),
        (
            "REVOKE SELECT ON LARGE OBJECT 70004 FROM \"awk reader\"",
            "GRANT SELECT ON LARGE OBJECT 70004 TO \"awk reader\"",
            "70004",
        ),
        ("REFRESH MATERIALIZED VIEW mv_empty", "REFRESH MATERIALIZED VIEW mv_empty WITH NO DATA", "mv_empty"),
        (
            "INSERT INTO by_mood VALUES ('sad', 7)",
            "CREATE TEMP TABLE keep AS SELECT * FROM by_mood WHERE NOT (m = 'sad' AND n = 7); TRUNCATE by_mood; \
             INSERT INTO by_mood SELECT * FROM keep",
            "public.by_mood",
        ),
    ] {
        server.psql(&copied, change).await?;
        let found = compare((server, "stack_changes"), (server, &copied)).await?;
        ensure!(!found.is_empty() && found.iter().any(|f| f.contains(named)), "{change}: {found:#?}");
        server.psql(&copied, undo).await?;
        let found = compare((server, "stack_changes"), (server, &copied)).await?;
        ensure!(found.is_empty(), "{undo}: {found:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn object_store_and_its_tampering_proxy_work() -> Result {
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    s3.put(&bucket, "a/1.dat", b"first object".to_vec()).await?;
    s3.put(&bucket, "a/2.dat", b"second object".to_vec()).await?;
    for (tamper, expected) in [
        (proxy::Tamper::Flip(Some(0)), Some(b"girst object".to_vec())),
        (proxy::Tamper::CutAtFrame, Some(b"first ".to_vec())),
        (proxy::Tamper::Swap, Some(b"second object".to_vec())),
        (proxy::Tamper::Delete, None),
    ] {
        let bad = proxy::TamperingS3::start(s3, &bucket, tamper, |key| key == "a/1.dat").await?;
        let config = s3.client().config().to_builder().endpoint_url(&bad.endpoint).build();
        let client = aws_sdk_s3::Client::from_conf(config);
        let get = async |key: &str| match client.get_object().bucket(&bucket).key(key).send().await {
            Ok(out) => Ok(Some(out.body.collect().await?.to_vec())),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_no_such_key()) => Ok(None),
            Err(e) => Err(anyhow::Error::from(e)),
        };
        ensure!(get("a/1.dat").await? == expected);
        ensure!(get("a/2.dat").await?.as_deref() == Some(b"second object"), "the other object went through");
        let put = client.put_object().bucket(&bucket).key("a/3.dat").body(vec![7; 9_000_000].into());
        put.send().await.context("put through the proxy")?;
        ensure!(s3.get(&bucket, "a/3.dat").await?.len() == 9_000_000);
        ensure!(bad.served() == ["a/1.dat"]);
    }
    ensure!(s3.list(&bucket).await?.iter().map(|o| o.key.as_str()).eq(["a/1.dat", "a/2.dat", "a/3.dat"]));
    Ok(())
}

#[tokio::test]
async fn proxy_cuts_where_it_is_told() -> Result {
    let server = pg::server(17).await?;
    let rule = proxy::Rule { connection: Some(1), after: 1_000_000, action: proxy::Action::Cut };
    let proxy = proxy::Proxy::start(server.port, vec![rule]).await?;
    let url = server.url_at(proxy.port, "postgres", "postgres");
    let sql = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 5000)) TO STDOUT";
    ensure!(pg::psql(&server.bin, &url, sql).await?.len() == 5_005_000);
    ensure!(pg::psql(&server.bin, &url, sql).await.is_err());
    ensure!(pg::psql(&server.bin, &url, sql).await.is_ok());
    ensure!((proxy.fired(), proxy.connections()) == (1, 3));
    proxy.cut_all();
    ensure!(pg::psql(&server.bin, &url, "SELECT 1").await.is_err());
    Ok(())
}

#[tokio::test]
async fn slack_answers_as_scripted() -> Result {
    let slack = slack::Slack::start([(429, Some(1)), (500, None)]).await?;
    let client = reqwest::Client::new();
    let mut seen = Vec::new();
    for n in 0..3 {
        seen.push(client.post(slack.url()).body(format!("body {n}")).send().await?.status().as_u16());
    }
    ensure!(seen == [429, 500, 200]);
    ensure!(slack.bodies() == ["body 0", "body 1", "body 2"]);
    Ok(())
}

/// A server must not outlive the test process, however that ends.
#[tokio::test]
async fn servers_end_with_their_owner() -> Result {
    let mut server = pg::Server::start(16, "").await?;
    let dir = server.dir.clone();
    ensure!(server.is_running() && dir.exists());
    server.stop();
    ensure!(!server.is_running() && !dir.exists());
    Ok(())
}
