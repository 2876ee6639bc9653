//! Deletes old backups by a rule: looks at everything, decides ([`crate::prune::retention`]), and only then acts.
//!
//! A backup's manifest goes first, so that a run that is broken off leaves no half backup, but a folder without a manifest, which a later
//! run sweeps.

mod execute;
mod page;
pub mod retention;
mod survey;

pub use execute::{Done, execute};
pub use survey::{Scope, Survey, survey};

use crate::{
    error::{Error, Kind, Result},
    progress::Progress,
    prune::{
        page::Told,
        retention::{Decision, Plan, Proven, Retention},
    },
    report::{
        Pruned,
        format::{count, counted},
        page::Page,
    },
    sign::PublicKeys,
    store::{self, Destination},
    vault::{BackupKind, Manifest},
};

use crate::cancel::Cancel;
use std::sync::Arc;
use time::OffsetDateTime;

/// Everything a pruning needs to know.
#[derive(Clone, Debug)]
pub struct PruneConfig {
    /// Where backups lie.
    pub destination: Destination,
    /// Only this database's; without it every database's.
    pub database: Option<String>,
    /// Only this kind.
    pub kind: Option<BackupKind>,
    /// Which go.
    pub retention: Retention,
    /// Only what one of these keys signed counts as proven.
    pub verify_key: Option<PublicKeys>,
    /// Print the plan, delete nothing.
    pub dry_run: bool,
}

/// Prunes. A plan that is refused, and a dry run, touch nothing.
pub async fn run(config: &PruneConfig, progress: Arc<dyn Progress>, cancel: Cancel) -> Page {
    let mut pages = Vec::new();
    for destination in config.destination.each() {
        let one = PruneConfig { destination, ..config.clone() };
        pages.push((one.destination.label(), one_place(&one, progress.clone(), cancel.clone()).await));
    }
    Page::of_several("prune", pages)
}

/// Prunes one place, by its own proofs and its own age.
async fn one_place(config: &PruneConfig, progress: Arc<dyn Progress>, cancel: Cancel) -> Page {
    let now = OffsetDateTime::now_utc();
    let trusted = config.verify_key.as_ref();
    let scope = Scope { database: config.database.as_deref(), kind: config.kind, trusted };
    let looked = async {
        let store = store::open(&config.destination).await?;
        let survey = cancel.unless(survey(&store, scope, &config.retention, now), || cancel.error()).await?;
        Ok((store, survey))
    };
    let (store, survey) = match looked.await {
        Ok(looked) => looked,
        Err(e) => return Page::failed("prune", "plan", &e),
    };
    let told =
        |done, refused| Told { store: &*store, survey: &survey, done, refused, dry_run: config.dry_run, now }.page();
    let refused = confirmed(&survey.plan, &config.retention).err();
    if config.dry_run || refused.is_some() {
        return told(None, refused);
    }
    let done = execute(&store, &survey, &*progress, &cancel).await;
    told(Some(done), None)
}

/// Prunes behind a backup that was just proven: its own database and kind, in each place that holds it.
///
/// # Errors
/// When nothing was touched. What could not be deleted stands in the result.
pub async fn behind(
    places: &[Destination],
    retention: &Retention,
    own: &Manifest,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Pruned> {
    let mut all: Option<Pruned> = None;
    for place in places {
        let pruned = behind_one(place, retention, own, progress, cancel).await;
        let pruned = match (pruned, &all) {
            (Err(e), None) if places.len() == 1 => return Err(e),
            (Err(e), _) => Pruned {
                failure: Some(format!("{}: {}", place.label(), e.one_line())),
                hint: e.hint_text().map(str::to_owned),
                ..Pruned::default()
            },
            (Ok(pruned), _) => pruned,
        };
        all = Some(match all {
            Some(all) => all.and(pruned),
            None => pruned,
        });
    }
    Ok(all.unwrap_or_default())
}

async fn behind_one(
    destination: &Destination,
    retention: &Retention,
    own: &Manifest,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Pruned> {
    let store = store::open(destination).await?;
    let scope = Scope { database: Some(&own.source.database), kind: Some(own.kind), trusted: None };
    let survey = survey(&store, scope, retention, OffsetDateTime::now_utc()).await?;
    // Its proof passed a moment ago; below a newer proven one, taken at the same time, nothing is read of it here.
    let stays = |d: &Decision| d.keep() && matches!(d.backup.proven, Proven::Yes | Proven::Unknown);
    if !survey.plan.0.iter().any(|d| d.backup.id == own.id && stays(d)) {
        return Err(Error::new(
            Kind::Refused,
            format!("backup {} is not among those that are listed and stay", own.id),
        )
        .hint("the destination's listing must show new objects at once"));
    }
    confirmed(&survey.plan, retention)?;
    let mut done = execute(&store, &survey, progress, cancel).await;
    let failure = (!done.failures.is_empty()).then(|| done.failures.remove(0));
    let mut warnings = survey.warnings;
    warnings.extend(survey.strangers.iter().map(|s| format!("not pruned: {s}")));
    warnings.extend(survey.held.iter().map(|h| format!("kept: {h}")));
    warnings.extend(done.held.iter().map(|h| format!("kept: {h}")));
    Ok(Pruned {
        deleted: done.deleted.len() as u64,
        kept: (survey.plan.0.len() - done.deleted.len()) as u64,
        freed_bytes: done.freed,
        locked: survey.plan.0.iter().filter(|d| d.backup.locked.is_some()).count() as u64,
        swept: done.swept,
        warnings,
        failure: failure.as_ref().map(|e| e.one_line()),
        hint: failure.as_ref().and_then(|e| e.hint_text()).map(str::to_owned),
    })
}

fn confirmed(plan: &Plan, retention: &Retention) -> Result<()> {
    if retention.confirm_large || !plan.is_large() {
        return Ok(());
    }
    let (gone, all) = (count(plan.removed().count() as u64), counted(plan.0.len() as u64, "backup"));
    Err(Error::new(
        Kind::Refused,
        format!("the plan would delete {gone} of {all}, more than half; nothing was deleted"),
    )
    .hint("look at the plan (savepoint prune --dry-run); when that is meant, add --confirm-large"))
}
