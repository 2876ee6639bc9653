//! Reports for the tests of the renderers: one per way a run can end.

use super::*;
use crate::{
    report::{
        overview::{Database, Day, Failed, Moment, Overview, Point, Standing},
        page::Verdict,
        rehearsal::{Changed, Ended, Fate, Lock, SchemaChange},
    },
    vault::{
        BackupKind, Filter, Manifest, Proof, RunContext, VerifyLevel,
        manifest::{Extension, File, Options, Source, Table, TakenBy, Totals},
        proof::{Compared, ProofServer},
    },
};
use std::collections::{BTreeMap, HashMap};

/// Every report with its name.
pub fn all() -> Vec<(&'static str, BackupReport)> {
    vec![
        ("proven", proven()),
        ("stored", stored()),
        ("anomalous", anomalous()),
        ("proof_failed", proof_failed()),
        ("failed", failed()),
        ("hostile", hostile()),
        ("not_pruned", not_pruned()),
        ("copy_lost", copy_lost()),
        ("grown", grown()),
        ("failing", failing()),
        ("rehearsed", rehearsed()),
    ]
}

fn table(name: &str, rows: u64, bytes: u64) -> Table {
    Table {
        schema: "public".into(),
        name: name.into(),
        oid: 16_400,
        columns: vec!["id".into()],
        condition: None,
        with_children: false,
        taken_by: TakenBy::Streams,
        rows,
        bytes,
        fingerprint: "00".repeat(16),
        file: Some("archive/3001.dat.zst".into()),
        packed: None,
        chunks: Vec::new(),
        terminator: None,
    }
}

fn manifest() -> Manifest {
    Manifest {
        format: 1,
        id: "20261122T030000Z-snapshot-1a2b3c4".into(),
        kind: BackupKind::Snapshot,
        tool_version: "0.1.0".into(),
        taken_at: "2026-11-22T03:00:00Z".into(),
        stored_at: "2026-11-22T03:00:31Z".into(),
        source: Source {
            host: "db.example.com".into(),
            port: 5432,
            database: "app".into(),
            user: "backup".into(),
            server_version: "17.5".into(),
            major: 17,
            encoding: "UTF8".into(),
            locale_provider: "libc".into(),
            collate: "C.UTF-8".into(),
            ctype: "C.UTF-8".into(),
            locale: None,
            lc_monetary: "C.UTF-8".into(),
            database_bytes: 2_500_000_000,
            snapshot: "00000003-0000001B-1".into(),
            bootstrap_role: "postgres".into(),
            standby: false,
            preloaded: Vec::new(),
        },
        context: RunContext::default(),
        options: Options {
            jobs: 4,
            compression: "zstd:2".into(),
            filter: Filter::default(),
            verify: VerifyLevel::Content,
            sent: false,
            pg_dump: "pg_dump (PostgreSQL) 17.5".into(),
        },
        encryption: None,
        signed_by: None,
        lock: None,
        left_out: vec!["rows of public.sessions: exclude-table-data".into()],
        files: vec![File {
            path: "archive/toc.dat".into(),
            size: 40_000,
            sha256: "ab".repeat(32),
            plain: None,
            members: None,
        }],
        tables: vec![table("orders", 1_200_000, 1_400_000_000), table("users", 34_567, 99_000_000)],
        sequences: Vec::new(),
        large_objects: Vec::new(),
        large_object_chunks: Vec::new(),
        matviews: Vec::new(),
        extensions: Vec::new(),
        roles: Vec::new(),
        schema_digest: "cd".repeat(32),
        totals: Totals { tables: 2, rows: 1_234_567, bytes: 1_499_000_000, stored_bytes: 412_000_000 },
        timings: BTreeMap::new(),
        refused: Vec::new(),
        digest: String::new(),
    }
}

fn phase(name: &str, from: f64, seconds: f64) -> PhaseTime {
    PhaseTime { name: name.into(), from, seconds }
}

