//! Which backups stay and which go: a pure function of what is stored, the rule and the time.
//!
//! The words and what they mean are restic's (<https://restic.readthedocs.io/en/stable/060_forget.html>): a rule is
//! applied to each group, here (database, kind), and what any part of it keeps stays. Rails keep more than a rule says, never less.

use crate::{
    config::{BackupKind, Policy, Retention, Span},
    error::{Error, Kind, Result},
};
use std::collections::{BTreeMap, BTreeSet};
use time::{Date, Duration, Month, OffsetDateTime};

/// How long a run may take at most: what may belong to one that is still going on is never touched.
pub const IN_FLIGHT: Duration = Duration::hours(24);

/// What is known of a backup's last proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proven {
    /// Its last proof passed.
    Yes,
    /// Its last proof did not pass.
    No,
    /// There is no proof record.
    Never,
    /// There is one, which was not read, or could not be.
    Unknown,
}

/// A stored backup, as far as a rule needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Id.
    pub id: String,
    /// Database name.
    pub database: String,
    /// Why it was taken.
    pub kind: BackupKind,
    /// The moment that it shows.
    pub at: OffsetDateTime,
    /// When its manifest was written, by the store's clock.
    pub stored: OffsetDateTime,
    /// Its last proof. Records need to be read from a group's newest backup downwards only until one that passed.
    pub proven: Proven,
}

/// A backup and why it stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The backup.
    pub backup: Candidate,
    /// Why it stays; without a reason it goes.
    pub reasons: Vec<String>,
}

impl Decision {
    /// True when it stays.
    pub fn keep(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// What a rule says about every backup, by database and kind, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(pub Vec<Decision>);

impl Plan {
    /// Backups that go.
    pub fn removed(&self) -> impl Iterator<Item = &Candidate> {
        self.0.iter().filter(|d| !d.keep()).map(|d| &d.backup)
    }

    /// More than half of all goes: a person is to say that this is meant.
    pub fn is_large(&self) -> bool {
        self.removed().count() * 2 > self.0.len()
    }
}

/// Decides about every backup. The order of `candidates` does not matter.
///
/// # Errors
/// [`Kind::Usage`] for a rule that keeps nothing.
pub fn plan(candidates: Vec<Candidate>, retention: &Retention, now: OffsetDateTime) -> Result<Plan> {
    if retention.policy.is_some_and(|policy| keeps_nothing(&policy)) {
        return Err(Error::new(Kind::Usage, "the retention rule keeps nothing")
            .hint("give one of the keep options a number above 0, such as keep-daily 7"));
    }
    let mut groups: BTreeMap<(String, &str), Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        groups.entry((candidate.database.clone(), candidate.kind.name())).or_default().push(candidate);
    }
    let mut decisions = Vec::new();
    for mut group in groups.into_values() {
        group.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        // One that a fast clock dated in the future is kept, but counts for nothing: else it would push the others out.
        let (future, past): (Vec<_>, Vec<_>) = group.into_iter().partition(|c| c.at > now);
        decisions
            .extend(future.into_iter().map(|backup| Decision { backup, reasons: vec!["dated in the future".into()] }));
        let mut reasons = vec![Vec::new(); past.len()];
        if let Some(kind) = past.first().map(|c| c.kind) {
            match retention.policy.or_else(|| Policy::default_of(kind)) {
                Some(policy) => apply(&policy, &past, &mut reasons),
                None => reasons.iter_mut().for_each(|r| r.push("taken by hand".to_owned())),
            }
        }
        rails(retention.min_keep, &past, now, &mut reasons);
        decisions.extend(past.into_iter().zip(reasons).map(|(backup, reasons)| Decision { backup, reasons }));
    }
    Ok(Plan(decisions))
}

fn keeps_nothing(policy: &Policy) -> bool {
    let within = policy.within.filter(|span| *span != Span::default());
    Policy { within, ..*policy } == Policy::default()
}

/// Adds why the rule keeps each backup of a group, the newest of which stands first.
fn apply(policy: &Policy, group: &[Candidate], reasons: &mut [Vec<String>]) {
    let Some(newest) = group.first() else { return };
    for reasons in reasons.iter_mut().take(policy.last as usize) {
        reasons.push(format!("last {}", policy.last));
    }
    let periods: [(u32, &str, fn(Date) -> String); 4] = [
        (policy.daily, "daily", |d| d.to_string()),
        (policy.weekly, "weekly", |d| format!("{}-W{:02}", d.to_iso_week_date().0, d.iso_week())),
        (policy.monthly, "monthly", |d| format!("{}-{:02}", d.year(), u8::from(d.month()))),
        (policy.yearly, "yearly", |d| d.year().to_string()),
    ];
    for (count, name, period) in periods {
        let mut seen = BTreeSet::new();
        for (n, (backup, reasons)) in group.iter().zip(reasons.iter_mut()).enumerate() {
            if seen.len() >= count as usize {
                break;
            }
            let period = period(backup.at.date());
            if seen.insert(period.clone()) {
                reasons.push(format!("{name} {period}"));
            } else if n + 1 == group.len() {
                // As in restic: while there are fewer periods than asked for, the history's beginning stays.
                reasons.push(format!("{name} {period} (oldest)"));
            }
        }
    }
    if let Some(span) = policy.within.filter(|span| *span != Span::default()) {
        let limit = back(newest.at, span);
        for (_, reasons) in group.iter().zip(reasons).filter(|(backup, _)| backup.at >= limit) {
            reasons.push(format!("within {}", name(span)));
        }
    }
}

/// Adds why a backup stays whatever the rule says.
fn rails(min_keep: usize, group: &[Candidate], now: OffsetDateTime, reasons: &mut [Vec<String>]) {
    let proven = group.iter().position(|c| c.proven == Proven::Yes);
    for (n, (backup, reasons)) in group.iter().zip(reasons).enumerate() {
        if proven == Some(n) {
            reasons.push("newest proven".into());
        }
        // Any of these may be the newest proven one.
        if proven.is_none_or(|newest| n < newest) && backup.proven == Proven::Unknown {
            reasons.push("its proof could not be read".into());
        }
        if n < min_keep.max(1) {
            reasons.push(match min_keep {
                0 | 1 => "the last one".into(),
                most => format!("one of the last {most} (min-keep)"),
            });
        }
        // Committed, but the run that took it may still be reading it back.
        if backup.proven == Proven::Never && backup.stored > now.saturating_sub(IN_FLIGHT) {
            reasons.push("new, its proof may be going on".into());
        }
    }
}

/// A moment so much earlier on the calendar; a day that its month does not have is the month's last.
fn back(at: OffsetDateTime, span: Span) -> OffsetDateTime {
    let months = i64::from(at.year()) * 12 + i64::from(u8::from(at.month())) - 1
        - i64::from(span.years) * 12
        - i64::from(span.months);
    let date = || {
        let year = i32::try_from(months.div_euclid(12)).ok()?;
        let month = Month::try_from(u8::try_from(months.rem_euclid(12) + 1).ok()?).ok()?;
        Date::from_calendar_date(year, month, at.day().min(month.length(year))).ok()
    };
    // Before all time that can be written: nothing is older.
    let earliest = time::PrimitiveDateTime::MIN.assume_utc();
    let Some(date) = date() else { return earliest };
    at.replace_date(date).saturating_sub(Duration::days(span.days.into()) + Duration::hours(span.hours.into()))
}

/// As it is written on the command line: `1y6m`.
fn name(span: Span) -> String {
    [(span.years, 'y'), (span.months, 'm'), (span.days, 'd'), (span.hours, 'h')]
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect()
}
