//! Options as clap sees them: raw text, validated by [`crate::config`].
//!
//! An option that the command line does not give comes from an action input or an environment variable: [`parse`] walks
//! clap's own definitions, so that one definition serves the command line, the variables and the action.

use crate::secret::Secret;
use clap::{CommandFactory, Parser, Subcommand, parser::ValueSource};
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
    #[command(after_help = AFTER_HELP)]
    Backup(BackupArgs),
    /// Ask every question that a backup asks first, and print a line each with its cure
    #[command(after_help = AFTER_HELP)]
    Check(CheckArgs),
    /// Run as a GitHub action: options come from the inputs
    #[command(hide = true)]
    Action(ActionArgs),
}

const AFTER_HELP: &str = "Each option can also be set by a variable: SAVEPOINT_ and its name in upper case, hyphens as \
    underscores (SAVEPOINT_S3_ENDPOINT). An empty variable counts as not set.\n\
    List options may be repeated, and take commas or line breaks; a comma inside double quotes is kept.\n\n\
    Exit codes: 0 stored and proven; 1 failed, nothing stored; 2 wrong usage; 3 stored, but its proof failed.";

/// Options of `savepoint check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Post a test message to Slack; without it, only whether the webhook answers is asked
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub post: String,
    /// As for a backup.
    #[command(flatten)]
    pub backup: BackupArgs,
}

/// Inputs of the GitHub action.
#[derive(Debug, clap::Args)]
pub struct ActionArgs {
    /// What to do: backup or check
    #[arg(long, value_name = "backup|check", default_value = "backup")]
    pub command: String,
    /// As for `check`.
    #[command(flatten)]
    pub check: CheckArgs,
}

/// Options of `savepoint backup`, as given: absent where there is no fixed default.
#[derive(Clone, Debug, clap::Args)]
pub struct BackupArgs {
    /// Database to back up: a libpq URI or keyword string. Better set by SAVEPOINT_DATABASE_URL or DATABASE_URL; the PG*
    /// variables serve too. Example: postgresql://user:password@host/app
    #[arg(long, value_name = "URL", value_parser = secret, help_heading = "Source")]
    pub database_url: Option<Secret>,
    /// Schemas to take, as pg_dump's --schema. Example: public,billing
    #[arg(long, value_name = "PATTERNS", help_heading = "Source")]
    pub schemas: Vec<String>,
    /// Schemas to leave out, as pg_dump's --exclude-schema. Example: audit
    #[arg(long, value_name = "PATTERNS", help_heading = "Source")]
    pub exclude_schemas: Vec<String>,
    /// Tables to take, as pg_dump's --table. Example: 'public.orders,public.item*'
    #[arg(long, value_name = "PATTERNS", help_heading = "Source")]
    pub tables: Vec<String>,
    /// Tables to leave out, as pg_dump's --exclude-table. Example: 'public.tmp_*'
    #[arg(long, value_name = "PATTERNS", help_heading = "Source")]
    pub exclude_tables: Vec<String>,
    /// Tables to take without their rows, as pg_dump's --exclude-table-data. Example: public.sessions
    #[arg(long, value_name = "PATTERNS", help_heading = "Source")]
    pub exclude_table_data: Vec<String>,
    /// Take the schema only, no rows
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", help_heading = "Source")]
    pub schema_only: String,

    /// Where to store it: s3://bucket/prefix, or a folder (/path, ./path, file:///path)
    #[arg(long, value_name = "DEST", help_heading = "Destination")]
    pub destination: Option<String>,
    /// Endpoint of an S3 clone. Example: https://account.r2.cloudflarestorage.com
    #[arg(long, value_name = "URL", help_heading = "Destination")]
    pub s3_endpoint: Option<String>,
    /// Region; without it, that of the AWS environment, else us-east-1 for an S3 clone. Example: eu-central-1
    #[arg(long, value_name = "REGION", help_heading = "Destination")]
    pub s3_region: Option<String>,
    /// Address the bucket in the path; without it, on with s3-endpoint. Example: --s3-path-style=false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        help_heading = "Destination")]
    pub s3_path_style: Option<String>,
    /// Storage class. Example: STANDARD_IA
    #[arg(long, value_name = "CLASS", help_heading = "Destination")]
    pub s3_storage_class: Option<String>,
    /// Server-side encryption; without it, the bucket's own
    #[arg(long, value_name = "AES256|aws:kms", help_heading = "Destination")]
    pub s3_sse: Option<String>,
    /// Key for aws:kms. Example: alias/backups
    #[arg(long, value_name = "KEY", help_heading = "Destination")]
    pub s3_kms_key_id: Option<String>,
    /// Checksums sent with requests: auto goes without where the server refuses them
    #[arg(long, value_name = "auto|required|off", default_value = "auto", help_heading = "Destination")]
    pub s3_checksums: String,

