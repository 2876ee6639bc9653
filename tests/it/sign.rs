//! Signed backups: the tools that everybody has accept the signatures, and whatever somebody puts in the place of what was signed is found.

use crate::support::{
    Result, copy,
    faulty::{Fault, FaultyS3, Op, When},
    find,
    keys::{Key, minisign_key, ssh_key, tool},
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
    process::{Command, Stdio},
};

const MAJOR: u32 = 17;

fn ed25519(dir: &Path, name: &str) -> Result<Key> {
    ssh_key(dir, name, &["-t", "ed25519"])
}

/// Whether ssh-keygen accepts the signature of a file by this key, as the documentation says.
fn ssh_accepts(key: &Key, file: &Path) -> Result<bool> {
    let allowed = key.file.with_extension("allowed");
    fs::write(&allowed, format!("backup {}\n", key.public))?;
    let mut verify = Command::new("ssh-keygen");
    verify.args(["-Y", "verify", "-n", "savepoint", "-I", "backup", "-f"]).arg(&allowed);
    verify.arg("-s").arg(format!("{}.sig", file.display())).stdin(fs::File::open(file)?);
    Ok(verify.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success())
}

/// Signs a file by ssh-keygen, in place of what signed it before.
fn ssh_signs(key: &Key, file: &Path, namespace: &str) -> Result {
    let path = file.display().to_string();
    let _ = fs::remove_file(format!("{path}.sig"));
    tool("ssh-keygen", &["-Y", "sign", "-q", "-n", namespace, "-f", &key.path(), &path])?;
    Ok(())
}

/// A run of a verb on a folder of backups. What has to do with a server gets one.
fn verb(name: &str, server: &Server, store: &Path) -> Result<Savepoint> {
    let run = Savepoint::new([name])?.to_folder(store);
    let bin = server.bin.display().to_string();
    Ok(match name {
        "restore" => run.args(["--pg-bin-dir", &bin]).env("SAVEPOINT_TO", &server.url("postgres")),
        "verify" => run.args(["--pg-bin-dir", &bin, "--verify", "archive"]),
        _ => run,
    })
}

/// A backup by the binary, signed; the folder of the store, and the backup's own.
async fn signed(server: &Server, db: &str, key: &Key, store: &Path) -> Result<PathBuf> {
    let run = Savepoint::backup(&server.url(db), &server.bin)?.to_folder(store);
    let report = run.args(["--sign-key", &key.path(), "--json"]).run().await?.expect(0)?.json()?;
    find(store, report["backup"]["id"].as_str().context("an id")?)
}

async fn database(server: &Server, db: &str) -> Result {
    server.create_db(db, "").await?;
    server.psql(db, "CREATE TABLE t AS SELECT g AS n, 'note' AS note FROM generate_series(1, 100) g").await?;
    Ok(())
}

