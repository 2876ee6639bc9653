//! `savepoint report`: what lies in a destination, database by database, against the goals.

use super::{
    READS,
    past::{moment_of, point},
    rows::{OpenedPlace, ProofState, Row, opened, read_all},
};
use crate::{
    clock::{age, moment, stamp},
    error::Result,
    progress::Phase,
    prune::retention::{self, Candidate, Proven, Retention},
    report::{
        format::{counted, seconds},
        overview::{Audited, DAYS, Database, Day, Failed, Overview, Pruned, Standing},
    },
    store::{Destination, Lock, Store},
    vault::{FailedRun, failure},
};
use futures_util::{StreamExt, stream};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use time::OffsetDateTime;

/// What is looked at, and what it is held against.
#[derive(Clone, Debug)]
pub struct OverviewConfig {
    /// Where backups lie.
    pub destination: Destination,
    /// Only this database's.
    pub database: Option<String>,
    /// How old the newest proven backup may be.
    pub rpo: Option<Duration>,
    /// How long a restore may take.
    pub rto: Option<Duration>,
    /// What a GiB costs a month, and in what.
    pub price: Option<(f64, String)>,
    /// The rule that the next pruning goes by.
    pub retention: Retention,
}

/// Bytes of a GiB.
const GIB: f64 = (1_u64 << 30) as f64;

/// Records of failed runs that are read of a database, the newest ones.
const FAILURES: usize = 200;

/// Looks at everything that lies there. Changes nothing.
///
/// # Errors
/// When no destination answers; what cannot be read of a single backup is a warning.
pub async fn overview(config: &OverviewConfig) -> Result<Overview> {
    let now = OffsetDateTime::now_utc();
    let places = config.destination.each();
    let (opened, mut warnings) = opened(&places, config.database.as_deref()).await?;
    let committed: Vec<_> = opened
        .iter()
        .flat_map(|(n, store, found)| found.iter().map(move |stored| (*n, store, stored.clone())))
        .filter(|(_, _, stored)| stored.committed())
        .collect();
    let mut databases: BTreeMap<String, (Vec<Row>, Failures)> = BTreeMap::new();
    for row in read_all(committed).await {
        warnings.extend(row.damage.iter().map(|why| format!("backup {}: {why}", row.stored.id)));
        databases.entry(row.stored.database.clone()).or_default().0.push(row);
    }
    for (database, keys) in failures(&opened, config.database.as_deref(), &mut warnings).await {
        databases.entry(database).or_default().1 = keys;
    }
    let mut all = Vec::new();
    for (name, (rows, failed)) in databases {
        let failures = read_failures(&failed, &mut warnings).await;
        all.push(Looked { name, rows, failed, failures }.database(config, now)?);
    }
    Ok(Overview {
        made_at: stamp(now),
        tool_version: env!("CARGO_PKG_VERSION").into(),
        destination: config.destination.label(),
        rpo_seconds: config.rpo.map(|d| d.as_secs()),
        rto_seconds: config.rto.map(|d| d.as_secs()),
        price_per_gib: config.price.as_ref().map(|(price, _)| *price),
        currency: config.price.as_ref().map(|(_, currency)| currency.clone()).unwrap_or_default(),
        databases: all,
        warnings,
    })
}

/// Records of failed runs in order of time, and where each lies.
type Failures = BTreeMap<failure::Key, Arc<dyn Store>>;

/// The records of failed runs by database.
async fn failures(
    opened: &[OpenedPlace],
    database: Option<&str>,
    warnings: &mut Vec<String>,
) -> BTreeMap<String, Failures> {
    let mut found: BTreeMap<String, Failures> = BTreeMap::new();
    for (_, store, _) in opened {
        let names = match database {
            Some(name) => Ok(vec![name.to_owned()]),
            None => {
                store.folders("").await.map(|folders| folders.iter().filter_map(|f| super::database_of(f)).collect())
            }
        };
        let names = names.unwrap_or_else(|e| {
            warnings.push(format!("failed runs are not listed: {}", e.one_line()));
            Vec::new()
        });
        let lists = stream::iter(names).map(|name| async move { (failure::list(store, &name).await, name) });
        let lists: Vec<_> = lists.buffered(READS).collect().await;
        for (keys, name) in lists {
            match keys {
                Ok(keys) if keys.is_empty() => {}
                Ok(keys) => found.entry(name).or_default().extend(keys.into_iter().map(|key| (key, store.clone()))),
                Err(e) => warnings.push(format!("failed runs of {name} are not listed: {}", e.one_line())),
            }
        }
    }
    found
}

