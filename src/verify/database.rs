//! The database's own properties, given to a restored one, and the proof that they can be.

use super::{
    compare::{Comparison, schema_of},
    restore::Restore,
    server::Server,
};
use crate::{
    archive::{
        database::{Database, Statement},
        toc::Toc,
    },
    error::Result,
    postgres::{connect::Session, conninfo::Target, quote::quote},
    vault::Manifest,
};
use std::{collections::BTreeSet, path::Path};

/// The name under which properties are compared.
const NAME: &str = "database";

/// A property that a server did not take: what it is about, and the SQLSTATE. Its value may be a secret, and the server's message hold it.
pub type Refused = (String, String);

/// Gives a database the properties of a backup's. `session`: in any database of the server.
///
/// # Errors
/// When the connection breaks; what the server refuses is in the answer.
pub async fn apply(session: &Session, statements: &[Statement]) -> Result<Vec<Refused>> {
    let mut refused = Vec::new();
    for statement in statements {
        let sql = String::from_utf8_lossy(&statement.sql);
        if let Err(e) = session.batch_execute(&sql).await {
            let Some(code) = e.code() else { return Err(session.explain("cannot set the database's properties", e)) };
            refused.push((statement.label(), code.code().to_owned()));
        }
    }
    Ok(refused)
}

/// Gives an empty database of the throwaway server what the stored one had, and compares what pg_dump then says of it. Not the restored
/// copy: its sessions must not come under the settings.
pub(super) async fn compare(
    server: &mut Server,
    restore: &Restore,
    manifest: &Manifest,
    stored: &Toc,
    scratch: &Path,
    found: &mut Comparison,
) -> Result<()> {
    let Some(database) = Database::of(stored) else { return Ok(()) };
    let (target, _) = server.create_database(&manifest.source, "_properties").await?;
    let session = server.session().await?;
    let statements = database.statements(&target.dbname);
    let refused = apply(&session, &statements).await?;
    let (unhurried, folder) = (at_leisure(&target, manifest.source.major), scratch.join("properties"));
    let reading = schema_of(&restore.tools, &unhurried, &folder, restore.progress.clone());
    let toc = match reading.await {
        Ok(toc) => toc,
        // A setting may keep everybody out, as one for a library that only the source has.
        Err(e) => {
            found.unproven.push(format!("the database's own settings, grants and comment: {}", e.one_line()));
            return Ok(());
        }
    };
    // Whoever drops it must be able to.
    let _ = session.batch_execute(&format!("ALTER DATABASE {} IS_TEMPLATE false", quote(&target.dbname))).await;
    let set =
        |database: Option<Database>| -> Vec<Statement> { database.map(|d| d.statements(NAME)).unwrap_or_default() };
    let (was, is) = (set(Some(database)), set(Database::of(&toc)));
    // What the throwaway server sets for itself was never the source's.
    let own =
        |s: &Statement| super::server::OWN_SETTINGS.iter().any(|name| s.label().ends_with(&format!(" SET {name}")));
    let texts = |all: &[Statement]| all.iter().map(|s| s.sql.clone()).collect::<BTreeSet<_>>();
    let (before, after) = (texts(&was), texts(&is));
    let excused: BTreeSet<String> =
        refused.iter().map(|(label, _)| label.replace(&quote(&target.dbname), &quote(NAME))).collect();
    for statement in was.iter().filter(|s| !after.contains(&s.sql)) {
        match excused.get(&statement.label()) {
            Some(_) => {}
            None => found.differences.push(format!("database: {} was not restored", statement.label())),
        }
    }
    for statement in is.iter().filter(|s| !before.contains(&s.sql) && !own(s)) {
        // Where a value differs, the line above says so.
        let label = statement.label();
        if !was.iter().any(|s| s.label() == label) && !excused.contains(&label) {
            found.differences.push(format!("database: {label} is only in the restored copy"));
        }
    }
    for (label, code) in refused {
        let label = label.replace(&quote(&target.dbname), &quote(&manifest.source.database));
        found.unproven.push(format!("database: {label}: the throwaway server refuses it (SQLSTATE {code})"));
    }
    Ok(())
}

/// The database's own limits of time do not count for whoever reads its settings.
pub fn at_leisure(target: &Target, major: u32) -> Target {
    let limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"];
    let known = limits.iter().filter(|limit| major >= 17 || **limit != "transaction_timeout");
    let options = known.map(|limit| format!("-c {limit}=0")).collect::<Vec<_>>().join(" ");
    Target { options: Some(options), ..target.clone() }
}