fn json_of(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// The proof records of a backup, in their order.
fn proofs(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = fs::read_dir(folder.join("proofs"))?.map(|e| Ok(e?.path())).collect::<Result<Vec<PathBuf>>>()?;
    let mut all: Vec<PathBuf> = all.into_iter().filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    all.sort();
    Ok(all)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

#[tokio::test]
async fn ssh_keygen_accepts_what_is_signed() -> Result {
    let (server, keys, store) = (pg::server(MAJOR).await?, scratch()?, scratch()?);
    database(server, "it sign ssh").await?;
    let (mine, other) = (ed25519(keys.path(), "mine")?, ed25519(keys.path(), "other")?);
    let age = crate::support::keys::age_key(keys.path(), "age.txt")?;
    let backup = Savepoint::backup(&server.url("it sign ssh"), &server.bin)?.to_folder(store.path());
    let backup = backup.args(["--encrypt-to", &age.public, "--encrypt-manifest"]);
    let ended = backup.args(["--sign-key", &mine.path(), "--json"]).run().await?.expect(0)?;
    ended.left_nothing()?;
    let report = ended.json()?;
    let secret = fs::read_to_string(&mine.file)?;
    ensure!(secret.lines().all(|line| line.len() < 40 || !ended.output().contains(line)), "the key is shown");

    let manifest = find(store.path(), "manifest.json")?;
    let folder = manifest.parent().context("a folder")?;
    let sha256 = hex::encode(Sha256::digest(fs::read(&manifest)?));
    ensure!(report["backup"]["manifest_sha256"] == sha256.as_str(), "{report:#}");
    ensure!(report["backup"]["signature_uri"] == with_suffix(&manifest, ".sig").display().to_string(), "{report:#}");
    let public = mine.public.trim_end_matches(" somebody@laptop");
    ensure!(json_of(&manifest)?["signed_by"] == public, "{:#}", json_of(&manifest)?);
    let record = proofs(folder)?.pop().context("a record")?;
    ensure!(json_of(&record)?["manifest_sha256"] == sha256.as_str(), "{:#}", json_of(&record)?);
    for file in [&manifest, &record] {
        ensure!(ssh_accepts(&mine, file)? && !ssh_accepts(&other, file)?, "{}", file.display());
    }
    let good = fs::read(&manifest)?;
    fs::write(&manifest, [&good[..], b" "].concat())?;
    ensure!(!ssh_accepts(&mine, &manifest)?, "one byte more is accepted");
    fs::write(&manifest, good)?;

    // And the other way: what the tool signs is accepted here, by a file of keys as well.
    ssh_signs(&mine, &manifest, "savepoint")?;
    let trusted = keys.path().join("trusted.txt");
    fs::write(&trusted, format!("# who may sign\n{}\n{}\n", other.public, mine.public))?;
    let show = verb("show", server, store.path())?.args(["--verify-key", &trusted.display().to_string()]);
    let shown = show.run().await?.expect(0)?;
    ensure!(shown.stdout.contains("; checked") && shown.stdout.contains("SHA256:"), "{}", shown.output());
    let shown = verb("show", server, store.path())?.args(["--json"]).run().await?.expect(0)?.json()?;
    ensure!(shown["signature"]["state"] == "unchecked", "{shown:#}");
    ensure!(shown["manifest_sha256"] == sha256.as_str(), "{shown:#}");
    Ok(())
}

#[tokio::test]
async fn minisign_accepts_what_is_signed() -> Result {
    let (server, keys, store) = (pg::server(MAJOR).await?, scratch()?, scratch()?);
    database(server, "it sign minisign").await?;
    let (mine, other) = (minisign_key(keys.path(), "mine")?, minisign_key(keys.path(), "other")?);
    let secret = fs::read_to_string(&mine.file)?;
    let backup = Savepoint::backup(&server.url("it sign minisign"), &server.bin)?.to_folder(store.path());
    // The key itself comes by the variable only.
    let ended = backup.env("SAVEPOINT_SIGN_KEY", &secret).run().await?.expect(0)?;
    ensure!(!ended.output().contains(secret.lines().last().context("a key")?), "the key is shown");
    ensure!(ended.stdout.contains("(minisign), in manifest.json.minisig"), "{}", ended.output());
    let manifest = find(store.path(), "manifest.json")?;
    let id = json_of(&manifest)?["id"].as_str().context("an id")?.to_owned();
    let record = proofs(manifest.parent().context("a folder")?)?.pop().context("a record")?;
    for file in [&manifest, &record] {
        let path = file.display().to_string();
        let said = String::from_utf8(tool("minisign", &["-V", "-P", &mine.public, "-m", &path])?)?;
        ensure!(said.contains(&id), "the trusted comment names no backup: {said}");
        ensure!(tool("minisign", &["-V", "-P", &other.public, "-m", &path]).is_err(), "{path}");
    }
    let with =
        |name: &str, key: &str| Ok::<_, anyhow::Error>(verb(name, server, store.path())?.args(["--verify-key", key]));
    let public = mine.file.with_file_name("mine.pub").display().to_string();
    let ended = with("verify", &public)?.env("SAVEPOINT_SIGN_KEY", &secret).run().await?.expect(0)?;
    ensure!(ended.stdout.contains("(minisign); checked") && !ended.stderr.contains("warning"), "{}", ended.output());
    with("show", &other.public)?.run().await?.refused(1, &["is signed by another key", "(minisign)"])?;
    fs::write(&manifest, fs::read_to_string(&manifest)?.replacen("\"rows\": 100", "\"rows\": 200", 1))?;
    fs::write(&manifest, sealed(&json_of(&manifest)?)?)?;
    with("show", &public)?.run().await?.refused(1, &["was changed since", "(minisign) signed it"])?;
    // A signature that is cut off, or none at all.
    let signature = with_suffix(&manifest, ".minisig");
    let text = fs::read_to_string(&signature)?;
    for bad in [&text[..text.len() - 60], "untrusted comment: x\nRUQ=\ntrusted comment: y\nAA==\n", ""] {
        fs::write(&signature, bad)?;
        with("show", &public)?.run().await?.refused(1, &["has a signature that cannot be read"])?;
    }
    Ok(())
}

/// What somebody who may write to the destination makes of a signed backup. Each is refused by every verb that trusts a manifest, and nothing
/// is restored.
#[tokio::test]
async fn a_forged_manifest_is_found() -> Result {
    let (server, keys, store) = (pg::server(MAJOR).await?, scratch()?, scratch()?);
    database(server, "it sign forged").await?;
    let (mine, forger) = (ed25519(keys.path(), "mine")?, ed25519(keys.path(), "forger")?);
    let folder = signed(server, "it sign forged", &mine, store.path()).await?;
    let manifest = folder.join("manifest.json");
    let (good, value) = (fs::read(&manifest)?, json_of(&manifest)?);
    let mut lies = value.clone();
    lies["context"]["actor"] = json!("somebody else");
    let mut by_forger = lies.clone();
    by_forger["signed_by"] = json!(forger.public.trim_end_matches(" somebody@laptop"));
    let mut unsigned = lies.clone();
    unsigned.as_object_mut().context("an object")?.remove("signed_by");

    type Made<'a> = (&'a str, Vec<u8>, Option<(&'a Key, &'a str)>, &'a str);
    let signature = fs::read(with_suffix(&manifest, ".sig"))?;
    let forged: Vec<Made<'_>> = vec![
        ("changed, with its own digest", sealed(&lies)?, None, "was changed since SHA256:"),
        ("signed by the forger", sealed(&lies)?, Some((&forger, "savepoint")), "is signed by another key, SHA256:"),
        ("by the forger, who says so", sealed(&by_forger)?, Some((&forger, "savepoint")), "is signed by another key"),
        ("signed by the key for something else", good.clone(), Some((&mine, "file")), "it was made for \"file\""),
    ];
    let verbs = ["show", "diff", "verify", "restore"];
    let run = |name: &'static str, keyed: bool| {
        let run = verb(name, server, store.path())?.args(match name {
            "diff" => vec!["latest", "oldest"],
            "restore" => vec!["latest", "--create", "it_sign_never"],
            _ => vec!["latest"],
        });
        Ok::<_, anyhow::Error>(if keyed { run.args(["--verify-key", &mine.public]) } else { run })
    };
    let code = |name: &str| if name == "verify" { 3 } else { 1 };
    let refused = async |what: &str, said: &str| -> Result {
        for name in verbs {
            run(name, true)?.run().await?.refused(code(name), &[said]).with_context(|| format!("{name}: {what}"))?;
        }
        Ok(())
    };
    for (what, bytes, by, said) in &forged {
        fs::write(&manifest, bytes)?;
        fs::write(with_suffix(&manifest, ".sig"), &signature)?;
        if let Some((key, namespace)) = by {
            ssh_signs(key, &manifest, namespace)?;
        }
        refused(what, said).await?;
    }
    // A key that the manifest itself names tells a change, not a forger.
    fs::write(&manifest, sealed(&lies)?)?;
    fs::write(with_suffix(&manifest, ".sig"), &signature)?;
    run("show", false)?.run().await?.refused(1, &["was changed since SHA256:"])?;
    fs::write(&manifest, &good)?;
    fs::remove_file(with_suffix(&manifest, ".sig"))?;
    refused("the signature is gone", "says that it is signed by SHA256:").await?;
    for name in verbs {
        let ended = run(name, false)?
            .args(if name == "restore" { vec!["--dry-run", "--force-unproven"] } else { vec![] })
            .run()
            .await?;
        ensure!(ended.expect(0)?.output().contains("no signature lies there: somebody took it away"), "{name}");
    }
    fs::write(&manifest, sealed(&unsigned)?)?;
    refused("not signed at all", "is not signed: it must be by SHA256:").await?;
    let databases = server.psql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'it_sign_never'").await?;
    ensure!(databases == "0", "something was restored");

    fs::write(&manifest, &good)?;
    fs::write(with_suffix(&manifest, ".sig"), &signature)?;
    run("verify", true)?.args(["--sign-key", &mine.path()]).run().await?.expect(0)?;
    fs::remove_file(&manifest)?;
    let id = value["id"].as_str().context("an id")?;
    let bare = verb("restore", server, store.path())?.args([id, "--create", "it_sign_never", "--force-unproven"]);
    bare.args(["--verify-key", &mine.public]).run().await?.refused(1, &["nothing that could be signed"])
}