/// The newest records, the newest first.
async fn read_failures(failed: &Failures, warnings: &mut Vec<String>) -> Vec<FailedRun> {
    let newest = failed.iter().rev().take(FAILURES).collect::<Vec<_>>();
    let read = stream::iter(newest).map(|(key, store)| failure::read(store, key));
    let read: Vec<_> = read.buffered(READS).collect().await;
    let mut runs = Vec::new();
    for run in read {
        match run {
            Ok(run) => runs.push(run),
            Err(e) => warnings.push(e.one_line()),
        }
    }
    runs
}

/// What was read of a database.
struct Looked {
    name: String,
    /// The newest first.
    rows: Vec<Row>,
    failed: Failures,
    /// The newest first.
    failures: Vec<FailedRun>,
}

impl Looked {
    fn database(self, config: &OverviewConfig, now: OffsetDateTime) -> Result<Database> {
        let proven = self.rows.iter().find(|row| row.restores());
        let last_backup = self.rows.first().map(|row| moment_of(&row.stored, now));
        let last_proven = proven.map(|row| moment_of(&row.stored, now));
        let rpo_seconds = proven.map(|row| u64::try_from((now - row.stored.at).whole_seconds()).unwrap_or(0));
        let rto_seconds = proven.and_then(restore_seconds);
        let stored_bytes = self.rows.iter().map(|row| row.stored.bytes()).sum();
        let (standing, says) = self.standing(config, now, proven);
        Ok(Database {
            standing,
            says,
            last_backup,
            last_proven,
            rpo_seconds,
            rto_seconds,
            days: self.days(now),
            points: self.rows.iter().rev().filter_map(point).collect(),
            failures: self.failures.iter().map(failed).collect(),
            backups: self.rows.len() as u64,
            stored_bytes,
            cost: config.price.as_ref().map(|(price, _)| price * stored_bytes as f64 / GIB),
            prunes_next: self.prunes_next(&config.retention, now)?,
            audit: self.rows.iter().map(|row| audited(row, now)).collect(),
            name: self.name,
        })
    }

    /// How it stands, and the same in a line.
    fn standing(&self, config: &OverviewConfig, now: OffsetDateTime, proven: Option<&Row>) -> (Standing, String) {
        let Some(proven) = proven else {
            let says = match self.rows.len() {
                0 => "no backup lies there".to_owned(),
                n => format!("none of {} is proven by a restore", counted(n as u64, "backup")),
            };
            return (Standing::Unproven, says);
        };
        let ago = age(now, proven.stored.at);
        let newest = self.rows.first().map(|row| row.stored.at);
        let after: Vec<_> = self.failed.keys().filter(|run| newest.is_none_or(|at| run.at > at)).collect();
        if let Some(first) = after.first() {
            let runs = counted(after.len() as u64, "run");
            let since = match after.len() {
                1 => String::new(),
                _ => ", the first".to_owned(),
            };
            let says = format!("{runs} failed{since} {} ago; the last proven backup is {ago} old", age(now, first.at));
            return (Standing::Failing, says);
        }
        let newer = self.rows.iter().take_while(|row| row.stored.id != proven.stored.id);
        if let Some(bad) = newer.into_iter().find(|row| row.state() == ProofState::Failed || !row.damage.is_empty()) {
            let what = if bad.damage.is_empty() { "its proof failed" } else { "it is damaged" };
            let (id, old) = (&bad.stored.id, age(now, bad.stored.at));
            return (Standing::Damaged, format!("{id}, {old} old: {what}; the last proven backup is {ago} old"));
        }
        if config.rpo.is_some_and(|goal| now - proven.stored.at > goal) {
            return (Standing::Late, format!("the last proven backup is {ago} old, older than the goal"));
        }
        if let (Some(goal), Some(took)) = (config.rto, restore_seconds(proven))
            && took > goal.as_secs_f64()
        {
            return (Standing::Slow, format!("a restore takes {}, longer than the goal", seconds(took)));
        }
        (Standing::Good, format!("proven {ago} ago"))
    }

