//! Options as clap sees them: raw text, validated by [`crate::config`].
//!
//! An option that the command line does not give comes from an action input or an environment variable: [`parse`] walks
//! clap's own definitions, so that one definition serves the command line, the variables and the action. Options that several verbs
//! share stand in groups.

use crate::secret::Secret;
use clap::{Args, CommandFactory, Parser, Subcommand, parser::ValueSource};
use std::{convert::Infallible, ffi::OsString};

/// Back up PostgreSQL to S3, and prove the backup by a throwaway restore.
#[derive(Debug, Parser)]
#[command(name = "savepoint", version, max_term_width = 110, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take a consistent backup, store it, and prove it by restoring what was stored
    #[command(after_help = AFTER_BACKUP)]
    Backup(BackupArgs),
    /// Ask every question that a backup asks first, and print a line each with its cure
    #[command(after_help = AFTER_HELP)]
    Check(CheckArgs),
    /// Restore a stored backup, or any file that pg_dump writes; what is there stays, unless you say otherwise
    #[command(after_help = AFTER_RESTORE)]
    Restore(RestoreArgs),
    /// Prove a stored backup, or any file that pg_dump writes, by a throwaway restore: the restore drill
    #[command(after_help = AFTER_VERIFY)]
    Verify(VerifyArgs),
    /// List stored backups, the newest first
    #[command(after_help = AFTER_HELP)]
    List(ListArgs),
    /// Show one stored backup: tables, proof, timings, files, and how to restore it
    #[command(after_help = AFTER_HELP)]
    Show(ShowArgs),
    /// Compare two stored backups: tables, rows, sizes, schema
    #[command(after_help = AFTER_HELP)]
    Diff(DiffArgs),
    /// Delete old backups by a rule; print why each one stays or goes
    #[command(after_help = AFTER_HELP)]
    Prune(PruneArgs),
    /// Run as a GitHub action: options come from the inputs
    #[command(hide = true)]
    Action(Box<ActionArgs>),
}

const AFTER_HELP: &str = "Each option can also be set by a variable: SAVEPOINT_ and its name in upper case, hyphens as \
    underscores (SAVEPOINT_S3_ENDPOINT). An empty variable counts as not set.\n\
    List options may be repeated, and take commas or line breaks; a comma inside double quotes is kept.\n\n\
    Exit codes: 0 done; 1 failed; 2 wrong usage.";

const AFTER_BACKUP: &str = "Each option can also be set by a variable: SAVEPOINT_ and its name in upper case, hyphens as \
    underscores (SAVEPOINT_S3_ENDPOINT). An empty variable counts as not set.\n\
    List options may be repeated, and take commas or line breaks; a comma inside double quotes is kept.\n\n\
    Exit codes: 0 stored and proven; 1 failed, nothing stored; 2 wrong usage; 3 stored, but its proof failed; 4 stored and \
    proven, but pruning failed, or an anomaly was found and --fail-on-anomaly is set.";

const AFTER_RESTORE: &str = "BACKUP is an id, latest (the default), oldest, a backup's address (s3://bucket/prefix/app/2026/11/22/ID or its \
    folder), or a file that pg_dump wrote (plain, gzip or zstd, custom, tar or directory format).\n\
    Without --create, --swap or --clean the target database must be empty or missing.\n\n\
    savepoint restore latest --create app_restored   # beside what is there\n\
    savepoint restore latest --swap                  # in its place; what was there is kept\n\n\
    Each option can also be set by a variable: SAVEPOINT_ and its name in upper case, hyphens as underscores.\n\n\
    Exit codes: 0 restored and equal; 1 failed, the target's data untouched; 2 wrong usage; 3 restored, but not equal.";

const AFTER_VERIFY: &str = "BACKUP is an id, latest (the default), oldest, all, a backup's address, or a file that pg_dump wrote.\n\n\
    savepoint verify latest --check-sql checks.sql --max-rto 15m --max-age 26h\n\
    savepoint verify ./app.dump\n\n\
    Each option can also be set by a variable: SAVEPOINT_ and its name in upper case, hyphens as underscores.\n\n\
    Exit codes: 0 proven; 1 could not be tried; 2 wrong usage; 3 not proven: it differs, a check failed, or a limit was passed.";

