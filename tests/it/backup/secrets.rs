//! Secrets that lie inside a database: they are named, and left out where that is asked for.

use crate::support::{Result, find, pg, run::Savepoint, scratch};
use anyhow::{Context, ensure};
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

const MAPPED: &str = "MarkedOfTheMapping";
const SUBSCRIBED: &str = "MarkedOfTheSubscription";

/// Every file below a folder: its name and its bytes, decompressed, the members of packs with it.
fn content(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(content(&path)?);
            continue;
        }
        let bytes = fs::read(&path)?;
        let bytes = match path.extension().and_then(|e| e.to_str()) {
            Some("zst") => zstd::decode_all(&bytes[..])?,
            Some("gz") => {
                let mut plain = Vec::new();
                flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain)?;
                plain
            }
            _ => bytes,
        };
        found.push((path, bytes));
    }
    Ok(found)
}

/// The files that hold a text.
fn holders(dir: &Path, text: &str) -> Result<Vec<PathBuf>> {
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    Ok(content(dir)?.into_iter().filter(|(_, bytes)| holds(bytes)).map(|(path, _)| path).collect())
}

async fn secrets(major: u32) -> Result {
    let server = pg::server(major).await?;
    let db = "it_inner_secrets";
    server.create_db(db, "").await?;
    let sql = format!(
        "CREATE ROLE it_mapped LOGIN PASSWORD 'MarkedOfTheRole'; CREATE TABLE t AS SELECT generate_series(1, 100) AS id;
        CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'far.test');
        CREATE USER MAPPING FOR it_mapped SERVER far OPTIONS (user 'x', password '{MAPPED}');
        CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'guest', password_required 'false');
        CREATE FOREIGN TABLE there (id int) SERVER far;
        CREATE SUBSCRIPTION it_inner_sub CONNECTION 'host=far.test user=x password={SUBSCRIBED}' PUBLICATION p
          WITH (connect = false, slot_name = NONE)"
    );
    server.psql(db, &sql).await?;
    let url = server.url(db);
    let take = async |store: &Path, args: &[&str]| {
        let run = Savepoint::backup(&url, &server.bin)?.to_folder(store).args(args.to_vec());
        run.args(["--json"]).run().await?.expect(0)
    };
    let copy = async |store: &Path, name: &str| {
        let restore = ["restore", "latest", "--create", name, "--pg-bin-dir", &server.bin.display().to_string()];
        let ended = Savepoint::new(restore)?.to_folder(store).env("SAVEPOINT_TO", &url).run().await?.expect(0)?;
        ensure!(!ended.output().contains("mapping"), "{}", ended.output());
        server
            .psql(
                name,
                "SELECT usename, split_part(o, 'user=', 2), split_part(p, 'password=', 2) FROM pg_user_mappings m, unnest(m.umoptions) o, unnest(m.umoptions) p
                WHERE o LIKE 'user=%' AND p LIKE 'password=%' ORDER BY 1",
            )
            .await
    };

    // They are named, which is no warning, and restored.
    let store = scratch()?;
    let ended = take(store.path(), &[]).await?;
    let json = ended.json()?;
    let notices = json["notices"].to_string();
    for line in [
        "secrets of user mappings: it_mapped on far (no-user-mappings",
        "passwords of subscriptions: it_inner_sub (no-subscriptions",
    ] {
        ensure!(notices.matches(line).count() == 1, "the report does not say {line:?} once\n{notices}");
    }
    ensure!(json["warnings"] == serde_json::json!([]), "{json:#}");
    for secret in [MAPPED, SUBSCRIBED] {
        ensure!(
            holders(store.path(), secret)? == [find(store.path(), "toc.dat")?],
            "{secret} is where it is looked for"
        );
        ensure!(!ended.output().contains(secret), "a secret was printed");
    }
    let mapped = copy(store.path(), "it_inner_copy").await?;
    ensure!(mapped == format!("it_mapped|x|{MAPPED}"), "{mapped}");
    let check = Savepoint::new(["check", "--pg-bin-dir", &server.bin.display().to_string()])?.to_folder(store.path());
    let check = check.env("SAVEPOINT_DATABASE_URL", &url).run().await?.expect(0)?;
    ensure!(check.stdout.contains("ok    secrets"), "{}", check.output());

    // They are nowhere, and the proof holds: the stored archive does not have them.
    let (part, without) = (scratch()?, ["--no-user-mappings", "--no-subscriptions"]);
    let json = take(part.path(), &without).await?.json()?;
    ensure!(!json["notices"].to_string().contains("secrets: "), "{json:#}");
    for secret in [MAPPED, SUBSCRIBED] {
        ensure!(holders(part.path(), secret)?.is_empty(), "{:?}", holders(part.path(), secret)?);
    }
    let left_out = json["backup"]["left_out"].to_string();
    ensure!(
        left_out.contains("it_mapped on far")
            && left_out.contains("left out by no-user-mappings")
            && left_out.contains("subscriptions (it_inner_sub): left out by no-subscriptions"),
        "{left_out}"
    );
    ensure!(copy(part.path(), "it_inner_part").await?.is_empty(), "a mapping was restored");
    let verify = Savepoint::new(["verify", "latest", "--pg-bin-dir", &server.bin.display().to_string()])?;
    verify.to_folder(part.path()).run().await?.expect(0)?;

    // Nobody's password stands in globals.sql.
    for dir in [store.path(), part.path()] {
        let globals = fs::read_to_string(find(dir, "globals.sql")?).context("the roles")?;
        ensure!(globals.contains("it_mapped"), "{globals}");
        for hash in ["SCRAM-SHA-256", "PASSWORD '"] {
            ensure!(holders(dir, hash)?.is_empty(), "{hash} in {:?}", holders(dir, hash)?);
        }
    }
    Ok(())
}

#[tokio::test]
async fn secrets_of_the_database_14() -> Result {
    secrets(14).await
}

#[tokio::test]
async fn secrets_of_the_database_18() -> Result {
    secrets(18).await
}
