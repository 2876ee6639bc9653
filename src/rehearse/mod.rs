//! A migration is rehearsed on the proven copy: what it would do to the source, before the source sees it.
//!
//! The copy is opened to the team's own command over loopback; its locks are watched while it works, its tables and schema are looked at
//! before and behind it, and what was found is held against the team's limits.

mod command;
mod config;
mod found;
mod watch;

pub use command::Address;
pub use config::{Environment, Forbidden, LIMIT, RehearseConfig};

use crate::{
    archive::{
        database::{Database, Statement},
        schema,
    },
    checks,
    error::Result,
    observe::{self, Facts},
    postgres::{conninfo::Target, tools::Tools},
    progress::{Event, Phase, Progress},
    report::rehearsal::{Ended, Rehearsal, SchemaChange},
    vault::Manifest,
    verify::{
        admit::{Who, admit},
        compare::schema_of,
        database::at_leisure,
        restore::read_toc,
        server::Server,
    },
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};
use watch::Watch;

/// The proven copy.
pub struct Copy<'a> {
    /// The server that it lies on.
    pub server: &'a mut Server,
    /// Where it is.
    pub target: Target,
    /// The stored table of contents, as it lies here.
    pub toc: PathBuf,
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// How the source is reached, which the command must not.
    pub source: Address,
    /// Programs of its major.
    pub tools: &'a Tools,
    /// A folder for files.
    pub scratch: &'a Path,
    /// Connections.
    pub jobs: usize,
}

/// Rehearses; whatever goes wrong is told by what it returns.
pub async fn rehearse(on: Copy<'_>, config: &RehearseConfig, progress: &Arc<dyn Progress>) -> Rehearsal {
    let begun = Instant::now();
    progress.event(Event::Started(Phase::Rehearse));
    let found = work(on, config, progress).await;
    progress.event(Event::Finished(Phase::Rehearse, begun.elapsed()));
    found.unwrap_or_else(|e| {
        let cure = e.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
        Rehearsal::unfinished(&config.command, format!("{}{cure}", e.one_line()))
    })
}

async fn work(on: Copy<'_>, config: &RehearseConfig, progress: &Arc<dyn Progress>) -> Result<Rehearsal> {
    let Copy { server, target, toc, manifest, source, tools, scratch, jobs } = on;
    let stored = read_toc(&toc)?;
    let database = Database::of(&stored);
    let properties = |name: &str| -> Vec<Statement> {
        database.as_ref().map(|database| database.statements(name)).unwrap_or_default()
    };
    let who = Who {
        database: &manifest.source.database,
        user: &manifest.source.user,
        role: config.role.as_deref(),
        properties: &properties,
    };
    let admitted = admit(server, &target, who).await?;
    let observer = at_leisure(&admitted.observer, manifest.source.major);
    let schema = async |name: &str| schema_of(tools, &observer, &scratch.join(name), progress.clone()).await;
    let before = schema("schema-before").await?;
    let mut was = Facts::look(&observer).await?;
    let rows: HashMap<(&str, &str), u64> =
        manifest.tables.iter().map(|t| ((t.schema.as_str(), t.name.as_str()), t.rows)).collect();
    for table in was.tables.values_mut().filter(|table| table.counts) {
        table.rows = Some(rows.get(&(table.schema.as_str(), table.name.as_str())).copied().unwrap_or(0));
    }
    let watch = Watch::begin(&observer).await?;
    let inside = &admitted.inside;
    progress.event(Event::Notice(&format!("rehearsing on the proven copy, {}: {}", inside.redacted(), config.command)));
    let env = variables(config, &source, inside, progress);
    let own = inside.password.iter().map(|secret| secret.expose().to_owned());
    let secrets: Vec<String> = own.chain(source.secrets()).collect();
    let (begun, log) = (Instant::now(), server.log_length());
    let ran = command::run(&config.command, &config.folder, env, config.limit, &secrets, progress).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (held, watched) = watch.end().await;
    let refused = server.errors_behind(log);
    let ran = ran?;
    let mut is = Facts::look(&observer).await?;
    let wal = admitted.is_ours().then(|| is.wal.saturating_sub(was.wal));
    is.count(&observer, jobs).await?;
    let after = schema("schema-after").await?;
    let checked = checks::run(&observer, &config.checks, checks::May::Write).await?;
    let changes = schema::changes(&before, &after);
    let new = |now: &std::collections::BTreeSet<String>, then: &std::collections::BTreeSet<String>, what: &str| {
        now.difference(then).map(|name| format!("{name} is {what}")).collect::<Vec<_>>()
    };
    let mut notes = admitted.notes.clone();
    notes.push("times: the copy's server runs without fsync, and nobody else works on it".into());
    let mut found = Rehearsal {
        command: config.command.clone(),
        role: inside.user.clone(),
        ended: ran.ended,
        seconds,
        output: ran.output,
        refused,
        wal_bytes: wal,
        locks: found::locks(held, &was),
        tables: observe::changed(&was, &is),
        schema: changes
            .into_iter()
            .map(|change| SchemaChange::of(change.object, change.was.as_deref(), change.is.as_deref()))
            .collect(),
        unfinished: [
            new(&is.invalid, &was.invalid, "invalid: no query uses it"),
            new(&is.unvalidated, &was.unvalidated, "not validated: rows that were there may break it"),
        ]
        .concat(),
        checks_passed: checked.iter().filter(|c| c.failure.is_none()).count() as u64,
        checks_failed: checked.iter().filter_map(checks::Checked::problem).collect(),
        problems: Vec::new(),
        notes,
    };
    found.problems = found::problems(&found, config);
    doubts(&mut found, watched, is.wal != was.wal, progress);
    Ok(found)
}

/// The command's variables; of those that were left out the names are told.
fn variables(
    config: &RehearseConfig,
    source: &Address,
    inside: &Target,
    progress: &Arc<dyn Progress>,
) -> Vec<(String, String)> {
    let (env, left_out) = command::environment(config.environment.0.clone(), source, inside);
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        progress
            .event(Event::Notice(&format!("left out of the command's variables, as they lead to the source: {names}")));
    }
    env
}

/// What makes a rehearsal that seems to have passed doubtful.
fn doubts(found: &mut Rehearsal, watched: bool, wrote: bool, progress: &Arc<dyn Progress>) {
    if !watched {
        found.problems.push("the locks were not watched to the end: the command ended the session that did".into());
    }
    if found.ended == Ended::Exit(0) && found.tables.is_empty() && found.schema.is_empty() && !wrote {
        progress.event(Event::Warning(
            "the rehearsed command changed nothing in the copy: does it find it by DATABASE_URL?",
        ));
    }
}