/// The database that is read.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// Database to back up: a libpq URI or keyword string. Better set by SAVEPOINT_DATABASE_URL or DATABASE_URL; the PG*
    /// variables serve too. Example: postgresql://user:password@host/app
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub database_url: Option<Secret>,
}

/// Which part of a database is taken or restored.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct PartArgs {
    /// Only these schemas, as pg_dump's --schema. Example: public,billing
    #[arg(long, value_name = "PATTERNS")]
    pub schemas: Vec<String>,
    /// Only these tables, as pg_dump's --table. Example: 'public.orders,public.item*'
    #[arg(long, value_name = "PATTERNS")]
    pub tables: Vec<String>,
    /// Only definitions, no rows
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub schema_only: String,
}

/// Which parts of a database are left out.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct ExcludeArgs {
    /// Schemas to leave out, as pg_dump's --exclude-schema. Example: audit
    #[arg(long, value_name = "PATTERNS")]
    pub exclude_schemas: Vec<String>,
    /// Tables to leave out, as pg_dump's --exclude-table. Example: 'public.tmp_*'
    #[arg(long, value_name = "PATTERNS")]
    pub exclude_tables: Vec<String>,
    /// Tables to take without their rows, as pg_dump's --exclude-table-data. Example: public.sessions
    #[arg(long, value_name = "PATTERNS")]
    pub exclude_table_data: Vec<String>,
}

/// Where backups lie.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Destination")]
pub struct DestinationArgs {
    /// Where backups are stored: s3://bucket/prefix, or a folder (/path, ./path, file:///path)
    #[arg(long, value_name = "DEST")]
    pub destination: Option<String>,
    /// Endpoint of an S3 clone. Example: https://account.r2.cloudflarestorage.com
    #[arg(long, value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// Region; without it, that of the AWS environment, and us-east-1 for an S3 clone. Example: eu-central-1
    #[arg(long, value_name = "REGION")]
    pub s3_region: Option<String>,
    /// Address the bucket in the path, not the host name; without it, true with s3-endpoint. Example: --s3-path-style=false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub s3_path_style: Option<String>,
    /// Storage class of what is stored. Example: STANDARD_IA
    #[arg(long, value_name = "CLASS")]
    pub s3_storage_class: Option<String>,
    /// Server-side encryption; without it, the bucket's own
    #[arg(long, value_name = "AES256|aws:kms")]
    pub s3_sse: Option<String>,
    /// Key for aws:kms. Example: alias/backups
    #[arg(long, value_name = "KEY")]
    pub s3_kms_key_id: Option<String>,
    /// Checksums sent with requests; auto: none where the server refuses them
    #[arg(long, value_name = "auto|required|off", default_value = "auto")]
    pub s3_checksums: String,
}

/// How a backup is taken.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Backup")]
pub struct TakeArgs {
    /// Compression, with an optional level: zstd:1 to zstd:19, gzip:1 to gzip:9. auto: zstd from PostgreSQL 16 on, gzip
    /// before, as the server's own pg_restore reads it. Example: zstd:9
    #[arg(long, value_name = "auto|zstd|gzip|none", default_value = "auto")]
    pub compression: String,
    /// Read rows no faster than this: bytes of their text per second, over all connections together. Slows neither what pg_dump
    /// itself reads (schema, large objects) nor the throwaway restore. Without it, no limit. Example: 20MB (20MiB, 500k)
    #[arg(long, value_name = "RATE")]
    pub max_rate: Option<String>,
    /// Store a hash of the source's host name in place of the name
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub redact_host: String,
    /// Once this backup is proven, delete this database's old backups of the same kind by the rule
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub prune: String,
}

