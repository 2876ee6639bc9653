//! The server that the backup is proven in: started beside the last questions.

use super::{
    answer::{Answer, Answered},
    facts::{Facts, Reach},
    lacking::lacks,
    question::Question,
    starting::Starting,
};
use crate::verify::{limits::Guarded, server::Server};
use async_trait::async_trait;

const NAME: &str = "throwaway";

/// Starts it, unless a no would have it started for nothing.
pub(super) struct Start;

#[async_trait]
impl Question for Start {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        if facts.reach == Reach::Look || !facts.config.verify.restores() || facts.refused() {
            return Ok(Vec::new());
        }
        let folder = facts.scratch.get()?.path().join("throwaway");
        let (url, engine) = (facts.config.verify_url.clone(), facts.config.engine.clone());
        let (guard, logs_wal) = (facts.config.guard.clone(), facts.config.rehearse.is_some());
        let (tools, source) = (facts.tools.get()?.clone(), facts.source.get()?.clone());
        let extensions = facts.extensions.get()?.as_ref()?.clone();
        let wanted = extensions.clone();
        let server = async move {
            match &url {
                Some(url) => Server::at(url, &source).await,
                None => {
                    let guarded = Guarded::of_ours(&guard);
                    Server::built_in(&tools, &folder, &source, &extensions, &engine, guarded, logs_wal).await
                }
            }
        };
        facts.server.learn(Starting::begin(server, wanted));
        Ok(Vec::new())
    }
}

/// Says that a dry run starts none.
pub(super) struct Skipped;

#[async_trait]
impl Question for Skipped {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        match facts.reach {
            Reach::Full => Ok(Vec::new()),
            Reach::Look => Ok(vec![Answer::skipped("not started in a dry run")]),
        }
    }
}

/// Whether it came up, and what it lacks, for `savepoint check`; then it is stopped. Returns what could not be removed, too.
pub(super) async fn came_up(starting: &mut Starting) -> (Vec<(&'static str, Answer)>, Vec<String>) {
    let (server, missing) = match starting.finish().await {
        Ok(started) => started,
        Err(e) => return (vec![(NAME, Answer::failed(&e))], Vec::new()),
    };
    let described = server.describe();
    let cage = server.uncaged().map(|why| format!(", {why}")).unwrap_or_default();
    let up = Answer::ok(format!("PostgreSQL {} ({}) is up{cage}", described.version, described.kind));
    let missing = missing.iter().map(|(name, why)| ("extensions", lacks(name, why)));
    let answers = std::iter::once((NAME, up)).chain(missing).collect();
    (answers, server.stop().await)
}
