//! Faults of the store.

use super::{Left, Row};
use crate::support::faulty::{Fault, FaultyS3, Op, When};
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
    Row {
        fault,
        phase,
        code,
        says,
        cure,
        left,
        run: Box::new(move |case| {
            Box::pin(async move {
                let faulty = FaultyS3::start(case.s3, &case.bucket, when, what).await?;
                let ended = case.backup(&case.server.url(&case.db), &faulty.endpoint)?.run().await?;
                anyhow::ensure!(faulty.met() > when.behind, "the fault was never met\n{}", ended.output());
                Ok(ended)
            })
        }),
    }
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
    rows
}