/// What is remarkable about a backup beside the one before.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Anomalies")]
pub struct AnomalyArgs {
    /// Warn when a table lost more than this many percent of its rows, or the whole backup of its size, since the backup before
    #[arg(long, value_name = "PERCENT", default_value = "50")]
    pub max_drop: String,
    /// Warn when the backup's size grew by more than this many percent
    #[arg(long, value_name = "PERCENT", default_value = "300")]
    pub max_growth: String,
    /// Exit with 4 when a proven backup differs so much from the one before
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub fail_on_anomaly: String,
    /// Let a backup of a database without any table succeed
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub allow_empty: String,
}

/// What the work is done with.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Work")]
pub struct EngineArgs {
    /// Connections that move rows at the same time, 1 to 64
    #[arg(long, value_name = "N", default_value = "4")]
    pub jobs: String,
    /// Folder of pg_dump, pg_restore and the server; without it, PATH and /usr/lib/postgresql/*/bin. Example:
    /// /opt/postgresql/17/bin
    #[arg(long, value_name = "DIR")]
    pub pg_bin_dir: Vec<String>,
    /// Folder for the throwaway server and pg_dump's own files; without it, the temporary folder. Example: /mnt/scratch
    #[arg(long, value_name = "DIR")]
    pub scratch_dir: Option<String>,
}

/// How much is proven.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Proof")]
pub struct LevelArgs {
    /// What to prove: every row's content, row counts, the stored files, or nothing
    #[arg(long, value_name = "content|rows|archive|none", default_value = "content")]
    pub verify: String,
}

/// Where it is proven.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Proof")]
pub struct ServerArgs {
    /// Server for the throwaway database, in place of the built-in one. Example:
    /// postgresql://postgres:password@postgis/postgres
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub verify_url: Option<Secret>,
}

/// Who is told.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Notification")]
pub struct NotifyArgs {
    /// Slack incoming webhook to tell. Better set by SAVEPOINT_SLACK_WEBHOOK_URL. Example:
    /// https://hooks.slack.com/services/…
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub slack_webhook_url: Option<Secret>,
    /// Which runs Slack is told of
    #[arg(long, value_name = "always|failure|success", default_value = "always")]
    pub notify_on: String,
    /// Ping URL of a check at healthchecks.io or its kin: told at start (/start), success and failure (/fail). Better set by
    /// SAVEPOINT_HEARTBEAT_URL. Example: https://hc-ping.com/uuid
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub heartbeat_url: Option<Secret>,
}

/// How the result is shown.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Print one JSON object in place of the table
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub json: String,
    /// No progress and no notices, only warnings and the result
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub quiet: String,
    /// Say more while working
    #[arg(long, short = 'v', value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub verbose: String,

    /// Set by [`parse`]: this is the action, and relative folders begin at the workflow's workspace.
    #[arg(skip)]
    pub in_action: bool,
}

/// Whether anything is done at all.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct DryRunArgs {
    /// Print what would be done, and do nothing
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub dry_run: String,
}

/// Why a backup is taken.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Backup")]
pub struct KindArgs {
    /// Why the backup is taken; without it by the GitHub event (scheduled, else snapshot), manual elsewhere
    #[arg(long, value_name = "snapshot|scheduled|manual")]
    pub kind: Option<String>,
}

/// Which kind of stored backup is meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct OfKindArgs {
    /// Only backups of this kind
    #[arg(long, value_name = "snapshot|scheduled|manual|pre-restore")]
    pub kind: Option<String>,
}

/// Which database's backups are meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct DatabaseArgs {
    /// Only backups of this database. Without it, list and prune take all, the others that of DATABASE_URL, or the only one there
    /// is. Example: app
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,

    /// The action's `database-url`, which names a database too.
    #[arg(skip)]
    pub of_url: Option<Secret>,
}

/// Which stored backup is meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct PickArgs {
    /// The same as BACKUP
    #[arg(long, value_name = "BACKUP")]
    pub backup: Option<String>,
    /// Only backups taken before this moment, in UTC. Example: 2026-11-22T03:00
    #[arg(long, value_name = "TIME")]
    pub before: Option<String>,
}

