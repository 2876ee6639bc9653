//! A transaction pooler before the server mixes sessions, so that one snapshot cannot be shared.

use super::{
    answer::{Answer, Answered, Unanswered, yes},
    facts::Facts,
    question::Question,
};
use crate::postgres::pooler;
use async_trait::async_trait;

const NAME: &str = "pooler";

/// By its address, before we try to reach it: it may hang on what we ask.
pub(super) struct ByAddress;

#[async_trait]
impl Question for ByAddress {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let source = &facts.config.source;
        let Some(direct) = source.pooler() else { return Ok(Vec::new()) };
        let mixes = "is a transaction pooler: it mixes sessions, so one snapshot cannot be shared";
        Err(Unanswered::No(Answer::no(format!("{} {mixes}", source.redacted()), direct)))
    }
}

/// By what it does, before anything else is asked or set.
pub(super) struct ByDeed;

#[async_trait]
impl Question for ByDeed {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        if facts.direct.get()?.is_none() {
            return Err(pooler::refusal().into());
        }
        Ok(Vec::new())
    }
}

/// Says that there is none.
pub(super) struct Absent;

#[async_trait]
impl Question for Absent {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, _: &Facts<'_>) -> Answered {
        yes("a direct connection")
    }
}
