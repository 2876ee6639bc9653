//! Whether the source's version is served.

use super::{
    answer::{Answer, Answered, Unanswered},
    facts::Facts,
    question::Question,
};
use async_trait::async_trait;

/// Majors that the engine serves.
const MAJORS: std::ops::RangeInclusive<u32> = 13..=19;

pub(super) struct Version;

#[async_trait]
impl Question for Version {
    fn name(&self) -> &'static str {
        "version"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let source = facts.source.get()?;
        if MAJORS.contains(&source.major) {
            return Ok(Vec::new());
        }
        Err(Unanswered::No(Answer::no(
            format!("PostgreSQL {} is not served", source.server_version),
            format!("savepoint serves majors {} to {}", MAJORS.start(), MAJORS.end()),
        )))
    }
}
