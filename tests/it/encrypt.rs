//! Encrypted backups: what lies in the store opens with the real age to the standard archive, is proven without anybody's private key,
//! and comes back by an identity only.

use crate::support::{
    Result,
    compare::compare,
    find,
    keys::{Key, age_key, ssh_key, tool},
    pg::{self, Server},
    run::Savepoint,
    s3, scratch, sealed,
};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Stands in a row, and would be found in what is stored if it were not encrypted.
const MARKER: &str = "plaintext-marker-of-a-row";

/// A table of several parts and many frames, small tables enough to be packed, large objects, an empty table, and what pg_dump writes.
const TABLES: &str = "CREATE TABLE big (id serial PRIMARY KEY, note text NOT NULL);
    INSERT INTO big (note) SELECT md5(g::text) || md5((g * 7)::text) FROM generate_series(1, 300000) g;
    CREATE TABLE marked (note text); INSERT INTO marked SELECT 'plaintext-marker-of-a-row ' || g FROM generate_series(1, 9000) g;
    CREATE TABLE empty_one (a int);
    CREATE SEQUENCE counted START 77; SELECT nextval('counted');
    CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM marked;
    SELECT lo_from_bytea(0, decode(repeat(md5(g::text), 4000), 'hex')) FROM generate_series(1, 5) g;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;";

const SMALL_TABLES: &str = "DO $$ BEGIN FOR n IN 1..120 LOOP
    EXECUTE format('CREATE TABLE small_%s AS SELECT g AS id, ''plaintext-marker-of-a-row'' AS note FROM generate_series(1, 5) g', n);
    END LOOP; END $$";

/// Opens every file of an archive by the real age, into a folder.
fn opened(archive: &Path, key: &Key, into: &Path) -> Result {
    fs::create_dir_all(into)?;
    for entry in fs::read_dir(archive)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).context("a name")?.to_owned();
        let bare = name.strip_suffix(".age").with_context(|| format!("{name} is not encrypted"))?;
        let to = into.join(bare).display().to_string();
        tool("age", &["-d", "-i", &key.path(), "-o", &to, &path.display().to_string()])?;
    }
    Ok(())
}

fn manifest(store: &Path) -> Result<(PathBuf, Value)> {
    let path = find(store, "manifest.json")?;
    let manifest = serde_json::from_slice(&fs::read(&path)?)?;
    Ok((path, manifest))
}

async fn source(server: &Server, db: &str, more: &str) -> Result {
    server.create_db(db, "").await?;
    server.psql(db, &format!("{TABLES} {more}")).await?;
    Ok(())
}

fn verb(name: &str, server: &Server) -> Result<Savepoint> {
    Savepoint::new([name, "--pg-bin-dir", &server.bin.display().to_string(), "--jobs", "3"])
}