/// Where and how a backup is restored.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Restore")]
pub struct TargetArgs {
    /// The database to restore into: a libpq URI or keyword string. Better set by SAVEPOINT_TO. Example:
    /// postgresql://user:password@host/app
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub to: Option<Secret>,
    /// Restore into a new database of this name on the target's server. Example: app_restored
    #[arg(long, value_name = "NAME")]
    pub create: Option<String>,
    /// Restore into a new database, then rename the target aside and the new one into its place
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub swap: String,
    /// Empty the target database first, after a backup of it; needs --confirm
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub clean: String,
    /// The target database's name, typed once more for --clean and protected targets. Example: app
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// Take no backup of the target before --clean
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub no_safety_backup: String,
    /// Targets whose host or name holds one of these words always need --confirm; * and ? as in a shell
    #[arg(long, value_name = "PATTERNS", default_value = "prod,production")]
    pub protect: String,
    /// Restore rows only, into tables that are there and empty
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub data_only: String,
    /// Let everything belong to the user of the target, and skip grants
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub no_owner: String,
    /// Create the roles that the backup names and the target lacks; they cannot log in
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub create_roles: String,
    /// Restore even a backup whose proof failed or is missing, or that has no manifest
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub force_unproven: String,
}

/// What a restore drill asks beside the proof.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Drill")]
pub struct DrillArgs {
    /// File of queries for the restored copy; one that returns a row, or an error, fails the drill. Example: ./checks.sql
    #[arg(long, value_name = "FILE")]
    pub check_sql: Option<String>,
    /// Fail when the restore takes longer. Example: 15m
    #[arg(long, value_name = "DURATION")]
    pub max_rto: Option<String>,
    /// Fail when the backup is older. Example: 26h
    #[arg(long, value_name = "DURATION")]
    pub max_age: Option<String>,
}

/// Which backups a list shows.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct AgeArgs {
    /// Only backups younger than this. Example: 7d
    #[arg(long, value_name = "DURATION")]
    pub newer_than: Option<String>,
    /// Only backups older than this. Example: 30d
    #[arg(long, value_name = "DURATION")]
    pub older_than: Option<String>,
    /// Only backups whose last proof passed, failed, or that have none
    #[arg(long, value_name = "passed|failed|none")]
    pub proof: Option<String>,
}

/// Which backups stay.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Retention")]
pub struct PolicyArgs {
    /// Keep the newest N of each kind. Example: 10
    #[arg(long, value_name = "N")]
    pub keep_last: Option<String>,
    /// Keep the newest of each of the last N days that have one. Example: 7
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<String>,
    /// Keep the newest of each of the last N weeks that have one. Example: 5
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<String>,
    /// Keep the newest of each of the last N months that have one. Example: 12
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<String>,
    /// Keep the newest of each of the last N years that have one. Example: 3
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<String>,
    /// Keep all that are at most this much older than the newest one. Without any rule: scheduled 30d, snapshot 90d, pre-restore 7d,
    /// manual for ever. Example: 1y6m
    #[arg(long, value_name = "DURATION")]
    pub keep_within: Option<String>,
    /// Always keep this many of each kind
    #[arg(long, value_name = "N", default_value = "3")]
    pub min_keep: String,
    /// Delete even more than half of the backups
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub confirm_large: String,
}

/// Options of `savepoint backup`, as given: absent where there is no fixed default.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct BackupArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub part: PartArgs,
    #[command(flatten)]
    pub exclude: ExcludeArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub kind: KindArgs,
    #[command(flatten)]
    pub take: TakeArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub anomaly: AnomalyArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub level: LevelArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub dry: DryRunArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of `savepoint check`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    /// Post a test message to Slack; without it, only whether the webhook answers is asked
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub post: String,
    #[command(flatten)]
    pub backup: BackupArgs,
}