/// Stored and proven, in Actions.
pub fn proven() -> BackupReport {
    let uri = "s3://backups/prod/app/2026/11/22/20261122T030000Z-snapshot-1a2b3c4/";
    BackupReport {
        outcome: Outcome::Proven,
        database: "app".into(),
        source: "postgresql://backup@db.example.com:5432/app".into(),
        destination: "s3://backups/prod".into(),
        kind: BackupKind::Snapshot,
        verify: VerifyLevel::Content,
        backup: Some(StoredBackup {
            uri: uri.into(),
            manifest_uri: format!("{uri}manifest.json"),
            manifest_sha256: "ef".repeat(32),
            signature_uri: None,
            proof_uri: Some(format!("{uri}proofs/20261122T030058Z.json")),
            manifest: manifest(),
        }),
        proof: Some(Proof {
            format: 1,
            backup_id: manifest().id,
            manifest_sha256: Some("ef".repeat(32)),
            tool_version: "0.1.0".into(),
            level: VerifyLevel::Content,
            passed: true,
            started_at: "2026-11-22T03:00:10Z".into(),
            finished_at: "2026-11-22T03:00:58Z".into(),
            server: Some(ProofServer { kind: "built-in".into(), version: "17.5".into() }),
            compared: Compared {
                files: 5,
                tables: 2,
                rows: 1_234_567,
                sequences: 2,
                large_objects: 0,
                matviews: 1,
                schema_entries: 41,
            },
            differences: Vec::new(),
            unproven: vec!["matview public.totals: only that it is populated".into()],
            equal_to: None,
            timings: BTreeMap::from([("restore".into(), 41.0), ("compare".into(), 18.1)]),
        }),
        rehearsal: None,
        copies: Vec::new(),
        failure: None,
        anomalies: Vec::new(),
        before: None,
        past: Past::default(),
        fail_on_anomaly: false,
        pruned: None,
        warnings: Vec::new(),
        notices: vec!["the URL's parameter connection_limit is for an ORM and was dropped".into()],
        started_at: "2026-11-22T02:59:58Z".into(),
        seconds: 62.4,
        phases: vec![
            phase("preflight", 0.0, 0.62),
            phase("plan", 0.62, 0.213),
            phase("dump", 0.84, 29.4),
            phase("commit", 30.2, 0.8),
            phase("restore", 3.3, 41.0),
            phase("compare", 44.3, 18.1),
        ],
        context: RunContext {
            repository: Some("acme/shop".into()),
            commit: Some("1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d".into()),
            git_ref: Some("main".into()),
            actor: Some("ada".into()),
            event: Some("push".into()),
            workflow: Some("deploy".into()),
            run_url: Some("https://github.com/acme/shop/actions/runs/7".into()),
        },
        reached_by: Vec::new(),
    }
}

/// A migration did on the proven copy what it must not do to the source.
pub fn rehearsed() -> BackupReport {
    let changed = |table: &str, fate, before, after| Changed {
        table: table.into(),
        fate,
        renamed_from: None,
        rows_before: before,
        rows_after: after,
        bytes_before: 310 << 20,
        columns_dropped: Vec::new(),
    };
    let change = |object: &str, was, is| SchemaChange::of(object.into(), was, is);
    BackupReport {
        rehearsal: Some(Rehearsal {
            command: "npx prisma migrate deploy".into(),
            role: "app".into(),
            ended: Ended::Exit(0),
            seconds: 3.25,
            output: vec!["Applying migration `20261122_city`".into(), "1 migration applied".into()],
            refused: Vec::new(),
            wal_bytes: Some(330 << 20),
            locks: vec![Lock {
                table: "public.orders".into(),
                mode: "ACCESS EXCLUSIVE".into(),
                seconds: 2.9,
                statement: "ALTER TABLE orders ALTER COLUMN total TYPE bigint".into(),
                blocks_readers: true,
            }],
            tables: vec![
                changed("public.city", Fate::Added, None, Some(12)),
                changed("public.old", Fate::Dropped, Some(7), None),
                changed("public.orders", Fate::Rewritten, Some(1_200_000), Some(1_200_000)),
            ],
            schema: vec![
                change("table public.city", None, Some("CREATE TABLE public.city (\n    id integer\n);\n")),
                change("table public.old", Some("CREATE TABLE public.old (\n    id integer\n);\n"), None),
                change(
                    "table public.orders",
                    Some("CREATE TABLE public.orders (\n    total integer\n);\n"),
                    Some("CREATE TABLE public.orders (\n    total bigint\n);\n"),
                ),
            ],
            unfinished: vec![
                "constraint city_fk on public.orders is not validated: rows that were there may break it".into(),
            ],
            checks_passed: 2,
            checks_failed: Vec::new(),
            problems: vec![
                "public.orders is locked (ACCESS EXCLUSIVE) for 2.9 s: rehearse-max-lock allows 2.0 s".into(),
                "public.old is dropped: rehearse-forbid has drop-table".into(),
            ],
            notes: vec!["times: the copy's server runs without fsync, and nobody else works on it".into()],
        }),
        ..proven()
    }
}