/// An older backup in the place of a newer one: its folder, its manifest under the newer one's id, its files behind the newer manifest.
#[tokio::test]
async fn an_older_archive_under_a_newer_name_is_found() -> Result {
    let (server, keys, store) = (pg::server(MAJOR).await?, scratch()?, scratch()?);
    let db = "it sign older";
    database(server, db).await?;
    let mine = ed25519(keys.path(), "mine")?;
    let older = signed(server, db, &mine, store.path()).await?;
    server.psql(db, "UPDATE t SET note = 'other'").await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let newer = signed(server, db, &mine, store.path()).await?;
    let kept = scratch()?;
    copy(&newer, kept.path())?;
    let name = |folder: &Path| folder.file_name().and_then(|n| n.to_str()).context("a name").map(str::to_owned);
    let (old_id, new_id) = (name(&older)?, name(&newer)?);
    let refused = async |said: &[&str], codes: [i32; 2]| -> Result {
        for (verb_name, code) in ["restore", "verify"].into_iter().zip(codes) {
            let run = verb(verb_name, server, store.path())?.args([&new_id, "--verify-key", &mine.public]);
            let run = run.args(if verb_name == "restore" { vec!["--create", "it_sign_older_never"] } else { vec![] });
            let ended = run.run().await?;
            ensure!(ended.code == Some(code), "{verb_name}: {:?}\n{}", ended.code, ended.output());
            ensure!(said.iter().all(|said| ended.output().contains(said)), "{verb_name}: {}", ended.output());
        }
        Ok(())
    };
    let put = |from: &Path, what: &str| -> Result {
        fs::remove_dir_all(newer.join(what)).or_else(|_| fs::remove_file(newer.join(what)))?;
        match from.join(what).is_dir() {
            true => copy(&from.join(what), &newer.join(what))?,
            false => drop(fs::copy(from.join(what), newer.join(what))?),
        }
        Ok(())
    };
    // Everything of it.
    fs::remove_dir_all(&newer)?;
    copy(&older, &newer)?;
    refused(&["is no backup: manifest.json names backup", &old_id], [1, 1]).await?;
    // With the newer one's id written into it.
    let mut manifest = json_of(&newer.join("manifest.json"))?;
    manifest["id"] = json!(new_id);
    fs::write(newer.join("manifest.json"), sealed(&manifest)?)?;
    refused(&["was changed since SHA256:"], [1, 3]).await?;
    // Its files behind the newer one's manifest.
    put(kept.path(), "manifest.json")?;
    put(kept.path(), "manifest.json.sig")?;
    put(kept.path(), "proofs")?;
    refused(&["archive/"], [1, 3]).await?;
    let databases = "SELECT count(*) FROM pg_database WHERE datname = 'it_sign_older_never'";
    ensure!(server.psql("postgres", databases).await? == "0", "something was restored");
    fs::remove_dir_all(&newer)?;
    copy(kept.path(), &newer)?;
    let verify = verb("verify", server, store.path())?.args([&new_id, "--verify-key", &mine.public]);
    verify.run().await?.expect(0)?;
    Ok(())
}

