//! `savepoint backup`.

use super::verb::{Env, Verb, Work, unless_interrupted};
use crate::{
    backup::{self, BackupConfig},
    cli::{BackupArgs, NotifyArgs, OutputArgs},
    clock::stamp,
    config::{self, Validated},
    error::{Error, Kind, Result},
    inventory::past,
    postgres::conninfo::Target,
    report::{BackupReport, Failure, Past, Report},
    store::Store,
    value::flag,
    vault::{FailedRun, failure, find},
};
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;

/// Takes a backup, or says what it would do.
pub(super) struct Backup;

/// What it needs.
pub(super) struct Asked {
    config: BackupConfig,
    dry_run: bool,
    /// There is a summary that shows how backups grew.
    summary: bool,
    /// A failure is recorded although nobody is told of it.
    record: bool,
}

impl Verb for Backup {
    type Raw = BackupArgs;
    type Config = Asked;

    fn output(raw: &BackupArgs) -> &OutputArgs {
        &raw.output
    }

    fn notify(raw: &BackupArgs) -> Option<(&NotifyArgs, &str)> {
        Some((&raw.notify, &raw.dry.dry_run))
    }

    fn config(raw: &BackupArgs, env: Env<'_>) -> Result<Validated<Asked>> {
        let checked = config::backup(raw, env)?;
        let record = flag("record-failures", &raw.take.record_failures)?;
        let dry_run = checked.output.dry_run;
        let summary = raw.output.in_action && env("GITHUB_STEP_SUMMARY").is_some();
        Ok(checked.map(|config| Asked { config, dry_run, summary, record }))
    }

    fn targets(asked: &Asked) -> Vec<&Target> {
        asked.config.targets()
    }

    async fn run(asked: &Asked, work: &Work) -> Result<Report> {
        let progress = work.progress.clone();
        if asked.dry_run {
            let plan = unless_interrupted(&work.cancel, backup::preview(&asked.config, progress)).await?;
            return Ok(plan.into());
        }
        let mut report = backup::run(&asked.config, progress, work.cancel.clone()).await;
        let told = work.channels.remember();
        if report.exit_code() != 0 || asked.summary || told {
            look_back(asked, told, work.cancel.is_urgent(), &mut report).await;
        }
        Ok(report.into())
    }
}

/// What a look at the destination behind a run may take.
const LOOK: Duration = Duration::from_secs(15);
/// The same where the run failed: the destination may be why, and who waits for the end is to hear of it soon.
const SHORT_LOOK: Duration = Duration::from_secs(5);
/// The same where the run was interrupted.
const GLANCE: Duration = Duration::from_secs(2);

/// Looks up what stood before the run, and records a failure. Nothing of this changes how the run ended: what cannot be had is left out,
/// and what was asked for says so.
async fn look_back(asked: &Asked, told: bool, urgent: bool, report: &mut BackupReport) {
    let failed = report.exit_code() != 0;
    let limit = match failed {
        _ if urgent => GLANCE,
        true => SHORT_LOOK,
        false => LOOK,
    };
    let looked = async {
        let store = first(&asked.config).await?;
        let (database, kind) = (report.database.as_str(), report.kind);
        let own = report.backup.as_ref().map(|backup| backup.manifest.id.as_str());
        let (last_proven, failing, trend) = tokio::join!(
            async { if failed { Some(past::last_proven(&store, database, own).await) } else { None } },
            async { if told { Some(past::failing(&store, database, kind, own).await) } else { None } },
            async {
                if asked.summary && own.is_some() { Some(past::trend(&store, database, kind).await) } else { None }
            },
        );
        // Behind the look at those before it.
        let recorded =
            if failed && (told || asked.record) { record(&asked.config, report, &store).await } else { Ok(()) };
        let trend = trend.transpose().ok().flatten().unwrap_or_default();
        let failing = failing.transpose().ok().flatten().unwrap_or_default();
        Ok((Past { last_proven: last_proven.transpose().ok().flatten(), failing, trend }, recorded))
    };
    let late = |_| Error::new(Kind::Store, format!("no answer within {} s", limit.as_secs()));
    let recorded = match tokio::time::timeout(limit, looked).await.map_err(late).flatten() {
        Ok((past, recorded)) => {
            report.past = past;
            recorded
        }
        Err(e) => Err(e),
    };
    if let Err(e) = recorded
        && failed
        && (told || asked.record)
    {
        report.warnings.push(format!("the failure is not recorded in the destination: {}", e.one_line()));
    }
}

/// The first place that opens.
async fn first(config: &BackupConfig) -> Result<Arc<dyn Store>> {
    let mut failed = Error::new(Kind::NotFound, "no destination");
    for place in config.destination.each() {
        match find::open(&place).await {
            Ok(store) => return Ok(store),
            Err(e) => failed = e,
        }
    }
    Err(failed)
}

/// Leaves word of the failure beside the backups.
async fn record(config: &BackupConfig, report: &BackupReport, store: &Arc<dyn Store>) -> Result<()> {
    let hides = config.encryption.as_ref().is_some_and(|e| e.manifest);
    let (phase, message) = match &report.failure {
        Some(Failure { phase, message, .. }) => (phase.clone(), message.clone()),
        None => (report.phases.last().map(|p| p.name.clone()).unwrap_or_default(), report.headline()),
    };
    let at = OffsetDateTime::now_utc();
    let failed = FailedRun {
        format: failure::FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        database: report.database.clone(),
        kind: report.kind,
        at: stamp(at),
        phase,
        message: (!hides).then_some(message),
        exit_code: report.exit_code(),
        backup_id: report.backup.as_ref().map(|backup| backup.manifest.id.clone()),
        context: report.context.clone(),
    };
    failure::put(store, &failed, at).await
}