/// Options of `savepoint restore`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct RestoreArgs {
    /// Which backup: an id, latest, oldest, an address or a file
    #[arg(value_name = "BACKUP")]
    pub which: Option<String>,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub part: PartArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub level: LevelArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub dry: DryRunArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of `savepoint verify`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct VerifyArgs {
    /// Which backup: an id, latest, oldest, all, an address or a file
    #[arg(value_name = "BACKUP")]
    pub which: Option<String>,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub drill: DrillArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub level: LevelArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of `savepoint list`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub age: AgeArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of `savepoint show`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct ShowArgs {
    /// Which backup: an id, latest, oldest, an address or a file
    #[arg(value_name = "BACKUP")]
    pub which: Option<String>,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The other side of a comparison.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct WithArgs {
    /// The same as OTHER
    #[arg(long, value_name = "BACKUP")]
    pub compare_with: Option<String>,
}

/// Options of `savepoint diff`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct DiffArgs {
    /// The one backup: an id, latest, oldest or an address
    #[arg(value_name = "BACKUP")]
    pub which: Option<String>,
    /// The other one
    #[arg(value_name = "OTHER")]
    pub other: Option<String>,
    #[command(flatten)]
    pub with: WithArgs,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of `savepoint prune`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct PruneArgs {
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub dry: DryRunArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Inputs of the GitHub action.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct ActionArgs {
    /// What to do
    #[arg(long, value_name = "COMMAND", default_value = "backup")]
    pub command: String,
    #[command(flatten)]
    pub check: CheckArgs,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub drill: DrillArgs,
    #[command(flatten)]
    pub age: AgeArgs,
    #[command(flatten)]
    pub with: WithArgs,
}

impl ActionArgs {
    fn database(&self) -> DatabaseArgs {
        DatabaseArgs { of_url: self.check.backup.source.database_url.clone(), ..self.database.clone() }
    }

    fn of_kind(&self) -> OfKindArgs {
        OfKindArgs { kind: self.check.backup.kind.kind.clone() }
    }

    fn restore(&self) -> RestoreArgs {
        let b = self.check.backup.clone();
        RestoreArgs {
            which: None,
            pick: self.pick.clone(),
            of_kind: self.of_kind(),
            database: self.database(),
            part: b.part,
            target: self.target.clone(),
            destination: b.destination,
            engine: b.engine,
            level: b.level,
            notify: b.notify,
            dry: b.dry,
            output: b.output,
        }
    }

    fn verify(&self) -> VerifyArgs {
        let b = self.check.backup.clone();
        VerifyArgs {
            which: None,
            pick: self.pick.clone(),
            of_kind: self.of_kind(),
            database: self.database(),
            drill: self.drill.clone(),
            destination: b.destination,
            engine: b.engine,
            level: b.level,
            server: b.server,
            notify: b.notify,
            output: b.output,
        }
    }

    fn list(&self) -> ListArgs {
        let b = self.check.backup.clone();
        ListArgs {
            of_kind: self.of_kind(),
            database: self.database(),
            age: self.age.clone(),
            destination: b.destination,
            output: b.output,
        }
    }

    fn show(&self) -> ShowArgs {
        let b = self.check.backup.clone();
        ShowArgs {
            which: None,
            pick: self.pick.clone(),
            of_kind: self.of_kind(),
            database: self.database(),
            destination: b.destination,
            output: b.output,
        }
    }

    fn diff(&self) -> DiffArgs {
        let show = self.show();
        DiffArgs {
            which: None,
            other: None,
            with: self.with.clone(),
            pick: show.pick,
            of_kind: show.of_kind,
            database: show.database,
            destination: show.destination,
            output: show.output,
        }
    }

    fn prune(&self) -> PruneArgs {
        let b = self.check.backup.clone();
        PruneArgs {
            of_kind: self.of_kind(),
            database: self.database(),
            policy: b.policy,
            destination: b.destination,
            notify: b.notify,
            dry: b.dry,
            output: b.output,
        }
    }
}

/// The inputs as options of a verb.
macro_rules! of_inputs {
    ($($args:ty: $of:expr,)*) => {
        $(impl From<&ActionArgs> for $args {
            fn from(action: &ActionArgs) -> Self {
                $of(action)
            }
        })*
    };
}

of_inputs! {
    BackupArgs: |action: &ActionArgs| action.check.backup.clone(),
    CheckArgs: |action: &ActionArgs| action.check.clone(),
    RestoreArgs: ActionArgs::restore,
    VerifyArgs: ActionArgs::verify,
    ListArgs: ActionArgs::list,
    ShowArgs: ActionArgs::show,
    DiffArgs: ActionArgs::diff,
    PruneArgs: ActionArgs::prune,
}

/// Never fails, so that clap never has a reason to print the value.
fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.trim()))
}

