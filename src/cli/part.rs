//! Which part of a database is taken or restored.

use super::text::Flag as _;
use clap::Args;

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
    #[arg(long, flag())]
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
    /// Leave out the user mappings of foreign servers, whose options may hold passwords
    #[arg(long, flag())]
    pub no_user_mappings: String,
    /// Leave out subscriptions, whose connection strings may hold passwords, as pg_dump's --no-subscriptions
    #[arg(long, flag())]
    pub no_subscriptions: String,
}