    /// Why it is taken; without it: scheduled or snapshot by the GitHub event, manual elsewhere
    #[arg(long, value_name = "snapshot|scheduled|manual", help_heading = "Backup")]
    pub kind: Option<String>,
    /// Connections that read rows at the same time, 1 to 64
    #[arg(long, value_name = "N", default_value = "4", help_heading = "Backup")]
    pub jobs: String,
    /// Compression, with an optional level: zstd:1 to zstd:19, gzip:1 to gzip:9. auto: zstd from PostgreSQL 16 on, gzip
    /// before, as the server's own pg_restore reads it. Example: zstd:9
    #[arg(long, value_name = "auto|zstd|gzip|none", default_value = "auto", help_heading = "Backup")]
    pub compression: String,
    /// Store a hash of the source's host name in place of the name
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", help_heading = "Backup")]
    pub redact_host: String,
    /// Folder of pg_dump, pg_restore and the server; else PATH and /usr/lib/postgresql/*/bin. Example:
    /// /opt/postgresql/17/bin
    #[arg(long, value_name = "DIR", help_heading = "Backup")]
    pub pg_bin_dir: Vec<String>,
    /// Folder for the throwaway server and pg_dump's own files; else the system's temporary folder. Example: /mnt/scratch
    #[arg(long, value_name = "DIR", help_heading = "Backup")]
    pub scratch_dir: Option<String>,

    /// What to prove: every row's content, row counts, the stored files, or nothing
    #[arg(long, value_name = "content|rows|archive|none", default_value = "content", help_heading = "Proof")]
    pub verify: String,
    /// Server for the throwaway database, in place of the built-in one. Example:
    /// postgresql://postgres:password@postgis/postgres
    #[arg(long, value_name = "URL", value_parser = secret, help_heading = "Proof")]
    pub verify_url: Option<Secret>,

    /// Slack incoming webhook to tell. Better set by SAVEPOINT_SLACK_WEBHOOK_URL. Example:
    /// https://hooks.slack.com/services/…
    #[arg(long, value_name = "URL", value_parser = secret, help_heading = "Notification")]
    pub slack_webhook_url: Option<Secret>,
    /// Which runs Slack is told of
    #[arg(long, value_name = "always|failure|success", default_value = "always", help_heading = "Notification")]
    pub notify_on: String,

    /// Print what would be taken, and store no backup
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", help_heading = "Output")]
    pub dry_run: String,
    /// Print one JSON object in place of the table
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", help_heading = "Output")]
    pub json: String,
    /// No progress and no notices, only warnings and the result
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", help_heading = "Output")]
    pub quiet: String,
    /// Say more while working
    #[arg(long, short = 'v', value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", help_heading = "Output")]
    pub verbose: String,

    /// Set by [`parse`]: relative folders begin at the workflow's workspace.
    #[arg(skip)]
    pub in_action: bool,
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
        action.check.backup.in_action = true;
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
        assert_eq!(backup(&argv, &env).destination.as_deref(), Some("s3://line"));
        assert_eq!(backup(&argv[..2], &env).destination.as_deref(), Some("s3://input"));
        assert_eq!(backup(&argv[..2], &env[1..]).destination.as_deref(), Some("s3://variable"));
        // Inputs belong to the action verb alone.
        assert_eq!(backup(&["savepoint", "backup"], &env).destination.as_deref(), Some("s3://variable"));
    }

    #[test]
    fn empty_values_and_defaulted_inputs_count_as_not_set() {
        let env = [("INPUT_JOBS", "4"), ("SAVEPOINT_JOBS", "9"), ("INPUT_KIND", ""), ("SAVEPOINT_KIND", " \n")];
        let args = backup(&["savepoint", "action"], &env);
        assert_eq!(args.jobs, "9");
        assert_eq!(args.kind, None);
        assert_eq!(backup(&["savepoint", "action"], &[("INPUT_JOBS", "6"), ("SAVEPOINT_JOBS", "9")]).jobs, "6");
    }

    #[test]
    fn flags_take_an_optional_value_from_everywhere() {
        assert_eq!(backup(&["savepoint", "backup"], &[]).dry_run, "false");
        assert_eq!(backup(&["savepoint", "backup", "--dry-run", "-v"], &[]).dry_run, "true");
        assert_eq!(backup(&["savepoint", "backup", "-v"], &[]).verbose, "true");
        let env = [("SAVEPOINT_DRY_RUN", "true")];
        assert_eq!(backup(&["savepoint", "backup"], &env).dry_run, "true");
        assert_eq!(backup(&["savepoint", "backup", "--dry-run=false"], &env).dry_run, "false");
    }

    #[test]
    fn values_with_dashes_line_breaks_and_a_double_dash_arrive_whole() {
        let env = [("SAVEPOINT_TABLES", "a\n-b"), ("INPUT_DATABASE-URL", "postgresql://u:p%20w@h/d\n")];
        let args = backup(&["savepoint", "action", "--"], &env);
        assert_eq!(args.tables, ["a\n-b"]);
        assert_eq!(args.database_url.expect("is set").expose(), "postgresql://u:p%20w@h/d");
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
        let backup = cli.find_subcommand_mut("backup").expect("exists").render_help().to_string();
        insta::assert_snapshot!("help", format!("{}\n{backup}", Cli::command().term_width(100).render_help()));
    }
}