/// Parses the command line, then fills what it does not give: under `action` from `INPUT_<NAME>` (upper case, hyphens
/// kept, as the runner sets it), then from `SAVEPOINT_<NAME>` (hyphens as underscores). Empty values count as absent,
/// and so does an input at its default, because the runner always hands that in and a variable could never speak.
///
/// # Errors
/// As clap: wrong usage, but also `--help` and `--version`. Show them by [`safe_message`].
pub fn parse(argv: Vec<OsString>, env: &dyn Fn(&str) -> Option<String>) -> Result<Command, clap::Error> {
    let matches = Cli::command().try_get_matches_from(&argv)?;
    let mut filled = argv;
    if let Some((verb, given)) = matches.subcommand() {
        let cli = Cli::command();
        let options = cli.find_subcommand(verb).into_iter().flat_map(clap::Command::get_arguments);
        let values: Vec<OsString> = options
            .filter(|arg| given.value_source(arg.get_id().as_str()) != Some(ValueSource::CommandLine))
            .filter_map(|arg| {
                let name = arg.get_long()?;
                let value = from_environment(arg, name, verb == "action", env)?;
                Some(format!("--{name}={value}").into())
            })
            .collect();
        // Right behind the verb: a `--` that the user gave ends the options.
        let behind_verb = filled.len().min(2);
        filled.splice(behind_verb..behind_verb, values);
    }
    let mut command = Cli::try_parse_from(filled)?.command;
    if let Command::Action(action) = &mut command {
        action.check.backup.output.in_action = true;
    }
    Ok(command)
}

fn from_environment(
    arg: &clap::Arg,
    name: &str,
    in_action: bool,
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let set = |variable: String| env(&variable).filter(|value| !value.trim().is_empty());
    if !arg.get_action().takes_values() {
        return None;
    }
    let default = arg.get_default_values().first().and_then(|d| d.to_str());
    let input = in_action.then(|| set(format!("INPUT_{}", name.to_uppercase()))).flatten();
    input
        .filter(|value| Some(value.trim()) != default)
        .or_else(|| set(format!("SAVEPOINT_{}", name.to_uppercase().replace('-', "_"))))
}

/// The heartbeat's URL of a command line that [`parse`] refuses, as far as it can be told, for the verbs that have one.
pub fn heartbeat_of(argv: &[OsString], env: &dyn Fn(&str) -> Option<String>) -> Option<Secret> {
    let argv: Vec<&str> = argv.iter().filter_map(|a| a.to_str()).collect();
    let verb = *argv.get(1)?;
    let given = |(at, arg): (usize, &&str)| match arg.strip_prefix("--heartbeat-url")? {
        "" => argv.get(at + 1).map(|value| (*value).to_owned()),
        value => value.strip_prefix('=').map(str::to_owned),
    };
    let set = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let input = || (verb == "action").then(|| set("INPUT_HEARTBEAT-URL")).flatten();
    let url = argv.iter().enumerate().find_map(given).or_else(input).or_else(|| set("SAVEPOINT_HEARTBEAT_URL"))?;
    ["backup", "restore", "verify", "prune", "action"].contains(&verb).then(|| Secret::new(url.trim()))
}