#[tokio::test]
async fn a_replaced_proof_is_found() -> Result {
    let (server, keys, store) = (pg::server(MAJOR).await?, scratch()?, scratch()?);
    let db = "it sign proof";
    database(server, db).await?;
    let (mine, forger) = (ed25519(keys.path(), "mine")?, ed25519(keys.path(), "forger")?);
    let other = signed(server, db, &mine, store.path()).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let folder = signed(server, db, &mine, store.path()).await?;
    let (record, manifest) = (proofs(&folder)?.pop().context("a record")?, folder.join("manifest.json"));
    let kept = scratch()?;
    copy(&folder, kept.path())?;
    let restore = || {
        let run = verb("restore", server, store.path())?.args(["latest", "--create", "it_sign_copy", "--dry-run"]);
        Ok::<_, anyhow::Error>(run.args(["--database", db]))
    };
    let trusting = || Ok::<_, anyhow::Error>(restore()?.args(["--verify-key", &mine.public]));
    trusting()?.run().await?.expect(0)?;
    let again = || -> Result {
        fs::remove_dir_all(&folder)?;
        copy(kept.path(), &folder)?;
        Ok(())
    };
    let refused = async |said: &str| -> Result {
        trusting()?.run().await?.refused(1, &[said])?;
        // show tells of it, and takes it for none.
        let show = verb("show", server, store.path())?.args(["latest", "--database", db, "--json"]);
        let shown = show.args(["--verify-key", &mine.public]).run().await?.expect(0)?.json()?;
        ensure!(
            shown["warnings"].to_string().contains(&json!(said).to_string().trim_matches('"').to_owned()),
            "{shown:#}"
        );
        again()
    };
    let changed = |value: Value| -> Result { Ok(fs::write(&record, serde_json::to_vec_pretty(&value)?)?) };

    // Another word in it.
    let mut lies = json_of(&record)?;
    lies["compared"]["rows"] = json!(1_000_000);
    changed(lies.clone())?;
    refused("was changed since SHA256:").await?;
    changed(lies.clone())?;
    ssh_signs(&forger, &record, "savepoint")?;
    refused("is signed by another key").await?;
    changed(lies)?;
    fs::remove_file(with_suffix(&record, ".sig"))?;
    refused("is not signed").await?;
    // The record of another backup, with its signature.
    let foreign = proofs(&other)?.pop().context("a record")?;
    for suffix in ["", ".sig"] {
        fs::copy(with_suffix(&foreign, suffix), with_suffix(&record, suffix))?;
    }
    refused("was replaced: it is the record of backup").await?;
    // One that passed once, as if it were of today.
    let later = folder.join("proofs").join("20991122T030000Z.json");
    for suffix in ["", ".sig"] {
        fs::copy(with_suffix(&record, suffix), with_suffix(&later, suffix))?;
    }
    refused("was replaced: it is the record of a proof that began at").await?;
    // Of another manifest with the same id, which the key signed as well. That shows without any key.
    let mut second = json_of(&manifest)?;
    second["context"]["actor"] = json!("the owner");
    fs::write(&manifest, sealed(&second)?)?;
    ssh_signs(&mine, &manifest, "savepoint")?;
    restore()?.run().await?.refused(1, &["was replaced: it is the record of another manifest"])?;
    refused("was replaced: it is the record of another manifest").await?;

    // A drill adds a record that nobody signed, and says so; another one signs its own.
    let drill = || {
        let run =
            Savepoint::new(["verify", "--pg-bin-dir", &server.bin.display().to_string()])?.to_folder(store.path());
        Ok::<_, anyhow::Error>(run.args(["latest", "--database", db, "--verify-key", &mine.public]))
    };
    let ended = drill()?.run().await?.expect(0)?;
    ensure!(ended.output().contains("this record of its proof is not: sign-key signs it"), "{}", ended.output());
    trusting()?.run().await?.refused(1, &["is not signed"])?;
    let ended = trusting()?.args(["--force-unproven"]).run().await?.expect(0)?;
    ensure!(ended.output().contains("restored all the same"), "{}", ended.output());
    drill()?.args(["--sign-key", &mine.path()]).run().await?.expect(0)?;
    let ended = trusting()?.run().await?.expect(0)?;
    ensure!(ended.output().contains("passed at"), "{}", ended.output());
    ensure!(ssh_accepts(&mine, &proofs(&folder)?.pop().context("a record")?)?, "the drill's record");
    Ok(())
}

