//! Options as clap sees them: raw text, validated by [`crate::config`].
//!
//! An option that the command line does not give comes from an action input or an environment variable: `parse` walks
//! clap's own definitions, so that one definition serves the command line, the variables and the action. A verb is a file here, and so
//! is a group of options, whoever shares it.

mod action;
mod against;
mod anomaly;
mod backup;
mod check;
mod copies;
mod copy;
mod destination;
mod diff;
mod drill;
mod encrypt;
mod engine;
mod list;
mod notify;
mod output;
mod own;
mod parse;
mod part;
mod policy;
mod post;
mod present;
mod proof;
mod prune;
mod rehearse;
mod report;
mod restore;
mod role;
mod selection;
mod setup_role;
mod show;
mod sign;
mod source;
mod take;
mod target;
mod text;
mod validate;
mod verify;

pub use action::ActionArgs;
pub use against::AgainstArgs;
pub use anomaly::AnomalyArgs;
pub use backup::BackupArgs;
pub use check::CheckArgs;
pub use copies::CopiesArgs;
pub use copy::CopyArgs;
pub use destination::{AccessKey, DestinationArgs};
pub use diff::DiffArgs;
pub use drill::DrillArgs;
pub use encrypt::{EncryptArgs, IdentityArgs};
pub use engine::EngineArgs;
pub use list::ListArgs;
pub use notify::NotifyArgs;
pub use output::{DryRunArgs, OutputArgs};
pub use own::{START, completions, manual};
pub use parse::{heartbeat_of, parse, safe_message};
pub use part::{ExcludeArgs, PartArgs};
pub use policy::PolicyArgs;
pub use post::PostArgs;
pub use present::PresentArgs;
pub use proof::{LevelArgs, ServerArgs};
pub use prune::PruneArgs;
pub use rehearse::RehearseArgs;
pub use report::ReportArgs;
pub use restore::RestoreArgs;
pub use role::RoleArgs;
pub use selection::{AgeArgs, DatabaseArgs, OfKindArgs, PickArgs, WithArgs};
pub use setup_role::SetupRoleArgs;
pub use show::ShowArgs;
pub use sign::{SignArgs, VerifyKeyArgs};
pub use source::SourceArgs;
pub use take::{KindArgs, TakeArgs};
pub use target::TargetArgs;
pub use validate::ValidateArgs;
pub use verify::VerifyArgs;

use clap::{Parser, Subcommand};

/// Back up PostgreSQL to S3, and prove the backup by a throwaway restore.
#[derive(Debug, Parser)]
#[command(name = "savepoint", version, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take a consistent backup, store it, and prove it by restoring what was stored
    #[command(after_help = backup::AFTER_HELP)]
    Backup(BackupArgs),
    /// Ask every question that a backup asks first, and print a line each with its cure
    #[command(after_help = AFTER_HELP)]
    Check(CheckArgs),
    /// Restore a stored backup, or any file that pg_dump writes; what is there stays, unless you say otherwise
    #[command(after_help = restore::AFTER_HELP)]
    Restore(RestoreArgs),
    /// Prove a stored backup, or any file that pg_dump writes, by a throwaway restore: the restore drill
    #[command(after_help = verify::AFTER_HELP)]
    Verify(VerifyArgs),
    /// Hold the database behind a migration against the backup from before it: rows, sequences, indexes, your own checks
    #[command(after_help = validate::AFTER_HELP)]
    Validate(ValidateArgs),
    /// List stored backups, the newest first
    #[command(after_help = AFTER_HELP)]
    List(ListArgs),
    /// Show one stored backup: tables, proof, timings, files, and how to restore it
    #[command(after_help = AFTER_HELP)]
    Show(ShowArgs),
    /// Compare two stored backups: tables, rows, sizes, schema
    #[command(after_help = AFTER_HELP)]
    Diff(DiffArgs),
    /// Bring stored backups to another place as well, and read back every byte there
    #[command(after_help = AFTER_HELP)]
    Copy(CopyArgs),
    /// Delete old backups by a rule; print why each one stays or goes
    #[command(after_help = AFTER_HELP)]
    Prune(PruneArgs),
    /// Write a status page, or the same as JSON or metrics: what lies there, how it stands against the goals
    #[command(after_help = AFTER_HELP)]
    Report(ReportArgs),
    /// Print the SQL of a read-only role for backups, for psql; connects as an administrator and changes nothing
    #[command(after_help = setup_role::AFTER_HELP)]
    SetupRole(SetupRoleArgs),
    /// Print the completions of a shell. Example: savepoint completions bash >/etc/bash_completion.d/savepoint
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder. Example: savepoint man /usr/local/share/man/man1
    Man {
        /// The folder; it is made where it is missing
        #[arg(value_name = "DIR")]
        dir: std::path::PathBuf,
    },
    /// Run as a GitHub action: options come from the inputs
    #[command(hide = true)]
    Action(Box<ActionArgs>),
}

const AFTER_HELP: &str = "Each option can also be set by a variable: SAVEPOINT_ and its name in upper case, hyphens as \
    underscores (SAVEPOINT_S3_ENDPOINT). An empty variable counts as not set.\n\
    List options may be repeated, and take commas or line breaks; a comma inside double quotes is kept.\n\n\
    Exit codes: 0 done; 1 failed; 2 wrong usage.";
