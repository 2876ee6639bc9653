//! Whether the source can be reached and read, and what it is.

use super::{
    answer::{Answered, yes},
    facts::Facts,
    question::Question,
};
use crate::{
    dump::{catalog, snapshot},
    postgres::pooler,
};
use async_trait::async_trait;

const NAME: &str = "connection";

/// Opens the session.
pub(super) struct Open;

#[async_trait]
impl Question for Open {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let target = facts.config.source.clone().pin().await?;
        let direct = pooler::direct(&target, "savepoint").await?;
        facts.target.learn(target);
        facts.direct.learn(direct);
        Ok(Vec::new())
    }
}

/// Sets the session up and asks what the source is.
pub(super) struct Known;

#[async_trait]
impl Question for Known {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let session = facts.session()?;
        // Not before it is known that the session is ours alone: a pooler hands the settings on to whoever comes next.
        let (settings, source) = tokio::join!(snapshot::prepare(session, 0, ""), catalog::source(session));
        settings?;
        let mut source = source?;
        source.host = facts.config.source.host_label(facts.config.redact_host);
        source.port = facts.config.source.port;
        facts.source.learn(source);
        Ok(Vec::new())
    }
}

/// Says what was reached.
pub(super) struct Reached;

#[async_trait]
impl Question for Reached {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let source = facts.source.get()?;
        yes(format!("PostgreSQL {}, database {}", source.server_version, source.database))
    }
}

/// Gives the session the settings of its version, under which rows are read.
pub(super) struct Settings;

#[async_trait]
impl Question for Settings {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let source = facts.source.get()?;
        snapshot::prepare(facts.session()?, source.major, &source.encoding).await?;
        Ok(Vec::new())
    }
}