/// A forged backup, newer than all others and with a record that says that it is proven, would let prune delete the real ones.
#[tokio::test]
async fn prune_counts_only_what_is_signed() -> Result {
    let (server, keys, work) = (pg::server(MAJOR).await?, scratch()?, scratch()?);
    database(server, "app").await?;
    let mine = ed25519(keys.path(), "mine")?;
    let template = signed(server, "app", &mine, work.path()).await?;
    let store = scratch()?;
    // As if taken so many days ago; signed again, or not.
    let plant = |days: i64, by: Option<&Key>| -> Result<String> {
        use time::macros::format_description;
        let at = time::OffsetDateTime::now_utc() - time::Duration::days(days);
        let stamp = at.format(format_description!("[year][month][day]T[hour][minute][second]Z"))?;
        let day = at.format(format_description!("[year]/[month]/[day]"))?;
        let id = format!("{stamp}-manual-000000{days}");
        let folder = store.path().join("app").join(day).join(&id);
        copy(&template, &folder)?;
        let (manifest, record) = (folder.join("manifest.json"), proofs(&folder)?.pop().context("a record")?);
        let (mut value, mut proof) = (json_of(&manifest)?, json_of(&record)?);
        value["id"] = json!(id);
        let bytes = sealed(&value)?;
        proof["backup_id"] = json!(id);
        proof["manifest_sha256"] = json!(hex::encode(Sha256::digest(&bytes)));
        fs::write(&manifest, bytes)?;
        fs::write(&record, serde_json::to_vec_pretty(&proof)?)?;
        for path in [&manifest, &record] {
            match by {
                Some(key) => ssh_signs(key, path, "savepoint")?,
                None => fs::remove_file(with_suffix(path, ".sig"))?,
            }
            // It is long stored.
            let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 86_400);
            fs::File::options().append(true).open(path)?.set_modified(old)?;
        }
        Ok(id)
    };
    let forger = ed25519(keys.path(), "forger")?;
    let (older, newer) = (plant(6, Some(&mine))?, plant(5, Some(&mine))?);
    let (by_forger, unsigned) = (plant(4, Some(&forger))?, plant(3, None)?);
    let plan = async |key: Option<&Key>| -> Result<Vec<String>> {
        let run = Savepoint::new(["prune", "--keep-last", "1", "--min-keep", "1", "--dry-run", "--json"])?;
        let run = run
            .to_folder(store.path())
            .args(key.map(|key| ["--verify-key".into(), key.public.clone()]).into_iter().flatten());
        let planned = run.run().await?.expect(0)?.json()?;
        let all = planned["backups"].as_array().context("backups")?.clone();
        let goes = |b: &Value| (b["action"] == "remove").then(|| b["id"].as_str().map(str::to_owned)).flatten();
        Ok(all.iter().filter_map(goes).collect())
    };
    let mut without = plan(None).await?;
    without.sort();
    ensure!(without == [older.clone(), newer.clone(), by_forger.clone()], "without keys: {without:?}");
    let with = plan(Some(&mine)).await?;
    // What is not signed might yet be proven, so it stays; it is only no reason for the signed one to go.
    ensure!(with == [older.clone()], "with the key {with:?} go");

    // Nor do those fill the places of signed ones.
    let run = Savepoint::new(["prune", "--keep-last", "2", "--min-keep", "2", "--dry-run", "--json"])?;
    let planned = run.to_folder(store.path()).args(["--verify-key", &mine.public]).run().await?.expect(0)?.json()?;
    ensure!(
        planned["backups"].as_array().is_some_and(|all| all.iter().all(|b| b["action"] != "remove")),
        "{planned:#}"
    );

    // What goes takes its signatures along.
    let run = Savepoint::new(["prune", "--keep-last", "1", "--min-keep", "1", "--verify-key", &mine.public])?;
    run.to_folder(store.path()).run().await?.expect(0)?;
    ensure!(find(store.path(), &older).is_err(), "something is left");
    ensure!([newer, by_forger, unsigned].iter().all(|id| find(store.path(), id).is_ok()), "too much is gone");
    Ok(())
}