/// A usage error as text, without any argument that may hold a password: clap quotes what it did not expect, and a
/// database URL is easily given without its option.
pub fn safe_message(error: &clap::Error, argv: &[OsString]) -> String {
    let mut text = error.to_string();
    for arg in argv.iter().filter_map(|a| a.to_str()) {
        let value = if arg.starts_with('-') { arg.split_once('=').map_or("", |(_, value)| value) } else { arg };
        if value.contains("://") || value.contains("password=") {
            text = text.replace(value, "***");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(argv: &[&str], env: &[(&str, &str)]) -> Result<Command, clap::Error> {
        let env: Vec<(String, String)> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let lookup = move |key: &str| env.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
        parse(argv.iter().map(|a| OsString::from(*a)).collect(), &lookup)
    }

    fn backup(argv: &[&str], env: &[(&str, &str)]) -> BackupArgs {
        match run(argv, env).expect("parses") {
            Command::Backup(args) => args,
            Command::Check(args) => args.backup,
            Command::Action(args) => args.check.backup,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_line_beats_inputs_and_inputs_beat_variables() {
        let env = [("INPUT_DESTINATION", "s3://input"), ("SAVEPOINT_DESTINATION", "s3://variable")];
        let argv = ["savepoint", "action", "--destination", "s3://line"];
        assert_eq!(backup(&argv, &env).destination.destination.as_deref(), Some("s3://line"));
        assert_eq!(backup(&argv[..2], &env).destination.destination.as_deref(), Some("s3://input"));
        assert_eq!(backup(&argv[..2], &env[1..]).destination.destination.as_deref(), Some("s3://variable"));
        // Inputs belong to the action verb alone.
        assert_eq!(backup(&["savepoint", "backup"], &env).destination.destination.as_deref(), Some("s3://variable"));
    }

    #[test]
    fn empty_values_and_defaulted_inputs_count_as_not_set() {
        let env = [("INPUT_JOBS", "4"), ("SAVEPOINT_JOBS", "9"), ("INPUT_KIND", ""), ("SAVEPOINT_KIND", " \n")];
        let args = backup(&["savepoint", "action"], &env);
        assert_eq!(args.engine.jobs, "9");
        assert_eq!(args.kind.kind, None);
        assert_eq!(backup(&["savepoint", "action"], &[("INPUT_JOBS", "6"), ("SAVEPOINT_JOBS", "9")]).engine.jobs, "6");
    }

    #[test]
    fn flags_take_an_optional_value_from_everywhere() {
        assert_eq!(backup(&["savepoint", "backup"], &[]).dry.dry_run, "false");
        assert_eq!(backup(&["savepoint", "backup", "--dry-run", "-v"], &[]).dry.dry_run, "true");
        assert_eq!(backup(&["savepoint", "backup", "-v"], &[]).output.verbose, "true");
        let env = [("SAVEPOINT_DRY_RUN", "true")];
        assert_eq!(backup(&["savepoint", "backup"], &env).dry.dry_run, "true");
        assert_eq!(backup(&["savepoint", "backup", "--dry-run=false"], &env).dry.dry_run, "false");
    }

    #[test]
    fn values_with_dashes_line_breaks_and_a_double_dash_arrive_whole() {
        let env = [("SAVEPOINT_TABLES", "a\n-b"), ("INPUT_DATABASE-URL", "postgresql://u:p%20w@h/d\n")];
        let args = backup(&["savepoint", "action", "--"], &env);
        assert_eq!(args.part.tables, ["a\n-b"]);
        assert_eq!(args.source.database_url.expect("is set").expose(), "postgresql://u:p%20w@h/d");
    }

    #[test]
    fn errors_hold_no_password() {
        for argv in [
            ["savepoint", "backup", "postgresql://u:s3cret@h/d"],
            ["savepoint", "backup", "--databse-url=postgresql://u:s3cret@h/d"],
            ["savepoint", "backup", "host=h password=s3cret"],
            ["savepoint", "postgresql://u:s3cret@h/d", "backup"],
        ] {
            let error = run(&argv, &[]).expect_err("is wrong usage");
            let text = safe_message(&error, &argv.map(OsString::from));
            assert!(!text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn help_is_as_reviewed() {
        let mut cli = Cli::command().term_width(100);
        // Now the usage lines name the program too.
        cli.build();
        insta::assert_snapshot!("help", cli.render_help().to_string());
        for verb in ["backup", "restore", "verify", "list", "show", "diff", "prune"] {
            let help = cli.find_subcommand_mut(verb).expect("exists").render_help();
            insta::assert_snapshot!(format!("help_{verb}"), help.to_string());
        }
    }
}
