//! Reads what the role may not read.

use super::{
    answer::{Answer, Answered},
    facts::{Facts, Rights},
    question::Question,
};
use crate::{
    backup::BackupConfig,
    dump::{catalog, pattern, snapshot},
    error::Result,
    postgres::{
        answer,
        connect::{self, Session},
    },
};
use async_trait::async_trait;
use futures_util::future::join;

pub(super) struct Read;

#[async_trait]
impl Question for Read {
    fn name(&self) -> &'static str {
        "privileges"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        Ok(match read(facts.session()?, facts.config).await {
            Ok(rights) => {
                facts.rights.learn(rights);
                Vec::new()
            }
            Err(e) => vec![Answer::failed(&e)],
        })
    }
}

async fn read(session: &Session, config: &BackupConfig) -> Result<Rights> {
    let read =
        async { Ok(join(catalog::relations(session, &config.filter), unreadable_objects(session, config)).await) };
    let (relations, objects) = snapshot::with_role_path(session, read).await?;
    let (relations, (sequences, large_objects)) = (relations?, objects?);
    Ok(Rights { relations, sequences, large_objects })
}

async fn unreadable_objects(session: &Session, config: &BackupConfig) -> Result<(Vec<String>, i64)> {
    let failed = |e| answer::error("cannot read the privileges", e);
    let (taken, _) = pattern::conditions(&config.filter)?;
    let sequences = format!(
        "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND {taken}
            AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT'))
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                               AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1"
    );
    let large = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata m
                WHERE NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
                  AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')
                  AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
                                   AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))";
    let large = async {
        if !config.filter.takes_large_objects() {
            return Ok(0);
        }
        Ok(session.query_typed_one(large, &[]).await.map_err(failed)?.get(0))
    };
    let sequences = async { session.query_typed(&sequences, &[]).await.map_err(failed) };
    let (sequences, large) = join(sequences, large).await;
    let (sequences, large) = (sequences?, large?);
    let sequences =
        sequences.iter().map(|r| String::from_utf8_lossy(&r.get::<_, connect::Raw>(0).0).into_owned()).collect();
    Ok((sequences, large))
}
