//! Object lock: what is asked for with every object of a backup, and what the bucket says of it.

use super::{bucket::Bucket, failure::Op};
use crate::{
    clock::stamp,
    error::Result,
    store::{LockMode, Locking, Seen},
};
use aws_sdk_s3::{
    primitives::DateTime,
    types::{ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetentionMode, ObjectLockRule as Rule},
};
use time::OffsetDateTime;

/// What is sent with an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) mode: Option<ObjectLockMode>,
    pub(super) until: Option<DateTime>,
    pub(super) legal_hold: Option<ObjectLockLegalHoldStatus>,
}

impl Bucket {
    /// What is sent with an object. What lies in the destination itself and in no folder, as the probe does, is no part of a backup,
    /// and is not locked.
    pub(super) fn held(&self, key: &str) -> Held {
        let Some(lock) = self.lock.as_ref().filter(|_| key.contains('/')) else { return Held::default() };
        Held {
            mode: lock.mode.map(|mode| match mode {
                LockMode::Governance => ObjectLockMode::Governance,
                LockMode::Compliance => ObjectLockMode::Compliance,
            }),
            until: lock
                .until
                .as_deref()
                .and_then(crate::clock::moment)
                .map(|at| DateTime::from_secs(at.unix_timestamp())),
            legal_hold: lock.legal_hold.then_some(ObjectLockLegalHoldStatus::On),
        }
    }

    /// Whether object lock is switched on in the bucket.
    pub(super) async fn locking(&self) -> Result<Locking> {
        let asked =
            self.call(|client, _| client.get_object_lock_configuration().bucket(&self.options.bucket).send()).await;
        let off = ["ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed", "InvalidRequest"];
        match asked {
            Ok(answer) => {
                let Some(on) = answer.object_lock_configuration.filter(|c| c.object_lock_enabled.is_some()) else {
                    return Ok(Locking::Off);
                };
                Ok(Locking::On { default: on.rule.and_then(in_words) })
            }
            Err(f) if f.code.as_deref().is_some_and(|code| off.contains(&code)) => Ok(Locking::Off),
            Err(f) if matches!(f.status, Some(405 | 501)) => Ok(Locking::Off),
            Err(f) if matches!(f.status, Some(401 | 403)) => {
                Ok(Locking::Unknown(self.error(Op::Locking, "", f).one_line()))
            }
            Err(f) => Err(self.error(Op::Locking, "", f)),
        }
    }

    /// How an object is held back. A role that may not see it is told nothing, as if it were not.
    pub(super) async fn lock_of(&self, key: &str) -> Result<Seen> {
        let full = self.checked_key(key)?;
        let head = self.call(|client, _| client.head_object().bucket(&self.options.bucket).key(&full).send()).await;
        let head = match head {
            Err(f) if matches!(f.status, Some(404 | 403)) && f.code.as_deref() != Some("NoSuchBucket") => {
                return Ok(Seen::default());
            }
            head => head.map_err(|f| self.error(Op::Head, key, f))?,
        };
        let mode = match head.object_lock_mode {
            Some(ObjectLockMode::Compliance) => LockMode::Compliance,
            _ => LockMode::Governance,
        };
        let until = head.object_lock_retain_until_date.map(|at| OffsetDateTime::from_unix_timestamp(at.secs()));
        Ok(Seen {
            retention: until.and_then(|at| Some((mode, stamp(at.ok()?)))),
            legal_hold: head.object_lock_legal_hold_status.map(|hold| hold == ObjectLockLegalHoldStatus::On),
        })
    }
}

/// The rule that objects come under by themselves.
fn in_words(rule: Rule) -> Option<String> {
    let rule = rule.default_retention?;
    let mode = match rule.mode? {
        ObjectLockRetentionMode::Compliance => LockMode::Compliance,
        _ => LockMode::Governance,
    };
    let (number, unit) = rule.days.map(|n| (n, "day")).or_else(|| rule.years.map(|n| (n, "year")))?;
    Some(format!("{}, {number} {unit}{}", mode.name(), if number == 1 { "" } else { "s" }))
}
