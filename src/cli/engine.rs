//! What the work is done with.

use clap::Args;

/// What the work is done with.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Work")]
pub struct EngineArgs {
    /// Connections that move rows at the same time, 1 to 64
    #[arg(long, value_name = "N", default_value = "4")]
    pub jobs: String,
    /// How long a connection may be silent before it counts as dead; a database server is asked before whether it still works. Example: 5m
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub stall_timeout: String,
    /// Folder of pg_dump, pg_restore and the server; without it, PATH and /usr/lib/postgresql/*/bin. Example:
    /// /opt/postgresql/17/bin
    #[arg(long, value_name = "DIR")]
    pub pg_bin_dir: Vec<String>,
    /// Folder for the throwaway server and pg_dump's own files; without it, the temporary folder. Example: /mnt/scratch
    #[arg(long, value_name = "DIR")]
    pub scratch_dir: Option<String>,
}
