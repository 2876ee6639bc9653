//! Whether the role may read all that is taken.

use super::{
    answer::{Answer, Answered, some},
    facts::{Facts, Rights},
    question::Question,
    row_security,
};
use crate::{dump::catalog::Relation, postgres::quote::quote};
use async_trait::async_trait;

const NAME: &str = "privileges";

/// Tables and what is like them.
pub(super) struct Tables;

#[async_trait]
impl Question for Tables {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let (source, rights) = (facts.source.get()?, facts.rights.get()?);
        let user = quote(&source.user);
        let unreadable = unreadable(rights);
        let Some(first) = unreadable.first() else { return Ok(Vec::new()) };
        let names: Vec<String> = unreadable.iter().map(|r| r.label()).collect();
        let schema = quote(&first.schema);
        Ok(vec![Answer::no(
            format!("role {} may not read {}", source.user, some(&names)),
            format!(
                "GRANT USAGE ON SCHEMA {schema} TO {user}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {user}; or GRANT \
                 pg_read_all_data TO {user} (14+); or leave them out by exclude-tables; savepoint setup-role prints all that such a role needs"
            ),
        )])
    }
}

fn unreadable(rights: &Rights) -> Vec<&Relation> {
    rights.taken().filter(|r| !r.readable).collect()
}

/// Sequences and large objects. Says so, too, when nothing at all is unreadable.
pub(super) struct Others;

#[async_trait]
impl Question for Others {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let (source, rights) = (facts.source.get()?, facts.rights.get()?);
        let user = quote(&source.user);
        let mut answers = Vec::new();
        if !rights.sequences.is_empty() {
            answers.push(Answer::no(
                format!("role {} may not read sequence {}", source.user, some(&rights.sequences)),
                format!(
                    "GRANT SELECT ON ALL SEQUENCES IN SCHEMA … TO {user}; or GRANT pg_read_all_data TO {user} (14+)"
                ),
            ));
        }
        let large = rights.large_objects;
        if large > 0 {
            answers.push(Answer::no(
                format!("role {} may not read {large} large object{}", source.user, if large == 1 { "" } else { "s" }),
                format!(
                    "GRANT SELECT ON LARGE OBJECT … TO {user} for each, or take the backup as their owner (pg_read_all_data does \
                     not cover them before 19); savepoint setup-role prints it"
                ),
            ));
        }
        if answers.is_empty() && unreadable(rights).is_empty() && row_security::filtered(rights).is_empty() {
            let tables = rights.taken().filter(|r| r.plain).count();
            answers.push(Answer::ok(format!("role {} may read all {tables} tables", source.user)));
        }
        Ok(answers)
    }
}
