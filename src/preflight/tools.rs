//! Whether PostgreSQL's own programs of the source's version are here.

use super::{
    answer::{Answered, yes},
    facts::Facts,
    question::Question,
};
use crate::postgres::tools;
use async_trait::async_trait;

pub(super) struct Tools;

#[async_trait]
impl Question for Tools {
    fn name(&self) -> &'static str {
        "tools"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let major = facts.source.get()?.major;
        let tools = tools::find(major, &facts.config.engine.pg_bin_dirs, facts.built_in()).await?;
        let said = format!("pg_dump {} in {}", tools.version, tools.dir.display());
        facts.tools.learn(tools);
        yes(said)
    }
}