/// Stored in an S3 clone without a proof.
pub fn stored() -> BackupReport {
    BackupReport {
        outcome: Outcome::Stored,
        verify: VerifyLevel::None,
        proof: None,
        phases: proven().phases.into_iter().take(4).collect(),
        seconds: 31.0,
        reached_by: vec![("s3-endpoint", "https://account.r2.cloudflarestorage.com".into())],
        ..proven()
    }
}

/// Stored and proven, but far less than the day before.
pub fn anomalous() -> BackupReport {
    BackupReport {
        anomalies: vec![
            "table public.orders is empty; it had 1,200,000 rows in 20261121T030000Z-snapshot-9f8e7d6".into(),
            "the backup is 76 % smaller: 412.0 MiB, it had 1.7 GiB in 20261121T030000Z-snapshot-9f8e7d6".into(),
        ],
        fail_on_anomaly: true,
        ..proven()
    }
}

/// Stored in a folder, and the restored copy differs.
pub fn proof_failed() -> BackupReport {
    let mut report = proven();
    report.outcome = Outcome::ProofFailed;
    report.context = RunContext::default();
    if let Some(backup) = &mut report.backup {
        backup.uri = "/var/backups/my app/20261122T030000Z-snapshot-1a2b3c4".into();
    }
    if let Some(proof) = &mut report.proof {
        proof.passed = false;
        proof.differences = vec![
            "table public.orders: 3 rows fewer, content differs".into(),
            "sequence public.orders_id_seq: last value 41, expected 44".into(),
        ];
    }
    report.warnings = vec!["could not remove the throwaway folder /tmp/savepoint-x: busy".into()];
    report
}

/// Stored and proven, but old backups could not be deleted.
pub fn not_pruned() -> BackupReport {
    let pruned = Pruned {
        deleted: 1,
        kept: 31,
        freed_bytes: 412_000_000,
        failure: Some("cannot delete s3://backups/prod/app/2026/10/22/x/manifest.json: AccessDenied (HTTP 403)".into()),
        hint: Some("allow s3:DeleteObject on arn:aws:s3:::backups/prod/*".into()),
        ..Pruned::default()
    };
    BackupReport { pruned: Some(pruned), ..proven() }
}

/// Stored and proven, but in one of two places only.
pub fn copy_lost() -> BackupReport {
    let proven = proven();
    let uri = proven.backup.as_ref().map(|backup| backup.uri.clone());
    let copy = |destination: &str, uri, state| StoredCopy {
        destination: destination.into(),
        uri,
        state,
        why: None,
        hint: None,
    };
    let lost = StoredCopy {
        why: Some("cannot store part 3 of s3://second/prod/app/x.dat.zst: AccessDenied (HTTP 403)".into()),
        hint: Some("allow s3:PutObject on arn:aws:s3:::second/prod/*".into()),
        ..copy("s3://second/prod", None, CopyState::Failed)
    };
    let copies = vec![copy("s3://backups/prod", uri, CopyState::Proven), lost];
    BackupReport { destination: "s3://backups/prod and s3://second/prod".into(), copies, ..proven }
}