async fn opens_with_age(major: u32, more: &str, options: &[&str]) -> Result {
    let (server, keys, s3) = (Server::start(major, "").await?, scratch()?, s3::s3().await?);
    let db = "it encrypted";
    source(&server, db, more).await?;
    let (mine, ssh) = (age_key(keys.path(), "mine.txt")?, ssh_key(keys.path(), "ssh", &["-t", "ed25519"])?);
    let list = keys.path().join("recipients.txt");
    fs::write(&list, format!("# who opens it\n{}\n", ssh.public))?;
    let bucket = s3.bucket().await?;
    let backup = Savepoint::backup(&server.url(db), &server.bin)?.to_s3(&s3.endpoint, &bucket, "enc").args([
        "--encrypt-to",
        &mine.public,
        "--encrypt-to",
        &list.display().to_string(),
    ]);
    let ended = backup.args(options.to_vec()).run().await?.expect(0)?;
    ended.left_nothing()?;

    let there = scratch()?;
    s3.download(&bucket, "enc/", there.path()).await?;
    let (path, manifest) = manifest(there.path())?;
    ensure!(manifest["format"] == 3, "{}", manifest["format"]);
    ensure!(manifest["encryption"]["recipients"][0] == mine.public.as_str(), "{}", manifest["encryption"]);
    let folder = path.parent().context("a folder")?;
    for file in manifest["files"].as_array().context("files")? {
        let stored = fs::read(folder.join(file["path"].as_str().context("path")?))?;
        ensure!(stored.starts_with(b"age-encryption.org/v1\n"), "{file}");
        ensure!(!stored.windows(MARKER.len()).any(|w| w == MARKER.as_bytes()), "{file} holds a row");
        ensure!(file["sha256"] == hex::encode(Sha256::digest(&stored)).as_str(), "{file}");
    }
    for key in [&mine, &ssh] {
        let plain = scratch()?;
        let archive = plain.path().join("archive");
        opened(&folder.join("archive"), key, &archive)?;
        for file in manifest["files"].as_array().context("files")? {
            let name = file["path"].as_str().context("path")?.trim_end_matches(".age");
            let Some(name) = name.strip_prefix("archive/") else { continue };
            let bytes = fs::read(archive.join(name))?;
            ensure!(file["plain"]["size"] == bytes.len(), "{file}");
            ensure!(file["plain"]["sha256"] == hex::encode(Sha256::digest(&bytes)).as_str(), "{file}");
        }
        let copy = format!("{db} {}", key.public.len());
        server.create_db(&copy, "").await?;
        server.pg_restore(&copy, &archive).await?;
        let found = compare((&server, db), (&server, &copy)).await?;
        ensure!(found.is_empty(), "{found:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_stored_opens_with_age_17() -> Result {
    opens_with_age(17, SMALL_TABLES, &["--compression", "none"]).await
}

#[tokio::test]
async fn what_is_stored_opens_with_age_14() -> Result {
    opens_with_age(14, "", &[]).await
}

#[tokio::test]
async fn a_single_connection_encrypts_as_well() -> Result {
    let (server, keys) = (Server::start(17, "").await?, scratch()?);
    source(&server, "app", "CREATE ROLE few LOGIN BYPASSRLS CONNECTION LIMIT 1; GRANT postgres TO few").await?;
    let (store, mine) = (scratch()?, age_key(keys.path(), "mine.txt")?);
    let url = server.url_at(server.port, "few", "app");
    let backup = Savepoint::backup(&url, &server.bin)?.to_folder(store.path()).args(["--encrypt-to", &mine.public]);
    backup.run().await?.expect(0)?;
    let plain = scratch()?;
    opened(&find(store.path(), "archive")?, &mine, &plain.path().join("archive"))?;
    server.create_db("copy", "").await?;
    server.pg_restore("copy", &plain.path().join("archive")).await?;
    let found = compare((&server, "app"), (&server, "copy")).await?;
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

#[tokio::test]
async fn an_identity_restores_verifies_and_compares() -> Result {
    let (server, keys, store) = (Server::start(17, "").await?, scratch()?, scratch()?);
    source(&server, "app", SMALL_TABLES).await?;
    let mine = age_key(keys.path(), "mine.txt")?;
    let ssh = ssh_key(keys.path(), "ssh", &["-t", "ed25519"])?;
    let rsa = ssh_key(keys.path(), "rsa", &["-t", "rsa", "-b", "2048"])?;
    let other = age_key(keys.path(), "other.txt")?;
    let to = format!("{}\n{}\n{}", mine.public, ssh.public, rsa.public);
    let backup = || Ok::<_, anyhow::Error>(Savepoint::backup(&server.url("app"), &server.bin)?.to_folder(store.path()));
    backup()?.args(["--encrypt-to", &to]).run().await?.expect(0)?;

    for (n, key) in [&mine, &ssh, &rsa].into_iter().enumerate() {
        let copy = format!("copy{n}");
        let restore = verb("restore", &server)?.to_folder(store.path()).env("SAVEPOINT_TO", &server.url("app"));
        let restore = restore.args(["latest", "--create", &copy]);
        // The key itself comes by the variable only.
        let restore = match n {
            0 => restore.env("SAVEPOINT_IDENTITY", &fs::read_to_string(&key.file)?),
            _ => restore.args(["--identity", &key.path()]),
        };
        let ended = restore.run().await?.expect(0)?;
        ensure!(!ended.output().contains("AGE-SECRET-KEY"), "{}", ended.output());
        let found = compare((&server, "app"), (&server, &copy)).await?;
        ensure!(found.is_empty(), "{found:#?}");
    }
    let verify = |more: &[&str]| {
        let verify = verb("verify", &server)?.to_folder(store.path()).args(["latest", "--database", "app"]);
        Ok::<_, anyhow::Error>(verify.args(more.to_vec()))
    };
    // Without a key the bytes alone can be checked, and that is said.
    let ended = verify(&["--verify", "archive"])?.run().await?.expect(0)?;
    ensure!(ended.stdout.contains("no identity was given"), "{}", ended.output());
    verify(&["--identity", &ssh.path()])?.run().await?.expect(0)?.left_nothing()?;
    verify(&[])?.run().await?.refused(1, &["is encrypted, and no identity was given", "--identity"])?;
    verify(&["--identity", &other.path()])?.run().await?.refused(1, &["the identity does not open it"])?;
    for more in [&[][..], &["--identity", &other.path()]] {
        let restore = verb("restore", &server)?.to_folder(store.path()).env("SAVEPOINT_TO", &server.url("app"));
        let said = if more.is_empty() { "no identity was given" } else { "the identity does not open it" };
        restore.args(["latest", "--create", "never"]).args(more.to_vec()).run().await?.refused(1, &[said])?;
    }
    let databases = server.psql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'never'").await?;
    ensure!(databases == "0", "the server was touched");

    server.psql("app", "ALTER TABLE marked ADD COLUMN more int").await?;
    backup()?.args(["--encrypt-to", &to]).run().await?.expect(0)?;
    let diff = || {
        Ok::<_, anyhow::Error>(
            Savepoint::new(["diff", "oldest", "latest", "--database", "app"])?.to_folder(store.path()),
        )
    };
    let ended = diff()?.args(["--identity", &mine.path()]).run().await?.expect(0)?;
    ensure!(ended.stdout.contains("entry differs") || ended.stdout.contains("entries differ"), "{}", ended.output());
    let ended = diff()?.run().await?.expect(0)?;
    ensure!(ended.output().contains("no identity was given"), "{}", ended.output());
    let show =
        Savepoint::new(["show", "latest", "--database", "app"])?.to_folder(store.path()).run().await?.expect(0)?;
    ensure!(show.stdout.contains(&mine.public) && show.stdout.contains("age -d"), "{}", show.output());

    // What stands in the place of what was secret is secret as well.
    let clean = verb("restore", &server)?.to_folder(store.path()).env("SAVEPOINT_TO", &server.url("copy0"));
    let clean =
        clean.args(["oldest", "--database", "app", "--clean", "--confirm", "copy0", "--identity", &mine.path()]);
    clean.run().await?.expect(0)?;
    let safety: Value = serde_json::from_slice(&fs::read(find(&store.path().join("copy0"), "manifest.json")?)?)?;
    ensure!(safety["kind"] == "pre-restore" && safety["encryption"]["recipients"] == json!([mine.public]), "{safety}");
    Ok(())
}

/// A backup into a folder whose stored files are then damaged by `harm`, each in turn: no verb takes it for whole, none touches a target.
#[tokio::test]
async fn every_damage_is_found() -> Result {
    let (server, keys, store) = (Server::start(17, "").await?, scratch()?, scratch()?);
    source(&server, "app", "").await?;
    let mine = age_key(keys.path(), "mine.txt")?;
    let backup = Savepoint::backup(&server.url("app"), &server.bin)?.to_folder(store.path());
    backup.args(["--encrypt-to", &mine.public]).run().await?.expect(0)?;
    let (path, whole) = manifest(store.path())?;
    let folder = path.parent().context("a folder")?.to_owned();
    let table = |name: &str| {
        let tables = whole["tables"].as_array().context("tables")?;
        let table = tables.iter().find(|t| t["name"] == name).context("is there")?;
        Ok::<_, anyhow::Error>(table["file"].as_str().context("a file")?.to_owned())
    };
    let (big, marked) = (table("big")?, table("marked")?);
    ensure!(big.ends_with(".zst.age"), "{big}");
    let (big_bytes, marked_bytes) = (fs::read(folder.join(&big))?, fs::read(folder.join(&marked))?);
    ensure!(big_bytes.len() > 9 << 20, "{} bytes are one part", big_bytes.len());

    type Harm<'a> = (&'a str, Vec<(&'a str, Vec<u8>)>);
    let flipped = |at: usize| {
        let mut bytes = big_bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    let chunk = |n: usize| 65_552 * n + 1000;
    let mut moved = big_bytes.clone();
    moved.copy_within(chunk(3)..chunk(4), chunk(8));
    let harms: Vec<Harm<'_>> = vec![
        ("a byte of the header", vec![(&big, flipped(150))]),
        ("a byte in the middle", vec![(&big, flipped(chunk(50)))]),
        ("the last byte", vec![(&big, flipped(big_bytes.len() - 1))]),
        ("a chunk in another's place", vec![(&big, moved)]),
        ("two files in each other's place", vec![(&big, marked_bytes.clone()), (&marked, big_bytes.clone())]),
        ("cut off", vec![(&big, big_bytes[..big_bytes.len() - 70_000].to_vec())]),
        ("empty", vec![(&marked, Vec::new())]),
    ];
    for (what, files) in &harms {
        // As it lies there, and with a manifest that somebody made fit to it.
        for fitted in [false, true] {
            let mut manifest = whole.clone();
            for (name, bytes) in files {
                fs::write(folder.join(name), bytes)?;
                let listed = manifest["files"].as_array_mut().context("files")?;
                let file = listed.iter_mut().find(|f| f["path"] == *name).context("is listed")?;
                (file["size"], file["sha256"]) = (json!(bytes.len()), json!(hex::encode(Sha256::digest(bytes))));
            }
            fs::write(&path, if fitted { sealed(&manifest)? } else { sealed(&whole)? })?;
            let verify = verb("verify", &server)?.to_folder(store.path()).args(["latest", "--identity", &mine.path()]);
            let ended = verify.run().await?;
            ensure!(ended.code == Some(3), "{what}, fitted {fitted}: {:?}\n{}", ended.code, ended.output());
            ensure!(ended.output().contains("archive/t"), "{what}: {}", ended.output());
            let restore = verb("restore", &server)?.to_folder(store.path()).env("SAVEPOINT_TO", &server.url("app"));
            let restore = restore.args(["latest", "--create", "never", "--force-unproven", "--identity", &mine.path()]);
            let ended = restore.run().await?;
            ensure!(ended.code == Some(1), "{what}, fitted {fitted}: {:?}\n{}", ended.code, ended.output());
            ensure!(ended.output().contains("the target was not touched"), "{what}: {}", ended.output());
        }
        fs::write(folder.join(&big), &big_bytes)?;
        fs::write(folder.join(&marked), &marked_bytes)?;
        fs::write(&path, sealed(&whole)?)?;
    }
    let verify = verb("verify", &server)?.to_folder(store.path()).args(["latest", "--identity", &mine.path()]);
    verify.run().await?.expect(0)?;
    Ok(())
}

#[tokio::test]
async fn keys_are_checked_before_anything_is_taken() -> Result {
    let (server, keys, store) = (pg::server(17).await?, scratch()?, scratch()?);
    server.create_db("it_keys", "").await?;
    server.psql("it_keys", "CREATE TABLE t AS SELECT 1 AS a").await?;
    let (mine, ssh) = (age_key(keys.path(), "mine.txt")?, ssh_key(keys.path(), "ssh", &["-t", "ed25519"])?);
    let check = verb("check", server)?.env("SAVEPOINT_DATABASE_URL", &server.url("it_keys")).to_folder(store.path());
    let ended = check.args(["--encrypt-to", &mine.public, "--encrypt-to", &ssh.public]).run().await?.expect(0)?;
    ensure!(ended.output().contains("to 1 age, 1 ssh-ed25519"), "{}", ended.output());
    let backup = || {
        let backup = Savepoint::backup(&server.url("it_keys"), &server.bin)?.to_folder(store.path());
        Ok::<_, anyhow::Error>(backup)
    };
    backup()?.args(["--encrypt-to", "age1nobody"]).run().await?.refused(2, &["encrypt-to"])?;
    let secret = fs::read_to_string(&mine.file)?;
    let secret = secret.lines().last().context("a key")?.to_owned();
    for args in [["restore", "--identity", &secret], ["verify", "--identity", &secret]] {
        let ended = Savepoint::new(args)?.to_folder(store.path()).run().await?;
        ensure!(!ended.output().contains(&secret[16..]), "the key is shown");
        ended.refused(2, &["private key on the command line"])?;
    }
    let ended = backup()?.args(["--encrypt-to", &secret]).run().await?;
    ensure!(!ended.output().contains(&secret[16..]), "the key is shown");
    ended.refused(2, &["that is a private key"])?;
    ensure!(find(store.path(), "manifest.json").is_err(), "something was stored");
    Ok(())
}

/// All that lies below a folder.
fn all_bytes(dir: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) -> Result {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => all_bytes(&path, into)?,
            false => into.push((path.clone(), fs::read(&path)?)),
        }
    }
    Ok(())
}

#[tokio::test]
async fn names_are_hidden_as_well() -> Result {
    let (server, keys, store) = (Server::start(17, "").await?, scratch()?, scratch()?);
    let secrets = ["hidden_table", "hidden_column", "hidden_role", "hidden_schema", "hidden_filter", MARKER];
    let sql = "CREATE ROLE hidden_role; CREATE SCHEMA hidden_schema AUTHORIZATION hidden_role; CREATE TABLE hidden_filter (a int);
        CREATE TABLE hidden_schema.hidden_table (hidden_column text, id serial); ALTER TABLE hidden_schema.hidden_table OWNER TO hidden_role;
        INSERT INTO hidden_schema.hidden_table SELECT 'plaintext-marker-of-a-row' FROM generate_series(1, 200);";
    source(&server, "app", sql).await?;
    let mine = age_key(keys.path(), "mine.txt")?;
    let backup = || {
        let backup = Savepoint::backup(&server.url("app"), &server.bin)?.to_folder(store.path());
        let args = ["--encrypt-to", &mine.public, "--encrypt-manifest", "--compression", "none"];
        Ok::<_, anyhow::Error>(backup.args(args).args(["--exclude-tables", "hidden_filter"]))
    };
    backup()?.run().await?.expect(0)?;
    // The one before cannot be read here, and that is said.
    let ended = backup()?.run().await?.expect(0)?;
    ensure!(ended.stderr.contains("what is in it is encrypted"), "{}", ended.output());
    let mut stored = Vec::new();
    all_bytes(store.path(), &mut stored)?;
    for (path, bytes) in &stored {
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            ensure!(!found, "{} holds {secret}", path.display());
        }
    }

    let plain = |name: &str, args: &[&str]| {
        let run = Savepoint::new([name])?.to_folder(store.path()).args(["--database", "app"]);
        Ok::<_, anyhow::Error>(run.args(args.to_vec()))
    };
    let list = plain("list", &["--json"])?.run().await?.expect(0)?.json()?;
    ensure!(list["backups"][0]["rows"].as_u64() > Some(300_000), "{list}");
    let ended = plain("list", &[])?.run().await?.expect(0)?;
    ensure!(ended.stdout.contains("passed") && !ended.output().contains("missing"), "{}", ended.output());
    let show = plain("show", &["latest"])?.run().await?.expect(0)?;
    ensure!(show.stdout.contains("whole.json.age"), "{}", show.output());
    plain("prune", &["--keep-last", "1", "--min-keep", "1", "--dry-run"])?.run().await?.expect(0)?;
    let ended = verb("verify", &server)?.to_folder(store.path()).args(["oldest", "--verify", "archive"]).run().await?;
    ended.expect(0)?.left_nothing()?;
    plain("diff", &["oldest", "latest"])?.run().await?.refused(1, &["no identity was given"])?;
    let identity = ["--identity", &mine.path()].map(str::to_owned);
    let ended = plain("diff", &["oldest", "latest"])?.args(identity.clone()).run().await?.expect(0)?;
    ensure!(ended.stdout.contains("equal tables, equal schema"), "{}", ended.output());

    let restore = verb("restore", &server)?.to_folder(store.path()).env("SAVEPOINT_TO", &server.url("app"));
    restore.args(["latest", "--create", "copy"]).args(identity.clone()).run().await?.expect(0)?;
    let rows = server.psql("copy", "SELECT count(hidden_column) FROM hidden_schema.hidden_table").await?;
    ensure!(rows == "200", "{rows} rows");
    let verify = || {
        Ok::<_, anyhow::Error>(verb("verify", &server)?.to_folder(store.path()).args(["latest"]).args(identity.clone()))
    };
    verify()?.run().await?.expect(0)?;

    // The readable part is bound to the other one: neither can be changed, nor be another backup's.
    let shown: Vec<&(PathBuf, Vec<u8>)> = stored.iter().filter(|(path, _)| path.ends_with("manifest.json")).collect();
    let (path, whole) = shown.iter().max_by_key(|(path, _)| path.clone()).context("is there")?;
    let mut manifest: Value = serde_json::from_slice(whole)?;
    manifest["totals"]["rows"] = json!(1);
    fs::write(path, sealed(&manifest)?)?;
    let ended = verify()?.run().await?.expect(3)?;
    ensure!(ended.output().contains("manifest.json is not the part of it that it shows"), "{}", ended.output());
    fs::write(path, whole)?;
    verify()?.run().await?.expect(0)?;
    Ok(())
}
