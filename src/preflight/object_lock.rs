//! Whether the bucket can lock what is to be locked: told now, not by the first object after the questions.

use super::{
    answer::{Answer, Answered, yes},
    facts::Facts,
    question::Question,
};
use crate::{
    error::{Error, Kind},
    store::{Locking, Store},
};
use async_trait::async_trait;

/// The question's name.
pub const OBJECT_LOCK: &str = "object lock";

pub(super) struct SwitchedOn;

#[async_trait]
impl Question for SwitchedOn {
    fn name(&self) -> &'static str {
        OBJECT_LOCK
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let store = facts.store.get()?;
        let Some(lock) = store.locks() else { return Ok(Vec::new()) };
        let all = format!("everything will be locked {}", lock.line());
        match store.locking().await? {
            Locking::On { default: None } => yes(all),
            Locking::On { default: Some(rule) } => yes(format!("{all}; the bucket's own rule is {rule}")),
            Locking::Off => Ok(vec![Answer::failed(&none(&**store))]),
            Locking::Unknown(why) => {
                Ok(vec![Answer::warning(format!("{all}, if the bucket has object lock, which is not known: {why}"))])
            }
        }
    }
}

/// The error for a bucket that locks nothing. The destination's own question gives it before it tries anything: it would meet a refusal that
/// says less.
pub(super) fn none(store: &dyn Store) -> Error {
    Error::new(Kind::Refused, format!("{} has no object lock, so nothing can be locked there", store.uri(""))).hint(
        "object lock must be switched on when the bucket is made: aws s3api create-bucket --object-lock-enabled-for-bucket (AWS can \
         also switch it on later where versioning is on); or leave out --s3-object-lock-mode, --s3-object-lock-days and --s3-legal-hold",
    )
}