/// Two databases, one as it should be.
pub fn overview() -> Overview {
    let moment = |id: &str, at: &str, age: &str| Moment { id: id.into(), at: at.into(), age: age.into() };
    let last = moment("20261122T030000Z-snapshot-1a2b3c4", "2026-11-22T03:00:00Z", "6 h");
    let good = Database {
        name: "app".into(),
        standing: Standing::Good,
        says: "proven 6 h ago".into(),
        last_backup: Some(last.clone()),
        last_proven: Some(last),
        rpo_seconds: Some(21_600),
        rto_seconds: Some(41.0),
        days: vec![Day { date: "2026-11-22".into(), proven: 1, unproven: 0, failed: 0 }],
        points: grown().past.trend,
        failures: Vec::new(),
        backups: 30,
        stored_bytes: 12_000_000_000,
        cost: Some(0.26),
        prunes_next: Vec::new(),
        audit: Vec::new(),
    };
    let failed = Failed {
        at: "2026-11-22T03:00:04Z".into(),
        kind: BackupKind::Scheduled,
        phase: "preflight".into(),
        message: "ep-cool-pooler.neon.tech is a transaction pooler".into(),
        backup: None,
        run_url: None,
    };
    let unproven = Database {
        name: "shop".into(),
        standing: Standing::Unproven,
        says: "no backup lies there".into(),
        last_backup: None,
        last_proven: None,
        rpo_seconds: None,
        rto_seconds: None,
        points: Vec::new(),
        failures: vec![failed],
        backups: 0,
        stored_bytes: 0,
        cost: Some(0.0),
        ..good.clone()
    };
    Overview {
        made_at: "2026-11-22T09:00:00Z".into(),
        tool_version: "0.1.0".into(),
        destination: "s3://backups/prod".into(),
        rpo_seconds: Some(93_600),
        rto_seconds: Some(3600),
        price_per_gib: Some(0.023),
        currency: "USD".into(),
        databases: vec![good, unproven],
        warnings: Vec::new(),
    }
}

/// The thirtieth of its kind, good again after two that failed.
pub fn grown() -> BackupReport {
    let mut report = proven();
    let size = |rows, bytes| Size { rows, bytes };
    let mut tables = HashMap::new();
    tables.insert(("public".to_owned(), "orders".to_owned()), size(1_190_000, 1_380_000_000));
    report.before = Some(Before { id: "20261121T030000Z-snapshot-9f8e7d6".into(), tables });
    report.past.failing = Failing::Since { runs: 2, at: "2026-11-20T03:00:12Z".into(), age: "2 d".into() };
    report.past.trend = (0_u32..30)
        .map(|n| {
            let unix = 1_792_800_000 + i64::from(n) * 86_400;
            let at = time::OffsetDateTime::from_unix_timestamp(unix).expect("is a moment");
            Point {
                at: crate::clock::stamp(at),
                unix,
                rows: 1_000_000 + u64::from(n) * 8_000,
                bytes: 1_200_000_000 + u64::from(n) * 10_000_000,
                stored_bytes: 350_000_000 + u64::from(n) * 2_100_000,
                seconds: Some(25.0 + f64::from(n % 7)),
                restore_seconds: (n != 3).then(|| 35.0 + f64::from(n % 5)),
            }
        })
        .collect();
    report
}

/// The third in a row that failed.
pub fn failing() -> BackupReport {
    let mut report = failed();
    report.past = Past {
        last_proven: Some(Proven::Last(Moment {
            id: "20261121T030000Z-snapshot-9f8e7d6".into(),
            at: "2026-11-21T03:00:00Z".into(),
            age: "24 h".into(),
        })),
        failing: Failing::Since { runs: 2, at: "2026-11-22T02:00:12Z".into(), age: "3 h".into() },
        trend: Vec::new(),
    };
    report
}

/// Refused before anything was written.
pub fn failed() -> BackupReport {
    BackupReport {
        outcome: Outcome::Failed,
        backup: None,
        proof: None,
        failure: Some(Failure {
            phase: "preflight".into(),
            message: "ep-cool-pooler.neon.tech is a transaction pooler".into(),
            hint: Some("use the direct address ep-cool.neon.tech in database-url".into()),
            exit_code: 1,
        }),
        phases: vec![phase("preflight", 0.0, 0.04)],
        seconds: 0.05,
        ..proven()
    }
}

