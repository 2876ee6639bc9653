//! Deletes old backups by a rule: looks at everything, decides ([`crate::prune::retention`]), and only then acts.
//!
//! A backup's manifest goes first, so that a run that is broken off leaves no half backup, but a folder without a manifest, which a later
//! run sweeps.

pub mod retention;

use crate::{
    error::{Error, Kind, Result},
    progress::{Event, Progress},
    prune::retention::{Candidate, Decision, IN_FLIGHT, Plan, Proven, Retention},
    report::{
        Failure, Pruned,
        format::{bytes, count, counted},
        page::{Page, Table, Verdict},
    },
    store::{self, Destination, Store, Unfinished},
    vault::{
        BackupKind, Manifest, Stored,
        find::scan,
        folder_name,
        read::{HEAD, Known, known, last_proof},
    },
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;

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
    /// Print the plan, delete nothing.
    pub dry_run: bool,
}

/// Objects that are read at a time.
const READS: usize = 16;

/// Backups whose manifests, and then whose other objects, are deleted together.
const TOGETHER: usize = 250;

/// Which backups are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Only this database's; without it every database's.
    pub database: Option<&'a str>,
    /// Only of this kind.
    pub kind: Option<BackupKind>,
}

/// What lies there, and what is to be done about it. Nothing was touched yet.
#[derive(Debug)]
pub struct Survey {
    /// What the rule says about each backup.
    pub plan: Plan,
    /// What looks like a backup but is not certainly one of ours: it stays. A line each.
    pub strangers: Vec<String>,
    /// Folders without a manifest that no run can still be writing.
    pub leftovers: Vec<Stored>,
    /// Uploads that no run can still be sending.
    pub uploads: Vec<Unfinished>,
    /// What could not be looked at.
    pub warnings: Vec<String>,
    stored: HashMap<String, Stored>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Ids of the backups that are gone.
    pub deleted: Vec<String>,
    /// Bytes that were freed.
    pub freed: u64,
    /// Leftovers of broken-off runs that were removed: folders and uploads.
    pub swept: u64,
    /// What the store holds back by a lock or a retention rule of its own. A line each.
    pub held: Vec<String>,
    /// What could not be deleted.
    pub failures: Vec<Error>,
}

/// Prunes. A plan that is refused, and a dry run, touch nothing.
pub async fn run(config: &PruneConfig, progress: Arc<dyn Progress>, cancel: CancellationToken) -> Page {
    let now = OffsetDateTime::now_utc();
    let scope = Scope { database: config.database.as_deref(), kind: config.kind };
    let looked = async {
        let store = store::open(&config.destination).await?;
        let survey = tokio::select! {
            survey = survey(&store, scope, &config.retention, now) => survey?,
            () = cancel.cancelled() => return Err(Error::new(Kind::Interrupted, "interrupted by a signal")),
        };
        Ok((store, survey))
    };
    let (store, survey) = match looked.await {
        Ok(looked) => looked,
        Err(e) => return Page::failed("prune", "plan", &e),
    };
    let refused = confirmed(&survey.plan, &config.retention).err();
    if config.dry_run || refused.is_some() {
        return page(&*store, &survey, None, refused, config.dry_run, now);
    }
    let done = execute(&store, &survey, &*progress, &cancel).await;
    page(&*store, &survey, Some(done), None, false, now)
}

