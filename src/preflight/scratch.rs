//! This run's folder.

use super::{answer::Answered, facts::Facts, question::Question};
use crate::{progress::Event, scratch::Scratch};
use async_trait::async_trait;

/// Makes it, once what dead runs left is swept.
pub(super) struct Folder;

#[async_trait]
impl Question for Folder {
    fn name(&self) -> &'static str {
        "scratch"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let parent = facts.config.engine.scratch_dir.as_deref();
        for line in Scratch::sweep(parent) {
            facts.progress.event(Event::Notice(&line));
        }
        facts.scratch.learn(Scratch::create(parent)?);
        Ok(Vec::new())
    }
}
