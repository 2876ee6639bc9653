//! The competitors: command lines as people write them.

use crate::{
    measure::Job,
    stage::{Place, Stage},
};

/// One way to back up a database.
#[derive(Clone, Debug)]
pub enum Dump {
    /// A shell line. `$URL` is the database, `$BUCKET` the bucket, `$DIR` an empty folder, `$JOBS` the connections.
    Shell {
        /// Row of the tables.
        name: String,
        /// The line.
        line: &'static str,
    },
    /// savepoint with further arguments.
    Savepoint {
        /// Row of the tables.
        name: String,
        /// What follows `savepoint backup`.
        args: Vec<String>,
    },
}

/// What most people run; all ratios are to this one.
pub const BASE: &str = "pg_dump -Fc | aws";
/// Without upload: a reference.
pub const FILE: &str = "pg_dump -Fc -f file (no upload)";

/// A public key; nobody opens what is measured.
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// Stands for a second prefix of the place's bucket.
const SECOND: &str = "$SECOND";

impl Dump {
    /// pg_dump's custom format, as `gzip -6`, uploaded.
    pub fn custom() -> Self {
        Self::shell(BASE, r#"pg_dump -Fc -d "$URL" | aws s3 cp --only-show-errors - "s3://$BUCKET/dump""#)
    }

    /// The same into a file.
    pub fn file() -> Self {
        Self::shell(FILE, r#"pg_dump -Fc -d "$URL" -f "$DIR/file""#)
    }

    /// Everything that is compared; `reference`: also what uploads nothing.
    pub fn all(jobs: usize, reference: bool) -> Vec<Self> {
        let mut all = vec![
            Self::custom(),
            Self::shell(
                &format!("pg_dump -Fd -j{jobs}, aws cp"),
                r#"pg_dump -Fd -j"$JOBS" -d "$URL" -f "$DIR/dump" &&
                aws s3 cp --only-show-errors --recursive "$DIR/dump" "s3://$BUCKET/dump""#,
            ),
            Self::shell(
                "pg_dump -Fp | zstd -3 -T0 | aws",
                r#"pg_dump -Fp -d "$URL" | zstd -q -3 -T0 | aws s3 cp --only-show-errors - "s3://$BUCKET/dump""#,
            ),
            Self::shell(
                "pg_dump -Fc zstd:3 | aws",
                r#"pg_dump -Fc --compress=zstd:3 -d "$URL" | aws s3 cp --only-show-errors - "s3://$BUCKET/dump""#,
            ),
        ];
        if reference {
            all.push(Self::file());
        }
        all.extend(["rows", "content"].map(Self::savepoint));
        all.extend(Self::without_proof());
        all
    }

    /// savepoint without a proof, and what encryption and a second place cost beside it.
    pub fn without_proof() -> [Self; 3] {
        [
            Self::savepoint("none"),
            Self::savepoint_with(&["--encrypt-to", RECIPIENT]).named("savepoint, verify none, encrypted"),
            Self::savepoint_with(&["--destination", SECOND]).named("savepoint, verify none, two destinations"),
        ]
    }

    fn named(self, name: &str) -> Self {
        match self {
            Self::Shell { line, .. } => Self::Shell { name: name.to_owned(), line },
            Self::Savepoint { args, .. } => Self::Savepoint { name: name.to_owned(), args },
        }
    }

    /// savepoint with this `--verify`.
    pub fn savepoint(verify: &str) -> Self {
        Self::Savepoint {
            name: format!("savepoint, verify {verify}"),
            args: vec!["--verify".to_owned(), verify.to_owned()],
        }
    }

    /// savepoint that only dumps, with these arguments more.
    pub fn savepoint_with(args: &[&str]) -> Self {
        let args: Vec<String> = ["--verify", "none"].iter().chain(args).map(|&a| a.to_owned()).collect();
        Self::Savepoint { name: format!("savepoint {}", args[2..].join(" ")), args }
    }

    /// A shell's.
    pub fn shell(name: &str, line: &'static str) -> Self {
        Self::Shell { name: name.to_owned(), line }
    }

    /// Row of the tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Shell { name, .. } | Self::Savepoint { name, .. } => name,
        }
    }

    /// A program that it needs and that is not there.
    pub fn lacks(&self, stage: &Stage) -> Option<&'static str> {
        let Self::Shell { line, .. } = self else { return None };
        let needs = |program: &str| line.contains(&format!("{program} "));
        if needs("aws") && stage.aws.is_none() {
            return Some("aws");
        }
        (needs("| zstd") && !stage.zstd).then_some("zstd")
    }

    /// The job: from a database at `url` to an S3 server at `endpoint`.
    pub fn job(&self, stage: &Stage, url: &str, endpoint: &str, place: &Place) -> Job {
        match self {
            Self::Shell { line, .. } => shell(stage, line, url, endpoint, place),
            Self::Savepoint { args, .. } => {
                let mut job = savepoint(stage, "backup", endpoint, place);
                if !args.iter().any(|a| a == "--jobs") {
                    job.line.extend(["--jobs".to_owned(), stage.options.jobs.to_string()]);
                }
                let second = format!("s3://{}/second", place.bucket);
                job.line.extend(args.iter().map(|arg| if arg == SECOND { second.clone() } else { arg.clone() }));
                job.env.push(("SAVEPOINT_DATABASE_URL".to_owned(), url.to_owned()));
                job
            }
        }
    }
}

/// A job of a shell line; see [`Dump::Shell`].
pub fn shell(stage: &Stage, line: &str, url: &str, endpoint: &str, place: &Place) -> Job {
    let mut env = stage.env(endpoint);
    for (name, value) in [
        ("URL", url),
        ("BUCKET", &place.bucket),
        ("DIR", &place.dir.display().to_string()),
        ("JOBS", &stage.options.jobs.to_string()),
    ] {
        env.push((name.to_owned(), value.to_owned()));
    }
    Job { line: ["bash", "-c", &format!("set -o pipefail\n{line}")].map(str::to_owned).into(), env }
}

/// A job of savepoint on a place.
pub fn savepoint(stage: &Stage, verb: &str, endpoint: &str, place: &Place) -> Job {
    let bin = stage.source.bin.display().to_string();
    let destination = format!("s3://{}/backups", place.bucket);
    let line = [env!("CARGO_BIN_EXE_savepoint"), verb, "--quiet", "--pg-bin-dir", &bin, "--destination", &destination];
    let mut env = stage.env(endpoint);
    env.push(("TMPDIR".to_owned(), place.dir.display().to_string()));
    let mut line: Vec<String> = line.iter().map(|&s| s.to_owned()).collect();
    line.extend(["--s3-endpoint".to_owned(), endpoint.to_owned()]);
    Job { line, env }
}
