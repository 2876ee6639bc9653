//! Faults of the store.

use super::{Case, Left, Row, row as of};
use crate::support::{
    Result,
    faulty::{Fault, FaultyS3, Op, When},
    proxy::{Tamper, TamperingS3},
    run::{Ended, Savepoint},
};
use anyhow::{Context, ensure};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use std::time::Duration;

const DENIED: Fault = Fault::Answer(403, "AccessDenied", "Access Denied");
const BUSY: Fault = Fault::Answer(503, "SlowDown", "Please reduce your request rate");
const BROKEN: Fault = Fault::Answer(500, "InternalError", "We encountered an internal error");
const EXPIRED: Fault = Fault::Answer(400, "ExpiredToken", "The provided token has expired");
const SKEWED: Fault = Fault::Answer(
    403,
    "RequestTimeTooSkewed",
    "The difference between the request time and the current time is too large",
);
const ELSEWHERE: Fault = Fault::Answer(301, "PermanentRedirect", "The bucket must be addressed by another endpoint");
const FULL: Fault =
    Fault::Answer(507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold");
const ALWAYS: u32 = u32::MAX;

/// Objects of the archive, the manifest, the probe of the preflight, and the proof record.
const ARCHIVE: &str = "/archive/";
const MANIFEST: &str = "/manifest.json";
const PROOFS: &str = "/proofs/";

fn row(
    fault: &'static str,
    phase: &'static str,
    when: When,
    what: Fault,
    (code, left): (i32, Left),
    says: &'static str,
    cure: &'static str,
) -> Row {
    of(fault, phase, (code, left), says, cure, move |case| Box::pin(through(case, when, what)))
}

/// A run by way of a server that is faulty at times.
async fn through(case: &Case, when: When, what: Fault) -> Result<Ended> {
    let faulty = FaultyS3::start(case.s3, &case.bucket, when, what).await?;
    let url = case.server.url(&case.db);
    let run = match what {
        Fault::Silent | Fault::Late(_) => case.impatient(&url, &faulty.endpoint)?,
        _ => case.backup(&url, &faulty.endpoint)?,
    };
    let ended = run.run().await?;
    ensure!(faulty.met() > when.behind, "the fault was never met\n{}", ended.output());
    Ok(ended)
}

/// As [`through`], with a table that is uploaded in several parts: its hashes do not compress.
async fn in_parts(case: &Case, when: When, what: Fault) -> Result<Ended> {
    let hashes = "(SELECT string_agg(md5(g || '/' || i), '') FROM generate_series(1, 20) i)";
    let rows = format!("CREATE TABLE large AS SELECT g, {hashes} AS v FROM generate_series(1, 50000) g");
    case.server.psql(&case.db, &rows).await?;
    through(case, when, what).await
}

/// A run whose rows come back other than they were stored.
async fn tampered(case: &Case, tamper: Tamper) -> Result<Ended> {
    case.server.psql(&case.db, "CREATE TABLE u AS SELECT id + 1 AS id, v FROM t").await?;
    let rows = |key: &str| key.contains(ARCHIVE) && !key.contains("toc.dat");
    let bad = TamperingS3::start(case.s3, &case.bucket, tamper, rows).await?;
    let ended = case.backup(&case.server.url(&case.db), &bad.endpoint)?.run().await?;
    ensure!(!bad.served().is_empty(), "nothing was read back\n{}", ended.output());
    Ok(ended)
}

/// What becomes of an object of rows, given with another one.
type Spoil = fn(Vec<u8>, Vec<u8>) -> Option<Vec<u8>>;

/// A backup, an object of which is changed at rest afterwards; then the verb, with the option that names its server.
async fn spoilt(case: &Case, spoil: Spoil, verb: &[&str]) -> Result<Ended> {
    case.usual()?.run().await?.expect(0)?;
    let keys: Vec<String> = case.s3.list(&case.bucket).await?.into_iter().map(|o| o.key).collect();
    let rows = keys.iter().find(|k| k.contains(ARCHIVE) && !k.contains("toc.dat")).context("no rows")?;
    let other = keys.iter().find(|k| k.contains("toc.dat")).context("no table of contents")?;
    let (bytes, other) = (case.s3.get(&case.bucket, rows).await?, case.s3.get(&case.bucket, other).await?);
    match spoil(bytes, other) {
        Some(bytes) => case.s3.put(&case.bucket, rows, bytes).await?,
        None => case.s3.delete(&case.bucket, rows).await?,
    }
    case.server.create_db(&format!("{}_to", case.db), "").await?;
    let run = Savepoint::new(verb.iter().copied())?
        .args(["--pg-bin-dir", &case.server.bin.display().to_string()])
        .env("SAVEPOINT_TO", &case.server.url(&format!("{}_to", case.db)));
    let ended = run.to_s3(&case.s3.endpoint, &case.bucket, "p").run().await;
    case.server.drop_db(&format!("{}_to", case.db)).await?;
    ended
}

/// A run into a bucket that keeps what is overwritten and deleted.
async fn versioned(case: &Case) -> Result<Ended> {
    let keep = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    case.s3.client().put_bucket_versioning().bucket(&case.bucket).versioning_configuration(keep).send().await?;
    let ended = case.usual()?.run().await?;
    let versions = case.s3.client().list_object_versions().bucket(&case.bucket).send().await?;
    ensure!(!versions.delete_markers().is_empty(), "the bucket keeps nothing that is deleted");
    Ok(ended)
}

fn first(op: Op, key: &'static str, times: u32) -> When {
    When { op, key, behind: 0, times }
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn rows() -> Vec<Row> {
    let nothing = (1, Left::Nothing);
    let told = (1, Left::Told);
    let fine = (0, Left::Proven);
    let unproven = (3, Left::Unproven);
    let mut rows = vec![
        row(
            "no right to write",
            "preflight",
            first(Op::Put, "", ALWAYS),
            DENIED,
            nothing,
            "AccessDenied (HTTP 403)",
            "allow s3:PutObject",
        ),
        row(
            "no right to list",
            "preflight",
            first(Op::List, "", ALWAYS),
            DENIED,
            nothing,
            "AccessDenied (HTTP 403)",
            "allow s3:ListBucket",
        ),
        row(
            "no right to read",
            "preflight",
            first(Op::Get, "", ALWAYS),
            DENIED,
            nothing,
            "AccessDenied (HTTP 403)",
            "allow s3:GetObject",
        ),
        row(
            "no right to delete",
            "preflight",
            first(Op::Delete, "", ALWAYS),
            DENIED,
            fine,
            "objects cannot be deleted",
            "this probe, stay",
        ),
        row(
            "no right to abort uploads",
            "preflight",
            first(Op::Abort, "", ALWAYS),
            DENIED,
            told,
            "AccessDenied (HTTP 403)",
            "allow s3:AbortMultipartUpload",
        ),
        row(
            "the right to write is taken away",
            "dump",
            first(Op::Put, ARCHIVE, ALWAYS),
            DENIED,
            nothing,
            "AccessDenied (HTTP 403)",
            "allow s3:PutObject",
        ),
        row(
            "the right to write is taken away",
            "commit",
            first(Op::Put, MANIFEST, ALWAYS),
            DENIED,
            nothing,
            "AccessDenied (HTTP 403)",
            "allow s3:PutObject",
        ),
        row(
            "the right to read is taken away",
            "proof",
            first(Op::Get, ARCHIVE, ALWAYS),
            DENIED,
            unproven,
            "AccessDenied (HTTP 403)",
            "",
        ),
        row(
            "the proof record cannot be stored",
            "proof",
            first(Op::Put, PROOFS, ALWAYS),
            DENIED,
            (0, Left::Unproven),
            "the proof record was not stored",
            "",
        ),
        row(
            "wrong region",
            "preflight",
            first(Op::Put, "", ALWAYS),
            ELSEWHERE,
            nothing,
            "PermanentRedirect (HTTP 301)",
            "--s3-region eu-north-1",
        ),
        row(
            "this machine's clock is wrong",
            "preflight",
            first(Op::Put, "", ALWAYS),
            SKEWED,
            nothing,
            "RequestTimeTooSkewed (HTTP 403)",
            "set it by NTP",
        ),
        row(
            "the session's token expires",
            "dump",
            first(Op::Put, ARCHIVE, ALWAYS),
            EXPIRED,
            nothing,
            "ExpiredToken (HTTP 400)",
            "a longer role session",
        ),
        row(
            "the session's token expires",
            "commit",
            first(Op::Put, MANIFEST, ALWAYS),
            EXPIRED,
            nothing,
            "ExpiredToken (HTTP 400)",
            "a longer role session",
        ),
        row(
            "the session's token expires",
            "proof",
            first(Op::Get, ARCHIVE, ALWAYS),
            EXPIRED,
            unproven,
            "ExpiredToken (HTTP 400)",
            "a longer role session",
        ),
        row(
            "the store is full",
            "dump",
            first(Op::Put, ARCHIVE, ALWAYS),
            FULL,
            nothing,
            "XMinioStorageFull (HTTP 507)",
            "free some space",
        ),
    ];
    for (op, key, phase) in [
        (Op::Put, ARCHIVE, "dump"),
        (Op::Put, MANIFEST, "commit"),
        (Op::Get, ARCHIVE, "proof"),
        (Op::List, "", "preflight"),
    ] {
        rows.push(row("503 SlowDown, twice", phase, first(op, key, 2), BUSY, fine, "passed, all equal", ""));
        rows.push(row("500 InternalError, twice", phase, first(op, key, 2), BROKEN, fine, "passed, all equal", ""));
        rows.push(row(
            "the connection is reset, twice",
            phase,
            first(op, key, 2),
            Fault::Reset,
            fine,
            "passed, all equal",
            "",
        ));
        rows.push(row("silent, once", phase, first(op, key, 1), Fault::Silent, fine, "passed, all equal", ""));
        rows.push(row(
            "an answer comes late",
            phase,
            first(op, key, 2),
            Fault::Late(Duration::from_millis(400)),
            fine,
            "passed, all equal",
            "",
        ));
    }
    for (op, key, phase, end) in [
        (Op::Put, ARCHIVE, "dump", nothing),
        (Op::Put, MANIFEST, "commit", nothing),
        (Op::Get, ARCHIVE, "proof", unproven),
        (Op::List, "", "preflight", nothing),
    ] {
        rows.push(row(
            "503 SlowDown, always",
            phase,
            first(op, key, ALWAYS),
            BUSY,
            end,
            "SlowDown (HTTP 503)",
            "lower --jobs, or try again later",
        ));
        rows.push(row(
            "500 InternalError, always",
            phase,
            first(op, key, ALWAYS),
            BROKEN,
            end,
            "InternalError (HTTP 500)",
            "",
        ));
        rows.push(row(
            "the connection is reset, always",
            phase,
            first(op, key, ALWAYS),
            Fault::Reset,
            end,
            "no connection to http://",
            "check that --s3-endpoint",
        ));
        rows.push(row(
            "silent, always",
            phase,
            first(op, key, ALWAYS),
            Fault::Silent,
            end,
            "no answer from http://",
            "check that --s3-endpoint",
        ));
    }
    rows.push(row(
        "the answer breaks off, once",
        "proof",
        first(Op::Get, ARCHIVE, 1),
        Fault::ResetAfter(300),
        fine,
        "passed, all equal",
        "",
    ));
    rows.push(row(
        "the answer breaks off, always",
        "proof",
        first(Op::Get, ARCHIVE, ALWAYS),
        Fault::ResetAfter(300),
        unproven,
        "cannot read s3://",
        "",
    ));
    rows.extend(at_rest());
    rows
}

/// Objects that are not, or not yet, what was stored.
fn at_rest() -> Vec<Row> {
    let fine = (0, Left::Proven);
    let unproven = (3, Left::Unproven);
    let completed = |times| When { op: Op::Complete, key: ARCHIVE, behind: 0, times };
    let mut rows = vec![
        of("an error within an answer of 200, once", "dump", fine, "passed, all equal", "", move |case| {
            Box::pin(in_parts(case, completed(1), Fault::ErrorIn200("InternalError")))
        }),
        of("an error within an answer of 200, always", "dump", (1, Left::Nothing), "InternalError", "", move |case| {
            Box::pin(in_parts(case, completed(ALWAYS), Fault::ErrorIn200("InternalError")))
        }),
        of("the list lags", "preflight", (1, Left::Nothing), "was just written but is not listed", "at once", |case| {
            Box::pin(through(case, first(Op::List, "", ALWAYS), Fault::EmptyList))
        }),
        of("the list lags", "proof", unproven, "it is not in the store", "", |case| {
            Box::pin(through(case, When { op: Op::List, key: "", behind: 1, times: ALWAYS }, Fault::EmptyList))
        }),
        of("the bucket keeps all versions", "everything", fine, "passed, all equal", "", |case| {
            Box::pin(versioned(case))
        }),
        of("rows come back changed", "proof", unproven, "not what was stored", "", |case| {
            Box::pin(tampered(case, Tamper::Flip(None)))
        }),
        of("rows are gone", "proof", unproven, "does not exist", "", |case| Box::pin(tampered(case, Tamper::Delete))),
    ];
    let spoils: [(&'static str, Spoil); 4] = [
        ("an object is changed at rest", |mut bytes, _| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            Some(bytes)
        }),
        ("an object is truncated at rest", |mut bytes, _| {
            bytes.truncate(bytes.len() / 2);
            Some(bytes)
        }),
        ("an object is swapped for another", |_, other| Some(other)),
        ("an object is deleted", |_, _| None),
    ];
    for (fault, spoil) in spoils {
        rows.push(of(fault, "before `verify`", unproven, "", "", move |case| {
            Box::pin(spoilt(case, spoil, &["verify", "latest"]))
        }));
        rows.push(of(fault, "before `restore`", (1, Left::Proven), "", "", move |case| {
            Box::pin(spoilt(case, spoil, &["restore", "latest"]))
        }));
    }
    rows
}
