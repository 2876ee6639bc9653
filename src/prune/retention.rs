//! Which backups stay and which go: a pure function of what is stored, the rule and the time.
//!
//! The words and what they mean are restic's (<https://restic.readthedocs.io/en/stable/060_forget.html>): a rule is
//! applied to each group, here (database, kind), and what any part of it keeps stays. Rails keep more than a rule says, never less.

use crate::{
    error::{Error, Kind, Result},
    vault::BackupKind,
};
use std::collections::{BTreeMap, BTreeSet};
use time::{Date, Duration, Month, OffsetDateTime};

/// Years, months, days and hours, counted back on the calendar in UTC (restic's `--keep-within`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

/// A rule that says which backups of a group stay; 0 and `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest so many.
    pub last: u32,
    /// The newest of each of the last so many days that have one.
    pub daily: u32,
    /// The newest of each of the last so many weeks (ISO 8601) that have one.
    pub weekly: u32,
    /// The newest of each of the last so many months that have one.
    pub monthly: u32,
    /// The newest of each of the last so many years that have one.
    pub yearly: u32,
    /// All so close to the newest one.
    pub within: Option<Span>,
}

impl Policy {
    /// The rule of a kind where none was named: scheduled 30 days, snapshot 90, pre-restore 7; `None`, for ever, for those taken by hand.
    pub fn default_of(kind: BackupKind) -> Option<Policy> {
        let within = |days| Some(Policy { within: Some(Span { days, ..Span::default() }), ..Policy::default() });
        match kind {
            BackupKind::Scheduled => within(30),
            BackupKind::Snapshot => within(90),
            BackupKind::PreRestore => within(7),
            BackupKind::Manual => None,
        }
    }
}

/// Which backups are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The rule for each kind; `None`: [`Policy::default_of`].
    pub policy: Option<Policy>,
    /// Never fewer than this of each group.
    pub min_keep: usize,
    /// More than half may go.
    pub confirm_large: bool,
}

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
    /// Files are missing, the manifest is another one than was proven, or no key that counts signed it: it is kept, and counts for nothing.
    Nothing,
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
    /// How the store holds it back, in words. It needs to be known only of those that a plan lets go.
    pub locked: Option<String>,
}

impl Candidate {
    /// The backup's folder in the destination.
    pub fn folder(&self) -> String {
        crate::vault::address::folder(&self.database, self.at, &self.id)
    }
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
        // One that a fast clock dated in the future, and one that is known to be none, is kept but counts for nothing: else it would push
        // the others out.
        let (apart, past): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|c| c.at > now || c.proven == Proven::Nothing);
        decisions.extend(apart.into_iter().map(|backup| {
            let why = match backup.at > now {
                true => "dated in the future",
                false => "what lies there is damaged, or no key that counts signed it: it counts for nothing",
            };
            Decision { backup, reasons: vec![why.into()] }
        }));
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

/// Names the period that a day lies in.
type Period = fn(Date) -> String;

/// Adds why the rule keeps each backup of a group, the newest of which stands first.
fn apply(policy: &Policy, group: &[Candidate], reasons: &mut [Vec<String>]) {
    let Some(newest) = group.first() else { return };
    for reasons in reasons.iter_mut().take(policy.last as usize) {
        reasons.push(format!("last {}", policy.last));
    }
    let periods: [(u32, &str, Period); 4] = [
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
        // A delete would hide it and free nothing.
        reasons.extend(backup.locked.as_ref().map(|lock| format!("locked {lock}")));
        // Committed, but the run that took it may still be reading it back.
        if backup.proven == Proven::Never && backup.stored > now.saturating_sub(IN_FLIGHT) {
            reasons.push("new, its proof may be going on".into());
        }
    }
}