/// The signature is there before the manifest is: no run that dies leaves a backup without.
#[tokio::test]
async fn no_run_that_dies_leaves_a_backup_unsigned() -> Result {
    let (server, keys, s3) = (pg::server(MAJOR).await?, scratch()?, s3::s3().await?);
    database(server, "it sign dies").await?;
    let mine = ed25519(keys.path(), "mine")?;
    let (bucket, denied) = (s3.bucket().await?, Fault::Answer(403, "AccessDenied", "no"));
    let run = |endpoint: &str| {
        let run = Savepoint::backup(&server.url("it sign dies"), &server.bin)?.to_s3(endpoint, &bucket, "dies");
        Ok::<_, anyhow::Error>(run.args(["--sign-key", &mine.path()]))
    };
    // The second that is put of these two is the manifest itself.
    for (behind, key) in [(1, "manifest.json"), (0, "manifest.json.sig")] {
        let when = When { op: Op::Put, key, behind, times: 99 };
        let faulty = FaultyS3::start(s3, &bucket, when, denied).await?;
        let ended = run(&faulty.endpoint)?.run().await?.expect(1)?;
        ensure!(faulty.met() > 0, "nothing was refused");
        ensure!(ended.output().contains("was not stored"), "{}", ended.output());
        let left: Vec<String> = s3.list(&bucket).await?.into_iter().map(|o| o.key).collect();
        ensure!(left.is_empty(), "{left:?} are left behind a {key} that was refused");
    }
    // A machine that is switched off in between.
    let when = When { op: Op::Put, key: "manifest.json", behind: 1, times: 99 };
    let faulty = FaultyS3::start(s3, &bucket, when, Fault::Silent).await?;
    let running = run(&faulty.endpoint)?.spawn()?;
    while faulty.met() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    running.signal(rustix::process::Signal::KILL)?;
    let scratch = running.scratch.clone();
    ensure!(running.wait().await?.code.is_none(), "it was not killed");
    for process in crate::support::run::processes_of(scratch.path()) {
        let _ = crate::support::run::kill(process.pid, rustix::process::Signal::KILL);
    }
    let left: Vec<String> = s3.list(&bucket).await?.into_iter().map(|o| o.key).collect();
    ensure!(left.iter().any(|key| key.ends_with("/manifest.json.sig")), "{left:?}");
    ensure!(!left.iter().any(|key| key.ends_with("/manifest.json")), "{left:?}");
    Ok(())
}

