//! Whether row-level security would hide rows from the role.

use super::{
    answer::{Answer, Answered, some},
    facts::{Facts, Rights},
    question::Question,
};
use crate::postgres::quote::quote;
use async_trait::async_trait;

pub(super) struct Hidden;

#[async_trait]
impl Question for Hidden {
    fn name(&self) -> &'static str {
        "row-level security"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let (source, filtered) = (facts.source.get()?, filtered(facts.rights.get()?));
        if filtered.is_empty() {
            return Ok(Vec::new());
        }
        let user = quote(&source.user);
        Ok(vec![Answer::no(
            format!("row-level security would hide rows of {} from role {}", some(&filtered), source.user),
            format!("ALTER ROLE {user} BYPASSRLS (a superuser may), or take the backup as the tables' owner"),
        )])
    }
}

/// The tables that would not be read whole.
pub(super) fn filtered(rights: &Rights) -> Vec<String> {
    rights.taken().filter(|r| r.plain && r.rows_taken && r.filtered).map(|r| r.label()).collect()
}
