//! The source's extensions, which the throwaway server needs as well.

use super::{
    answer::{Answer, Answered, yes},
    facts::Facts,
    question::Question,
};
use crate::{dump::catalog, postgres::extension::special};
use async_trait::async_trait;

const NAME: &str = "extensions";

/// Reads them.
pub(super) struct Read;

#[async_trait]
impl Question for Read {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        facts.extensions.learn(catalog::extensions(facts.session()?).await);
        Ok(Vec::new())
    }
}

/// Judges whether they could be read.
pub(super) struct Known;

#[async_trait]
impl Question for Known {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let extensions = facts.extensions.get()?.as_ref()?;
        let elsewhere = extensions.iter().filter_map(|e| Some((&e.name, special(&e.name)?.elsewhere?)));
        let no = |(name, why): (&String, &str)| {
            Answer::no(
                format!("extension {name}: {why}"),
                "back up each node with the tools of its makers; savepoint takes one database of one server",
            )
        };
        Ok(elsewhere.map(no).collect())
    }
}

/// Names them.
pub(super) struct Named;

#[async_trait]
impl Question for Named {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let extensions = facts.extensions.get()?.as_ref()?;
        if extensions.is_empty() {
            return yes("none");
        }
        yes(extensions.iter().map(|e| format!("{} {}", e.name, e.version)).collect::<Vec<_>>().join(", "))
    }
}