#[tokio::test]
async fn keys_are_checked_before_anything_is_taken() -> Result {
    let (server, keys, store) = (pg::server(MAJOR).await?, scratch()?, scratch()?);
    database(server, "it sign keys").await?;
    let mine = ed25519(keys.path(), "mine")?;
    let run = |name: &str| {
        let run = Savepoint::new([name, "--pg-bin-dir", &server.bin.display().to_string()])?.to_folder(store.path());
        Ok::<_, anyhow::Error>(run.env("SAVEPOINT_DATABASE_URL", &server.url("it sign keys")))
    };
    let ended = run("check")?.args(["--sign-key", &mine.path()]).run().await?.expect(0)?;
    ensure!(ended.stdout.contains("by SHA256:") && ended.stdout.contains("--verify-key"), "{}", ended.output());
    let secret = fs::read_to_string(&mine.file)?;
    for name in ["backup", "verify", "restore"] {
        let ended = Savepoint::new([name, "--sign-key", &secret])?.to_folder(store.path()).run().await?;
        ensure!(!ended.output().contains(secret.lines().nth(1).context("a line")?), "the key is shown");
        ended.refused(2, &["private key on the command line", "SAVEPOINT_SIGN_KEY"])?;
    }
    let rsa = ssh_key(keys.path(), "rsa", &["-t", "rsa", "-b", "2048"])?;
    let locked = ssh_key(keys.path(), "locked", &["-t", "ed25519", "-N", "words"])?;
    let text = keys.path().join("text");
    fs::write(&text, "nothing")?;
    for (file, said) in [
        (rsa.path(), "a key of type ssh-rsa"),
        (locked.path(), "protected by a passphrase"),
        (text.display().to_string(), "holds no private key"),
        ("/no/such/file".into(), "cannot be read"),
    ] {
        run("backup")?.args(["--sign-key", &file]).run().await?.refused(2, &["option sign-key", said])?;
    }
    for (key, said) in [
        (rsa.public.as_str(), "ssh-rsa"),
        (secret.as_str(), "is a private key"),
        ("ssh-ed25519 AAAA", "is no SSH public key"),
        ("RWnothing", "is no public key of minisign"),
        ("nothing", "neither a public key nor a file"),
    ] {
        let show = Savepoint::new(["show", "latest", "--verify-key", key])?.to_folder(store.path());
        show.run().await?.refused(2, &["option verify-key", said])?;
    }
    let dump = keys.path().join("a.sql");
    fs::write(&dump, "-- PostgreSQL database dump")?;
    let verify = Savepoint::new(["verify", &dump.display().to_string(), "--verify-key", &mine.public])?;
    verify.run().await?.refused(2, &["option verify-key", "is not signed"])?;
    ensure!(find(store.path(), "manifest.json").is_err(), "something was stored");
    Ok(())
}
