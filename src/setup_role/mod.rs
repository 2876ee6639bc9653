//! `setup-role`: the SQL of a role that reads all that a backup takes and changes nothing. The server is asked (`facts`), then the SQL is
//! decided on (`sql`); nothing is run here.

mod config;
mod facts;
mod sql;

pub use config::SetupRoleConfig;

use crate::{
    error::Result,
    progress::{Event, Progress},
    report::Page,
};
use serde_json::json;

/// Asks the server and makes the SQL. What the role will lack, because whoever asks may not give it, is a warning.
///
/// # Errors
/// When the server cannot be reached or asked.
pub async fn run(config: &SetupRoleConfig, progress: &dyn Progress) -> Result<Page> {
    let facts = facts::Facts::ask(config).await?;
    let sql::Sql { text, lacking } = sql::of(&facts, &config.role, &config.filter);
    // Standard output is for psql alone.
    for line in &lacking {
        progress.event(Event::Warning(line));
    }
    Ok(Page {
        json: json!({
            "role": config.role, "database": facts.database, "server_version": facts.server_version,
            "asked_as": facts.caller.name, "sql": text,
        }),
        script: Some(text),
        warnings: lacking,
        ..Page::new("setup-role", format!("a read-only role for backups of {}: {}", facts.database, config.role))
    })
}