/// Prunes behind a backup that was just proven: its own database and kind.
///
/// # Errors
/// When nothing was touched. What could not be deleted stands in the result.
pub async fn behind(
    destination: &Destination,
    retention: &Retention,
    own: &Manifest,
    progress: &dyn Progress,
    cancel: &CancellationToken,
) -> Result<Pruned> {
    let store = store::open(destination).await?;
    let scope = Scope { database: Some(&own.source.database), kind: Some(own.kind) };
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
    warnings.extend(done.held.iter().map(|h| format!("kept: {h}")));
    Ok(Pruned {
        deleted: done.deleted.len() as u64,
        kept: (survey.plan.0.len() - done.deleted.len()) as u64,
        freed_bytes: done.freed,
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

/// Looks at everything in the scope and decides. Changes nothing.
pub async fn survey(
    store: &Arc<dyn Store>,
    scope: Scope<'_>,
    retention: &Retention,
    now: OffsetDateTime,
) -> Result<Survey> {
    let (mut strangers, mut warnings) = (Vec::new(), Vec::new());
    let mut found = scan(store, scope.database).await?;
    found.retain(|s| scope.kind.is_none_or(|kind| s.kind == kind));
    found.retain(|s| {
        let ours = s.is_exact();
        if !ours {
            strangers.push(format!("{}: savepoint writes this database's name in another way", store.uri(&s.folder)));
        }
        ours
    });
    let (committed, unfinished): (Vec<Stored>, Vec<Stored>) = found.into_iter().partition(Stored::committed);
    let (leftovers, uploads) = match leftovers(store, scope, unfinished, now).await {
        Ok(old) => old,
        Err(e) => {
            warnings.push(format!("unfinished backups were not swept: {}", e.one_line()));
            (Vec::new(), Vec::new())
        }
    };

    let mut ours = Vec::new();
    let mut checks = stream::iter(committed)
        .map(|stored| async move { Ok::<_, Error>((known(store, &stored, HEAD).await?, stored)) })
        .buffered(READS);
    while let Some((known, stored)) = checks.try_next().await? {
        match known {
            Known::Ours => ours.push(stored),
            Known::Gone => {}
            Known::Stranger(why) => strangers.push(format!("{}: {why}", store.uri(&stored.folder))),
        }
    }
    drop(checks);

    let proofs = proofs(store, &ours, now).await?;
    let mut stored: HashMap<String, Stored> = ours.into_iter().map(|s| (s.folder.clone(), s)).collect();
    let mut examined = BTreeSet::new();
    loop {
        let candidates = stored.values().map(|s| candidate(s, &proofs)).collect();
        let plan = retention::plan(candidates, retention, now)?;
        // What is to go is read whole before: only what is a backup of ours in every byte may be deleted.
        let going: Vec<&Stored> = plan.removed().filter_map(|c| stored.get(&c.folder())).collect();
        let unread = going.into_iter().filter(|s| s.manifest_size() > HEAD && !examined.contains(&s.folder));
        let read: Vec<(String, Known)> = stream::iter(unread.cloned().collect::<Vec<_>>())
            .map(|s| async move { Ok::<_, Error>((s.folder.clone(), known(store, &s, u64::MAX).await?)) })
            .buffered(4)
            .try_collect()
            .await?;
        if read.is_empty() {
            return Ok(Survey { plan, strangers, leftovers, uploads, warnings, stored });
        }
        for (folder, known) in read {
            match known {
                Known::Ours => {}
                Known::Gone => drop(stored.remove(&folder)),
                Known::Stranger(why) => {
                    strangers.push(format!("{}: {why}", store.uri(&folder)));
                    stored.remove(&folder);
                }
            }
            examined.insert(folder);
        }
    }
}

/// Does what a survey says.
pub async fn execute(
    store: &Arc<dyn Store>,
    survey: &Survey,
    progress: &dyn Progress,
    cancel: &CancellationToken,
) -> Done {
    let mut done = Done::default();
    let mut going: Vec<&Stored> = survey.plan.removed().filter_map(|c| survey.stored.get(&c.folder())).collect();
    // The oldest first: they are missed least, should the run be broken off.
    going.sort_by_key(|s| s.at);
    let stop = |done: &mut Done| {
        if cancel.is_cancelled() && done.failures.is_empty() {
            let cure = "run it again: what is half-deleted is no backup any more, and is swept";
            done.failures.push(Error::new(Kind::Interrupted, "interrupted by a signal").hint(cure));
        }
        cancel.is_cancelled()
    };
    for together in going.chunks(TOGETHER) {
        if stop(&mut done) {
            return done;
        }
        let keys: Vec<String> = together.iter().map(|s| s.manifest_key()).collect();
        let left = note(store.delete_many(&keys).await, &mut done);
        let gone: Vec<&Stored> = together.iter().copied().filter(|s| !left.contains(&s.manifest_key())).collect();
        done.freed += gone.iter().map(|s| s.manifest_size()).sum::<u64>();
        done.deleted.extend(gone.iter().map(|s| s.id.clone()));
        let rest = gone.iter().flat_map(|s| s.objects.iter().filter(|o| o.key != s.manifest_key()));
        let rest: Vec<(String, u64)> = rest.map(|o| (o.key.clone(), o.size)).collect();
        remove(&**store, rest, &mut done).await;
        let said = format!("{} of {} deleted", count(done.deleted.len() as u64), counted(going.len() as u64, "backup"));
        progress.event(Event::Detail(&said));
    }
    for folder in &survey.leftovers {
        if stop(&mut done) {
            return done;
        }
        match store.list(&folder.folder).await {
            // A very long run may have come to its end meanwhile.
            Ok(objects) if objects.iter().any(|o| o.key == folder.manifest_key()) => {}
            Ok(objects) => {
                if remove(&**store, objects.into_iter().map(|o| (o.key, o.size)).collect(), &mut done).await {
                    done.swept += 1;
                }
            }
            Err(e) => done.failures.push(e),
        }
    }
    for upload in &survey.uploads {
        if stop(&mut done) {
            return done;
        }
        match store.abort_upload(upload).await {
            Ok(()) => done.swept += 1,
            Err(e) => done.failures.push(e),
        }
    }
    done
}

/// Deletes objects, given with their sizes; true when none is left.
async fn remove(store: &dyn Store, objects: Vec<(String, u64)>, done: &mut Done) -> bool {
    let keys: Vec<String> = objects.iter().map(|(key, _)| key.clone()).collect();
    let left = note(store.delete_many(&keys).await, done);
    done.freed += objects.iter().filter(|(key, _)| !left.contains(key)).map(|(_, size)| size).sum::<u64>();
    left.is_empty()
}

/// Keeps in mind why objects stay; their keys.
fn note(left: Vec<(String, Error)>, done: &mut Done) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (key, e) in left {
        match e.kind() {
            Kind::Locked => done.held.push(e.one_line()),
            _ => done.failures.push(e),
        }
        keys.insert(key);
    }
    keys
}

fn candidate(stored: &Stored, proofs: &HashMap<String, Proven>) -> Candidate {
    let key = stored.manifest_key();
    let manifest = stored.objects.iter().find(|o| o.key == key);
    let unread = if stored.proofs().next().is_some() { Proven::Unknown } else { Proven::Never };
    Candidate {
        id: stored.id.clone(),
        database: stored.database.clone(),
        kind: stored.kind,
        at: stored.at,
        stored: manifest.map_or(stored.at, |o| o.modified),
        proven: proofs.get(&stored.folder).copied().unwrap_or(unread),
    }
}

/// What broken-off runs left, older than any run that may still go on.
async fn leftovers(
    store: &Arc<dyn Store>,
    scope: Scope<'_>,
    mut unfinished: Vec<Stored>,
    now: OffsetDateTime,
) -> Result<(Vec<Stored>, Vec<Unfinished>)> {
    let limit = now.saturating_sub(IN_FLIGHT);
    let prefix = scope.database.map(|name| format!("{}/", folder_name(name))).unwrap_or_default();
    // Only uploads to the folder of a backup: others may share the bucket.
    let ours = |upload: &Unfinished| {
        Stored::of_key(&upload.key).filter(|s| s.is_exact() && scope.kind.is_none_or(|kind| s.kind == kind))
    };
    let uploads = store.uploads(&prefix).await?;
    let uploads: Vec<(Stored, Unfinished)> = uploads.into_iter().filter_map(|u| Some((ours(&u)?, u))).collect();
    let young: BTreeSet<&str> =
        uploads.iter().filter(|(_, u)| u.begun > limit).map(|(s, _)| s.folder.as_str()).collect();
    unfinished.retain(|s| {
        s.at <= limit && s.objects.iter().all(|o| o.modified <= limit) && !young.contains(s.folder.as_str())
    });
    let old = uploads.iter().filter(|(s, u)| u.begun <= limit && s.at <= limit).map(|(_, u)| u.clone()).collect();
    Ok((unfinished, old))
}

/// How the last proof of each backup ended, as far as it needs to be known: of each group from the newest down to one that passed.
async fn proofs(store: &Arc<dyn Store>, ours: &[Stored], now: OffsetDateTime) -> Result<HashMap<String, Proven>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Stored>> = BTreeMap::new();
    for stored in ours.iter().filter(|s| s.at <= now) {
        groups.entry((&stored.database, stored.kind.name())).or_default().push(stored);
    }
    let groups = groups.into_values().map(|mut group| async move {
        group.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        let mut read = Vec::new();
        for stored in group {
            let proven = match last_proof(store, stored).await {
                Ok(None) => Proven::Never,
                Ok(Some(proof)) if proof.backup_id != stored.id => Proven::Unknown,
                Ok(Some(proof)) if proof.proves_a_restore() => Proven::Yes,
                Ok(Some(_)) => Proven::No,
                // Damaged, or gone with its backup.
                Err(e) if matches!(e.kind(), Kind::Archive | Kind::NotFound) => Proven::Unknown,
                Err(e) => return Err(e),
            };
            read.push((stored.folder.clone(), proven));
            if proven == Proven::Yes {
                break;
            }
        }
        Ok(read)
    });
    let groups: Vec<_> = groups.collect();
    let read: Vec<Vec<(String, Proven)>> = stream::iter(groups).buffered(READS).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

/// `3 d 4 h`, `4 h 10 min`, `5 min`.
fn age(time: Duration) -> String {
    match (time.whole_days(), time.whole_hours() % 24, time.whole_minutes() % 60) {
        (..=-1, ..) | (_, ..=-1, _) | (.., ..=-1) => "in the future".into(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes:02} min"),
        (days, hours, _) => format!("{} d {hours} h", count(days.unsigned_abs())),
    }
}

fn page(
    store: &dyn Store,
    survey: &Survey,
    done: Option<Done>,
    refused: Option<Error>,
    dry_run: bool,
    now: OffsetDateTime,
) -> Page {
    let acted = done.is_some();
    let Done { deleted, freed, swept, held, failures } = done.unwrap_or_default();
    let all = survey.plan.0.len();
    let size = |c: &Candidate| survey.stored.get(&c.folder()).map_or(0, Stored::bytes);
    let leftovers = (survey.leftovers.len() + survey.uploads.len()) as u64;
    let left_bytes: u64 = survey.leftovers.iter().map(Stored::bytes).sum();
    let (removed, freed, swept) = match acted {
        true => (deleted.len(), freed, swept),
        false => (survey.plan.removed().count(), survey.plan.removed().map(size).sum::<u64>() + left_bytes, leftovers),
    };
    let kept = all - removed;
    let (removed_text, kept_text) = (counted(removed as u64, "backup"), count(kept as u64));
    let mut page = Page::new(
        "prune",
        match (all, acted) {
            (0, _) => "no backup lies there".into(),
            (_, true) => format!("{removed_text} deleted, {kept_text} kept"),
            (_, false) => format!("{removed_text} would be deleted, {kept_text} kept; nothing touched"),
        },
    );
    page.facts.push(("destination", store.uri("")));
    page.facts.push(("kept", counted(kept as u64, "backup")));
    page.facts.push((if acted { "deleted" } else { "to delete" }, removed_text));
    page.facts.push((if acted { "freed" } else { "to free" }, bytes(freed)));
    if swept > 0 {
        page.facts.push((if acted { "swept" } else { "to sweep" }, counted(swept, "unfinished backup or upload")));
    }
    let row = |d: &Decision| {
        let why = if d.keep() { d.reasons.join(", ") } else { "no rule keeps it".into() };
        let action = if d.keep() { "keep" } else { "remove" };
        vec![
            d.backup.database.clone(),
            d.backup.id.clone(),
            age(now - d.backup.at),
            bytes(size(&d.backup)),
            action.into(),
            why,
        ]
    };
    page.tables.push(Table {
        title: "plan".into(),
        columns: vec![
            ("database", false),
            ("backup", false),
            ("age", true),
            ("size", true),
            ("action", false),
            ("why", false),
        ],
        rows: survey.plan.0.iter().map(row).collect(),
        whole: true,
    });
    let mut swept_lines: Vec<String> = survey.leftovers.iter().map(|s| store.uri(&s.folder)).collect();
    swept_lines.extend(survey.uploads.iter().map(|u| format!("{} (upload)", store.uri(&u.key))));
    let failed: Vec<String> = failures.iter().map(Error::one_line).collect();
    page.lists = vec![
        ("could not be deleted", failed.clone()),
        ("held back by the store, kept", held.clone()),
        ("not certainly ours, kept", survey.strangers.clone()),
        (if acted { "unfinished, swept" } else { "unfinished, to be swept" }, swept_lines.clone()),
    ];
    page.warnings = survey.warnings.clone();
    let doubtful = !held.is_empty() || !survey.strangers.is_empty() || !survey.warnings.is_empty() || all == 0;
    if doubtful {
        page.verdict = Verdict::Doubtful;
    }
    match (refused, failures.first()) {
        (Some(e), _) if dry_run => page.warnings.push(format!("{}: it needs --confirm-large", e.message())),
        (Some(e), _) => fail(&mut page, "plan", &e, 0),
        (None, Some(e)) => fail(&mut page, "delete", e, failures.len() - 1),
        (None, None) => {}
    }
    // What was not done must not be read as done by a later step.
    let outputs = if acted { (removed, kept, freed) } else { (0, all, 0) };
    page.outputs = vec![
        ("deleted", outputs.0.to_string()),
        ("kept", outputs.1.to_string()),
        ("freed-bytes", outputs.2.to_string()),
    ];
    let backups: Vec<serde_json::Value> = survey
        .plan
        .0
        .iter()
        .map(|d| {
            json!({
                "id": d.backup.id, "database": d.backup.database, "kind": d.backup.kind, "bytes": size(&d.backup),
                "age_seconds": (now - d.backup.at).whole_seconds(), "action": if d.keep() { "keep" } else { "remove" },
                "reasons": d.reasons, "deleted": deleted.contains(&d.backup.id),
            })
        })
        .collect();
    page.json = json!({
        "dry_run": dry_run, "destination": store.uri(""), "deleted": outputs.0, "kept": outputs.1, "freed_bytes": outputs.2,
        "swept": if acted { swept } else { 0 }, "backups": backups, "unfinished": swept_lines, "held": held,
        "not_ours": survey.strangers, "not_deleted": failed,
    });
    page
}

fn fail(page: &mut Page, phase: &str, e: &Error, more: usize) {
    let more = if more == 0 { String::new() } else { format!(" (and {} more)", count(more as u64)) };
    page.failure = Some(Failure {
        phase: phase.into(),
        message: format!("{}{more}", e.one_line()),
        hint: e.hint_text().map(str::to_owned),
        exit_code: 1,
    });
    page.verdict = Verdict::Bad;
    page.exit_code = 1;
}