/// Strings from a database that try to be something else.
pub fn hostile() -> BackupReport {
    const BAD: &str =
        "x\n::error::owned\r\n## <b>`hi`</b> | <!channel> @all [a](http://e) ##[group]z \u{1b}[2J ``` $(id)'";
    let mut report = proof_failed();
    report.database = BAD.into();
    report.source = format!("postgresql://u@h/{BAD}");
    report.failure =
        Some(Failure { phase: "compare".into(), message: BAD.into(), hint: Some(BAD.into()), exit_code: 3 });
    report.anomalies = vec![BAD.into()];
    report.warnings = vec![BAD.into()];
    if let Some(backup) = &mut report.backup {
        backup.uri = format!("s3://bucket/{BAD}/id/");
        backup.manifest.left_out = vec![BAD.into()];
        if let Some(table) = backup.manifest.tables.first_mut() {
            table.name = BAD.into();
        }
    }
    if let Some(proof) = &mut report.proof {
        proof.differences = vec![format!("table public.{BAD}: content differs")];
        proof.unproven = vec![BAD.into()];
    }
    report
}

/// A plan, with preflight questions of every status.
pub fn plan() -> PlanReport {
    let check = |name: &str, status, detail: &str, hint: Option<&str>| Check {
        name: name.into(),
        status,
        detail: detail.into(),
        hint: hint.map(Into::into),
    };
    let table = |name: &str, bytes, rows_estimate, chunks, taken_by| PlanTable {
        schema: "public".into(),
        name: name.into(),
        bytes,
        rows_estimate,
        chunks,
        taken_by,
    };
    PlanReport {
        database: "app".into(),
        source: "postgresql://backup@db.example.com:5432/app".into(),
        server_version: "17.5".into(),
        uri: "s3://backups/prod/app/2026/11/22/20261122T030000Z-snapshot-1a2b3c4/".into(),
        tools: vec![
            ("pg_dump".into(), "/usr/lib/postgresql/17/bin/pg_dump".into()),
            ("pg_restore".into(), "/usr/lib/postgresql/17/bin/pg_restore".into()),
        ],
        compression: "zstd:2".into(),
        jobs: 4,
        tables: vec![
            table("orders", 2_100_000_000, 1_200_000, 63, TakenBy::Streams),
            table("by_enum", 8_192, -1, 1, TakenBy::PgDump),
        ],
        extensions: vec![Extension { name: "pg_trgm".into(), version: "1.6".into(), schema: "public".into() }],
        unproven: Vec::new(),
        left_out: vec!["rows of public.sessions: exclude-table-data".into()],
        checks: vec![
            check("pooler", Status::Ok, "direct connection", None),
            check(
                "privileges",
                Status::Failed,
                "public.secrets cannot be read",
                Some("GRANT SELECT ON public.secrets TO backup"),
            ),
            check("disk", Status::Warning, "1.0 GiB free", Some("set scratch-dir")),
            check("store", Status::Skipped, "not asked", None),
        ],
    }
}

/// Of a verb that found differences, with hostile names.
pub fn page() -> Page {
    Page {
        verdict: Verdict::Doubtful,
        facts: vec![("backup", "20261122T030000Z-manual-1a2b3c4".into()), ("size", "1.0 MiB".into())],
        tables: vec![super::page::Table {
            title: "tables".into(),
            columns: vec![("rows", true), ("table", false)],
            rows: vec![vec!["1,000".into(), "public.or\u{1b}ders|x".into()], vec!["7".into(), "::error::x".into()]],
            whole: false,
        }],
        lists: vec![("differences", (0..7).map(|n| format!("table t{n}: <b> differs")).collect()), ("none", vec![])],
        commands: vec![("restore without us", vec!["pg_restore -d \"$TARGET\" ./archive".into()])],
        warnings: vec!["that was close".into()],
        ..Page::new("verify", "app: restored, but it differs")
    }
}