    /// What was on each of the last days.
    fn days(&self, now: OffsetDateTime) -> Vec<Day> {
        let today = now.date();
        let first = today - time::Duration::days(DAYS as i64 - 1);
        let mut days: Vec<Day> = (0..DAYS as i64)
            .map(|n| Day { date: (first + time::Duration::days(n)).to_string(), ..Day::default() })
            .collect();
        let mut on = |at: OffsetDateTime, count: fn(&mut Day)| {
            let n = (at.date() - first).whole_days();
            if let Some(day) = usize::try_from(n).ok().and_then(|n| days.get_mut(n)) {
                count(day);
            }
        };
        for row in &self.rows {
            on(row.stored.at, if row.restores() { |day| day.proven += 1 } else { |day| day.unproven += 1 });
        }
        for run in self.failed.keys() {
            on(run.at, |day| day.failed += 1);
        }
        days
    }

    /// What the rule lets go, the oldest first.
    fn prunes_next(&self, rule: &Retention, now: OffsetDateTime) -> Result<Vec<Pruned>> {
        let candidates = self.rows.iter().filter(|row| row.brief.is_some()).map(|row| candidate(row, now)).collect();
        let plan = retention::plan(candidates, rule, now)?;
        let bytes: BTreeMap<&str, u64> = self.rows.iter().map(|r| (r.stored.id.as_str(), r.stored.bytes())).collect();
        let mut gone: Vec<_> = plan.removed().collect();
        gone.sort_by_key(|c| c.at);
        let pruned = |c: &&Candidate| Pruned {
            id: c.id.clone(),
            age: age(now, c.at),
            stored_bytes: bytes.get(c.id.as_str()).copied().unwrap_or_default(),
        };
        Ok(gone.iter().map(pruned).collect())
    }
}

fn candidate(row: &Row, now: OffsetDateTime) -> Candidate {
    let stored = row.brief.as_ref().and_then(|brief| moment(&brief.stored_at));
    Candidate {
        id: row.stored.id.clone(),
        database: row.stored.database.clone(),
        kind: row.stored.kind,
        at: row.stored.at,
        stored: stored.unwrap_or(row.stored.at),
        proven: match &row.proof {
            Some(_) if row.restores() => Proven::Yes,
            Some(_) => Proven::No,
            None if row.damage.is_empty() => Proven::Never,
            None => Proven::Unknown,
        },
        locked: locked(row, now),
    }
}

fn locked(row: &Row, now: OffsetDateTime) -> Option<String> {
    row.brief.as_ref()?.lock.as_ref().filter(|lock| lock.holds(now)).map(Lock::line)
}

fn restore_seconds(row: &Row) -> Option<f64> {
    row.proof.as_ref()?.timings.get(Phase::Restore.name()).copied()
}

fn failed(run: &FailedRun) -> Failed {
    Failed {
        at: run.at.clone(),
        kind: run.kind,
        phase: run.phase.clone(),
        message: run.message.clone().unwrap_or_else(|| format!("exit code {}", run.exit_code)),
        backup: run.backup_id.clone(),
        run_url: run.context.run_url.clone(),
    }
}

fn audited(row: &Row, now: OffsetDateTime) -> Audited {
    let brief = row.brief.as_ref();
    let context = brief.map(|b| &b.context);
    Audited {
        id: row.stored.id.clone(),
        at: stamp(row.stored.at),
        kind: row.stored.kind,
        tables: brief.map(|b| b.totals.tables),
        rows: brief.map(|b| b.totals.rows),
        stored_bytes: row.stored.bytes(),
        proof: match row.state() {
            _ if !row.damage.is_empty() => "damaged",
            ProofState::Passed => "passed",
            ProofState::Failed => "failed",
            ProofState::None => "none",
        },
        level: row.proof.as_ref().map(|p| p.level),
        proven_at: row.proof.as_ref().map(|p| p.finished_at.clone()),
        manifest_sha256: row.proof.as_ref().and_then(|p| p.manifest_sha256.clone()),
        signed_by: brief.and_then(|b| b.signed_by.clone()),
        locked: locked(row, now),
        repository: context.and_then(|c| c.repository.clone()),
        commit: context.and_then(|c| c.commit.clone()),
        actor: context.and_then(|c| c.actor.clone()),
        run_url: context.and_then(|c| c.run_url.clone()),
        damage: row.damage.clone(),
    }
}
