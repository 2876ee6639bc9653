//! Object lock: that a store keeps what was stored, whoever asks it to delete it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Who may lift a lock before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LockMode {
    /// A role that has the right to pass it by.
    Governance,
    /// Nobody.
    Compliance,
}

impl LockMode {
    /// As options and people name it.
    pub fn name(self) -> &'static str {
        match self {
            LockMode::Governance => "governance",
            LockMode::Compliance => "compliance",
        }
    }
}

/// How the store holds objects back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lock {
    /// Who may lift it; absent where there is no date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<LockMode>,
    /// Until when (RFC 3339, UTC); absent where there is no date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Held besides, until somebody lifts it.
    #[serde(default)]
    pub legal_hold: bool,
}

impl Lock {
    /// Whether it holds at this moment. A date that cannot be read counts as one to come.
    pub fn holds(&self, now: OffsetDateTime) -> bool {
        let to_come = |until: &String| OffsetDateTime::parse(until, &Rfc3339).map_or(true, |until| until > now);
        self.legal_hold || self.until.as_ref().is_some_and(to_come)
    }

    /// In words that follow "locked": `until 2026-12-22T03:00:00Z (compliance)`.
    pub fn line(&self) -> String {
        let mode = self.mode.map(|mode| format!(" ({})", mode.name())).unwrap_or_default();
        match (&self.until, self.legal_hold) {
            (Some(until), false) => format!("until {until}{mode}"),
            (Some(until), true) => format!("until {until}{mode}, and by a legal hold"),
            (None, _) => "by a legal hold".into(),
        }
    }
}

/// What a store tells of an object's lock. A role may be shown one half of it, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Who may lift it, and until when it holds.
    pub retention: Option<(LockMode, String)>,
    /// Whether there is a legal hold.
    pub legal_hold: Option<bool>,
}

impl Seen {
    /// The lock, where what is not seen is as it was `recorded` when the object was stored.
    pub fn over(self, recorded: Option<Lock>) -> Option<Lock> {
        let recorded = recorded.unwrap_or_default();
        let (mode, until) = match self.retention {
            Some((mode, until)) => (Some(mode), Some(until)),
            None => (recorded.mode, recorded.until),
        };
        let lock = Lock { mode, until, legal_hold: self.legal_hold.unwrap_or(recorded.legal_hold) };
        (lock != Lock::default()).then_some(lock)
    }
}

/// Whether a store knows locks at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locking {
    /// It does not, or not in this bucket.
    Off,
    /// It does.
    On {
        /// The rule that objects come under by themselves, in words: `compliance, 30 days`.
        default: Option<String>,
    },
    /// It may not be asked, and why.
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn what_is_seen_counts_more_than_what_was_recorded() {
        let recorded =
            Lock { mode: Some(LockMode::Governance), until: Some("2026-12-01T00:00:00Z".into()), legal_hold: true };
        assert_eq!(Seen::default().over(Some(recorded.clone())), Some(recorded.clone()));
        assert_eq!(Seen::default().over(None), None);
        let longer = Some((LockMode::Compliance, "2027-01-01T00:00:00Z".to_owned()));
        let lock = Seen { retention: longer, legal_hold: None }.over(Some(recorded.clone())).expect("a lock");
        assert_eq!(lock.line(), "until 2027-01-01T00:00:00Z (compliance), and by a legal hold");
        let lifted = Seen { retention: None, legal_hold: Some(false) }.over(Some(recorded)).expect("a lock");
        assert_eq!(lifted.line(), "until 2026-12-01T00:00:00Z (governance)");
        assert_eq!(Seen { retention: None, legal_hold: Some(false) }.over(None), None);
    }

    #[test]
    fn a_lock_holds_until_its_date_and_a_hold_for_ever() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let until = |text: &str| Lock { mode: Some(LockMode::Governance), until: Some(text.into()), legal_hold: false };
        assert!(until("2026-11-22T12:00:01Z").holds(now) && !until("2026-11-22T12:00:00Z").holds(now));
        assert!(until("some day").holds(now));
        assert!(!Lock::default().holds(now));
        let held = Lock { legal_hold: true, ..until("2020-01-01T00:00:00Z") };
        assert!(held.holds(now));
        assert_eq!(held.line(), "until 2020-01-01T00:00:00Z (governance), and by a legal hold");
        assert_eq!(Lock { legal_hold: true, ..Lock::default() }.line(), "by a legal hold");
    }
}
