//! What of the source's own state its owner should know: asked once, a warning each, never a no.

use super::{
    answer::{Answer, Answered, some},
    facts::Facts,
    question::Question,
};
use crate::{
    error::Result,
    postgres::{answer, connect::Session},
    report::format::{count, counted, seconds},
};
use async_trait::async_trait;

/// The question's name. A backup tells of these as notices: they are there every night.
pub const HEALTH: &str = "health";

/// Transactions until a server refuses to give out further ids, from the frozen one on (`xidStopLimit` in PostgreSQL's source is a
/// little less).
const WRAPAROUND: i64 = 1 << 31;

/// A standby that is further behind than this many seconds is told of.
const LAG: f64 = 60.0;

pub(super) struct Source;

#[async_trait]
impl Question for Source {
    fn name(&self) -> &'static str {
        HEALTH
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        Ok(match State::read(facts.session()?).await {
            Ok(state) => state.judge(),
            // Another make of server may lack a catalog; the backup needs none of this.
            Err(e) => vec![Answer::warning(e.one_line())],
        })
    }
}

/// What the server says of itself.
#[derive(Debug)]
struct State {
    checksums: bool,
    /// Names, as SQL writes them.
    invalid_indexes: Vec<String>,
    /// `table: constraint` each.
    not_valid: Vec<String>,
    /// Transactions, and multixacts, since the oldest that is not frozen.
    age: i64,
    /// Seconds that a standby is behind; `None` when it is not.
    lag: Option<f64>,
}

impl State {
    async fn read(session: &Session) -> Result<State> {
        // NOT ENFORCED constraints (from 18 on) are never valid, and are meant so.
        let sql = "SELECT pg_catalog.current_setting('data_checksums') <> 'off',
            ARRAY(SELECT i.indexrelid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_index i
                    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                   WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname !~ '^pg_'
                     AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
                   ORDER BY 1),
            ARRAY(SELECT c.conrelid::pg_catalog.regclass || ': ' || pg_catalog.quote_ident(c.conname) FROM pg_catalog.pg_constraint c
                   WHERE NOT c.convalidated AND c.conrelid <> 0
                     AND coalesce((pg_catalog.to_jsonb(c) ->> 'conenforced')::pg_catalog.bool, true) ORDER BY 1),
            (SELECT greatest(pg_catalog.age(d.datfrozenxid), pg_catalog.mxid_age(d.datminmxid))::pg_catalog.int8
               FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()),
            CASE WHEN pg_catalog.pg_is_in_recovery()
                  AND pg_catalog.pg_last_wal_receive_lsn() IS DISTINCT FROM pg_catalog.pg_last_wal_replay_lsn()
                 THEN extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())::pg_catalog.float8 END";
        let row =
            session.query_typed_one(sql, &[]).await.map_err(|e| answer::error("cannot ask how the source is", e))?;
        Ok(State {
            checksums: row.get(0),
            invalid_indexes: row.get(1),
            not_valid: row.get(2),
            age: row.get(3),
            lag: row.get(4),
        })
    }

    fn judge(&self) -> Vec<Answer> {
        let mut lines = Vec::new();
        if !self.checksums {
            lines.push(
                "data checksums are off: a damaged page may read as rows that are missing or changed, and neither PostgreSQL nor a backup \
                 can tell (pg_checksums --enable, on a server that is shut down)"
                    .to_owned(),
            );
        }
        if !self.invalid_indexes.is_empty() {
            let many = match self.invalid_indexes.len() {
                1 => "1 invalid index".to_owned(),
                n => format!("{n} invalid indexes"),
            };
            lines.push(format!(
                "{many} ({}): a restore builds them and may fail where a unique one has duplicates (REINDEX INDEX CONCURRENTLY or DROP INDEX)",
                some(&self.invalid_indexes)
            ));
        }
        if !self.not_valid.is_empty() {
            let many = counted(self.not_valid.len() as u64, "constraint");
            lines.push(format!(
                "{many} NOT VALID ({}): rows may break them (ALTER TABLE … VALIDATE CONSTRAINT …)",
                some(&self.not_valid)
            ));
        }
        let left = (WRAPAROUND - self.age).max(0);
        if left < WRAPAROUND / 4 {
            lines.push(format!(
                "wraparound of transaction ids is near: {} of {} are left (VACUUM FREEZE, and find what holds it back: old transactions, \
                 prepared ones, replication slots)",
                count(left as u64),
                count(WRAPAROUND as u64)
            ));
        }
        if let Some(lag) = self.lag.filter(|lag| *lag > LAG) {
            lines.push(format!("the standby is {} behind: the backup shows the database as it was then", seconds(lag)));
        }
        match lines.is_empty() {
            true => vec![Answer::ok("nothing remarkable")],
            false => lines.into_iter().map(Answer::warning).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Status;

    fn lines(state: &State) -> Vec<(Status, String)> {
        state.judge().into_iter().map(|a| a.under(HEALTH)).map(|c| (c.status, c.detail)).collect()
    }

    #[test]
    fn each_trouble_is_a_warning_of_its_own() {
        let well =
            || State { checksums: true, invalid_indexes: vec![], not_valid: vec![], age: 200_000_000, lag: None };
        assert_eq!(lines(&well()), [(Status::Ok, "nothing remarkable".into())]);
        let edge = WRAPAROUND / 4 * 3;
        let ill = [
            (State { checksums: false, ..well() }, "data checksums are off"),
            (State { invalid_indexes: vec!["s.i".into()], ..well() }, "1 invalid index (s.i)"),
            (
                State { invalid_indexes: vec!["s.i".into(); 7], ..well() },
                "7 invalid indexes (s.i, s.i, s.i, s.i, s.i and 2 more)",
            ),
            (State { not_valid: vec!["s.t: c".into()], ..well() }, "1 constraint NOT VALID (s.t: c)"),
            (State { age: edge + 1, ..well() }, "wraparound of transaction ids is near: 536,870,911 of 2,147,483,648"),
            (State { lag: Some(61.0), ..well() }, "the standby is 1 min 01 s behind"),
        ];
        for (state, begins) in &ill {
            let lines = lines(state);
            assert!(lines.len() == 1 && lines[0].0 == Status::Warning && lines[0].1.starts_with(begins), "{lines:?}");
        }
        let all = State { checksums: false, not_valid: vec!["t: c".into()], age: i64::from(u32::MAX), ..well() };
        assert_eq!(lines(&all).len(), 3);
        for fine in [State { age: edge, ..well() }, State { lag: Some(59.0), ..well() }] {
            assert_eq!(lines(&fine)[0].0, Status::Ok);
        }
    }
}