/// A moment so much earlier on the calendar; a day that its month does not have is the month's last.
fn back(at: OffsetDateTime, span: Span) -> OffsetDateTime {
    let months = i64::from(at.year()) * 12 + i64::from(u8::from(at.month()))
        - 1
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, option, prelude::*};
    use std::fmt::Write as _;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    fn backup(at: OffsetDateTime, kind: BackupKind, proven: Proven) -> Candidate {
        let stamp = format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        );
        Candidate {
            id: format!("{stamp}-{}", kind.name()),
            database: "app".into(),
            kind,
            at,
            stored: at,
            proven,
            locked: None,
        }
    }

    /// Proven backups so long before now.
    fn aged(ages: impl IntoIterator<Item = Duration>) -> Vec<Candidate> {
        ages.into_iter().map(|age| backup(NOW - age, BackupKind::Scheduled, Proven::Yes)).collect()
    }

    fn hourly(number: i64) -> Vec<Candidate> {
        aged((0..number).map(Duration::hours))
    }

    fn daily(number: i64) -> Vec<Candidate> {
        aged((0..number).map(Duration::days))
    }

    fn of_kind(kind: BackupKind, list: Vec<Candidate>) -> Vec<Candidate> {
        list.into_iter().map(|c| backup(c.at, kind, c.proven)).collect()
    }

    fn with_proofs(mut list: Vec<Candidate>, proofs: &[Proven]) -> Vec<Candidate> {
        for (candidate, proven) in list.iter_mut().zip(proofs) {
            candidate.proven = *proven;
        }
        list
    }

    const NONE: Policy = Policy { last: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, within: None };

    fn rule(policy: Policy) -> Retention {
        Retention { policy: Some(policy), min_keep: 1, confirm_large: true }
    }

    fn within(years: u32, months: u32, days: u32, hours: u32) -> Retention {
        rule(Policy { within: Some(Span { years, months, days, hours }), ..NONE })
    }

    fn shown(plan: &Plan) -> String {
        let mut out = String::new();
        for d in plan.0.iter().filter(|d| d.keep()) {
            let _ = writeln!(out, "  {} {}: {}", d.backup.database, d.backup.id, d.reasons.join(", "));
        }
        let large = if plan.is_large() { ", more than half" } else { "" };
        let _ = writeln!(out, "  and {} of {} go{large}", plan.removed().count(), plan.0.len());
        out
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn cases() {
        use BackupKind::{Manual, PreRestore, Scheduled, Snapshot};
        use Proven::{Never, No, Unknown, Yes};
        let defaults = Retention { policy: None, min_keep: 3, confirm_large: false };
        let last = |last| rule(Policy { last, ..NONE });
        let on = |dates: &[OffsetDateTime]| dates.iter().map(|at| backup(*at, Scheduled, Yes)).collect::<Vec<_>>();
        let new_year = on(&[
            datetime!(2026-01-04 23:59:59 UTC),
            datetime!(2026-01-01 00:00 UTC),
            datetime!(2025-12-31 23:59:59 UTC),
            datetime!(2025-12-29 00:00 UTC),
            datetime!(2025-12-28 23:59:59 UTC),
            datetime!(2024-12-30 00:00 UTC),
        ]);
        let month_ends = on(&[
            datetime!(2026-03-31 12:00 UTC),
            datetime!(2026-02-28 12:00 UTC),
            datetime!(2026-02-28 11:59:59 UTC),
            datetime!(2026-01-31 12:00 UTC),
        ]);
        let mut two_databases = daily(5);
        two_databases.extend(daily(5).into_iter().map(|c| Candidate { database: "app_staging".into(), ..c }));
        let mut all_kinds = Vec::new();
        for kind in [Scheduled, Snapshot, PreRestore, Manual] {
            all_kinds.extend(of_kind(kind, aged((0..110).step_by(10).map(Duration::days))));
        }
        let mut skewed = daily(10);
        skewed.push(backup(NOW + Duration::days(3650), Scheduled, Yes));
        skewed.push(backup(NOW + Duration::seconds(1), Scheduled, Never));
        let mut twins = on(&[NOW; 3]);
        for (n, twin) in twins.iter_mut().enumerate() {
            twin.id.push_str(&format!("-{n}"));
        }
        let mut fresh = with_proofs(daily(5), &[Yes, Never, Never, Never, No]);
        for c in &mut fresh {
            c.stored = NOW - Duration::hours(if c.at < NOW - Duration::days(2) { 24 } else { 23 });
        }
        let full = Policy { last: 2, daily: 3, weekly: 2, monthly: 2, yearly: 2, within: None };
        let cases: Vec<(&str, Vec<Candidate>, Retention)> = vec![
            ("nothing there", vec![], last(1)),
            ("a single one, out of every rule's reach", aged([Duration::days(4000)]), within(0, 0, 1, 0)),
            ("last 1 of 5", daily(5), last(1)),
            ("last 3 of 5", daily(5), last(3)),
            ("last 9 of 5", daily(5), last(9)),
            ("daily 3 of 50 hours", hourly(50), rule(Policy { daily: 3, ..NONE })),
            ("daily 2 of 50 hours", hourly(50), rule(Policy { daily: 2, ..NONE })),
            ("daily 9 of 50 hours: the oldest too", hourly(50), rule(Policy { daily: 9, ..NONE })),
            (
                "daily 3, days without a backup do not count",
                aged([0, 5, 6, 40, 41].map(Duration::days)),
                rule(Policy { daily: 3, ..NONE }),
            ),
            ("weekly 3 of 30 days", daily(30), rule(Policy { weekly: 3, ..NONE })),
            ("weekly over new year: weeks of ISO 8601", new_year.clone(), rule(Policy { weekly: 9, ..NONE })),
            ("monthly over new year", new_year.clone(), rule(Policy { monthly: 9, ..NONE })),
            ("yearly over new year", new_year.clone(), rule(Policy { yearly: 2, ..NONE })),
            ("yearly 9 over new year: the oldest too", new_year, rule(Policy { yearly: 9, ..NONE })),
            ("monthly 4 of 400 days", daily(400), rule(Policy { monthly: 4, ..NONE })),
            ("yearly 5 of 800 days", daily(800), rule(Policy { yearly: 5, ..NONE })),
            ("all rules at once", daily(800), rule(full)),
            ("all rules at once, hourly", hourly(100), rule(full)),
            ("within 3 days, the edge included", daily(6), within(0, 0, 3, 0)),
            ("within 5 hours", hourly(20), within(0, 0, 0, 5)),
            ("within 1 day 2 hours", aged([0, 25, 26, 27].map(Duration::hours)), within(0, 0, 1, 2)),
            ("within 1 month of March 31: to the end of February", month_ends.clone(), within(0, 1, 0, 0)),
            ("within 1 year and 6 months", aged((0..20).map(|n| Duration::days(n * 61))), within(1, 6, 0, 0)),
            ("within 100,000 years", daily(3), within(100_000, 0, 0, 0)),
            (
                "within counts from the newest, not from now",
                aged([100, 101, 102, 103, 104].map(Duration::days)),
                within(0, 0, 2, 0),
            ),
            (
                "within or last",
                daily(9),
                rule(Policy { last: 4, within: Some(Span { days: 1, ..Span::default() }), ..NONE }),
            ),
            ("the kinds' own rules", all_kinds.clone(), defaults),
            ("one rule for all kinds", all_kinds, last(1)),
            ("each database by itself", two_databases, last(2)),
            ("min-keep above the rule", daily(9), Retention { min_keep: 5, ..last(1) }),
            ("min-keep 0 keeps one", daily(3), Retention { min_keep: 0, ..within(0, 0, 0, 1) }),
            ("the newest failed: the newest proven stays", with_proofs(daily(6), &[No, No, No, Yes]), last(1)),
            ("never proven: the newest proven stays", with_proofs(daily(6), &[Never, Never, Yes]), last(1)),
            ("only the newest proven one is guarded", with_proofs(daily(6), &[No, Yes, Yes, Yes]), last(1)),
            ("none proven", with_proofs(daily(4), &[No, Never, No, Never]), last(1)),
            (
                "what cannot be read above the newest proven",
                with_proofs(daily(6), &[No, Unknown, No, Yes, Unknown]),
                last(1),
            ),
            ("nothing can be read", with_proofs(daily(3), &[Unknown; 3]), last(1)),
            (
                "of each kind the newest proven",
                {
                    let mut list = with_proofs(daily(4), &[No, No, Yes]);
                    list.extend(of_kind(Snapshot, with_proofs(daily(4), &[No, No, No, Yes])));
                    list
                },
                last(1),
            ),
            ("dated in the future: kept, and nobody is pushed out", skewed.clone(), within(0, 0, 2, 0)),
            ("dated in the future: no substitute for the last", skewed, last(2)),
            ("the same second", twins, last(2)),
            ("not proven yet, stored within a day", fresh, last(1)),
            ("exactly half", daily(6), last(3)),
            ("one more than half", daily(7), last(3)),
        ];
        let mut text = String::new();
        for (name, list, retention) in cases {
            let plan = plan(list, &retention, NOW).expect(name);
            let _ = writeln!(text, "{name}\n{}", shown(&plan));
        }
        insta::assert_snapshot!("retention", text);
    }

    #[test]
    fn a_rule_that_keeps_nothing_is_refused() {
        for policy in [NONE, Policy { within: Some(Span::default()), ..NONE }] {
            for list in [vec![], daily(9)] {
                assert_eq!(plan(list, &rule(policy), NOW).expect_err("is refused").kind(), Kind::Usage);
            }
        }
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        use BackupKind::{Manual, PreRestore, Scheduled, Snapshot};
        use Proven::{Never, No, Unknown, Yes};
        // Ages in hours: dense, so that periods collide, and some in the future.
        let age = prop_oneof![4 => -3_i64..200, 2 => 0_i64..3000, 1 => 0_i64..40_000];
        let kind = prop::sample::select(vec![Scheduled, Snapshot, PreRestore, Manual]);
        let proven = prop::sample::select(vec![Yes, No, Never, Unknown]);
        let database = prop::sample::select(vec!["app", "app_staging"]);
        vec((age, kind, proven, database, 0_i64..72), 0..60).prop_map(|list| {
            let one = |(n, (age, kind, proven, database, stored)): (usize, _)| {
                let at = NOW - Duration::hours(age);
                let own = backup(at, kind, proven);
                let stored = at + Duration::hours(stored);
                Candidate { id: format!("{}-{n:03}", own.id), database: String::from(database), stored, ..own }
            };
            list.into_iter().enumerate().map(one).collect()
        })
    }

    fn policies() -> impl Strategy<Value = Policy> {
        let few = || prop_oneof![2 => Just(0_u32), 3 => 1_u32..8];
        let span = (0_u32..3, 0_u32..14, 0_u32..40, 0_u32..48).prop_map(|(years, months, days, hours)| Span {
            years,
            months,
            days,
            hours,
        });
        (few(), few(), few(), few(), few(), option::of(span)).prop_map(
            |(last, daily, weekly, monthly, yearly, within)| Policy { last, daily, weekly, monthly, yearly, within },
        )
    }

    fn retentions() -> impl Strategy<Value = Retention> {
        let policy = option::weighted(0.8, policies().prop_filter("keeps something", |p| !keeps_nothing(p)));
        (policy, 1_usize..5).prop_map(|(policy, min_keep)| Retention { policy, min_keep, confirm_large: true })
    }

    fn gone(plan: &Plan) -> BTreeSet<String> {
        plan.removed().map(|c| c.id.clone()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn rails_hold_whatever_the_rule(list in candidates(), retention in retentions()) {
            let plan = plan(list.clone(), &retention, NOW).expect("is a rule");
            prop_assert_eq!(plan.0.len(), list.len());
            let gone = gone(&plan);
            let mut groups: BTreeMap<(&str, &str), Vec<&Candidate>> = BTreeMap::new();
            for c in list.iter().filter(|c| c.at <= NOW) {
                groups.entry((&c.database, c.kind.name())).or_default().push(c);
            }
            for mut group in groups.into_values() {
                group.sort_by_key(|c| (c.at, &c.id));
                for c in group.iter().rev().take(retention.min_keep) {
                    prop_assert!(!gone.contains(&c.id), "one of the last: {c:?}");
                }
                if let Some(c) = group.iter().rev().find(|c| c.proven == Proven::Yes) {
                    prop_assert!(!gone.contains(&c.id), "the newest proven: {c:?}");
                }
                for c in group.iter().rev().take_while(|c| c.proven != Proven::Yes) {
                    prop_assert!(c.proven != Proven::Unknown || !gone.contains(&c.id), "may be proven: {c:?}");
                }
            }
            for c in list.iter().filter(|c| gone.contains(&c.id)) {
                prop_assert!(c.at <= NOW, "in the future: {c:?}");
                prop_assert!(c.proven != Proven::Never || c.stored <= NOW - IN_FLIGHT, "may be in flight: {c:?}");
                prop_assert!(c.kind != BackupKind::Manual || retention.policy.is_some(), "taken by hand: {c:?}");
            }
        }

        #[test]
        fn a_second_time_deletes_nothing(list in candidates(), retention in retentions()) {
            let first = plan(list.clone(), &retention, NOW).expect("is a rule");
            let gone = gone(&first);
            let left = list.into_iter().filter(|c| !gone.contains(&c.id)).collect();
            let second = plan(left, &retention, NOW).expect("is a rule");
            prop_assert_eq!(second.removed().count(), 0);
        }

        #[test]
        fn the_order_does_not_matter(
            (list, mixed) in candidates().prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
            retention in retentions(),
        ) {
            prop_assert_eq!(plan(list, &retention, NOW).expect("is a rule"), plan(mixed, &retention, NOW).expect("is a rule"));
        }

        #[test]
        fn what_is_deleted_in_parts_is_deleted_at_once(list in candidates(), retention in retentions(), cut in any::<prop::sample::Index>()) {
            // A run that is broken off after some of its deletes: the next one ends where the first would have.
            let whole = plan(list.clone(), &retention, NOW).expect("is a rule");
            let all: Vec<String> = gone(&whole).into_iter().collect();
            let done: BTreeSet<&String> = all.iter().take(cut.index(all.len() + 1)).collect();
            let rest = list.into_iter().filter(|c| !done.contains(&c.id)).collect();
            let mut then = gone(&plan(rest, &retention, NOW).expect("is a rule"));
            then.extend(done.into_iter().cloned());
            prop_assert_eq!(then.into_iter().collect::<Vec<_>>(), all);
        }

        #[test]
        fn a_larger_rule_never_deletes_more(list in candidates(), small in policies(), more in policies(), keep in 1_usize..4, extra in 0_usize..3) {
            prop_assume!(!keeps_nothing(&small));
            let sum = |a: Option<Span>, b: Option<Span>| match (a, b) {
                (Some(a), Some(b)) => Some(Span {
                    years: a.years + b.years, months: a.months + b.months, days: a.days + b.days, hours: a.hours + b.hours,
                }),
                (a, b) => a.or(b),
            };
            let large = Policy {
                last: small.last + more.last,
                daily: small.daily + more.daily,
                weekly: small.weekly + more.weekly,
                monthly: small.monthly + more.monthly,
                yearly: small.yearly + more.yearly,
                within: sum(small.within, more.within),
            };
            let of = |policy, min_keep| {
                let retention = Retention { policy: Some(policy), min_keep, confirm_large: true };
                gone(&plan(list.clone(), &retention, NOW).expect("is a rule"))
            };
            let (little, much) = (of(small, keep), of(large, keep + extra));
            prop_assert!(much.is_subset(&little), "{:?}", much.difference(&little).collect::<Vec<_>>());
        }
    }
}
