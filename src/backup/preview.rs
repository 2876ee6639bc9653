//! What a backup would do: `--dry-run`.

use super::{BackupConfig, plan::refuse_empty};
use crate::{
    dump::{
        plan::{self, Plan},
        snapshot,
    },
    error::{Error, Result},
    preflight::{self, Reach, Ready},
    progress::Progress,
    report::{PlanReport, PlanTable},
    vault::{Address, manifest::TakenBy},
};
use std::sync::Arc;
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;

/// What a backup would do. Writes nothing and starts no server.
pub async fn preview(config: &BackupConfig, progress: Arc<dyn Progress>) -> Result<PlanReport> {
    let examined = preflight::examine(config, Reach::Look, &*progress, &TaskTracker::new()).await;
    let Some(ready) = examined.ready else { return Err(preflight::refusal(&examined.checks)) };
    let Ready { looked, source, extensions, tools, scratch, jobs, .. } = ready;
    let planned = async {
        let snapshot = snapshot::take(looked, &config.filter, false, config.source.stall, &*progress).await?;
        refuse_empty(config, &snapshot.relations)?;
        Ok::<_, Error>(plan::plan(&snapshot.relations, &snapshot.sizes().await?, source.major, source.standby))
    }
    .await;
    scratch.remove()?;
    let plan = planned?;
    let folder = Address::new(&source.database, config.kind, OffsetDateTime::now_utc()).folder;
    let mut programs = vec![("pg_dump", Some(&tools.pg_dump)), ("pg_restore", Some(&tools.pg_restore))];
    programs.extend([("initdb", tools.initdb.as_ref()), ("postgres", tools.postgres.as_ref())]);
    Ok(PlanReport {
        database: source.database.clone(),
        source: config.source_label(),
        server_version: source.server_version.clone(),
        uri: format!("{}/{folder}", config.destination.each()[0].label().trim_end_matches('/')),
        tools: programs.into_iter().filter_map(|(n, p)| Some((n.to_owned(), p?.display().to_string()))).collect(),
        compression: config.compression.for_major(source.major).to_string(),
        jobs: jobs as u32,
        tables: tables(&plan),
        extensions,
        left_out: plan.left_out,
        unproven: plan.unproven,
        checks: examined.checks,
    })
}

/// Who would write which table, the largest first.
fn tables(plan: &Plan) -> Vec<PlanTable> {
    let kept = plan.pg_dump.iter().filter(|r| !r.extension_member).map(|r| (r, 0, -1, 1, TakenBy::PgDump));
    let ours = plan.streams.iter();
    let ours = ours.map(|t| (&t.relation, t.size.bytes, t.size.rows_estimate, t.chunks.len() as u64, TakenBy::Streams));
    ours.chain(kept)
        .map(|(r, bytes, rows_estimate, chunks, taken_by)| PlanTable {
            schema: r.schema.clone(),
            name: r.name.clone(),
            bytes,
            rows_estimate,
            chunks,
            taken_by,
        })
        .collect()
}
