//! What is known of a database's tables before and after somebody worked in it.

use crate::{
    error::Result,
    postgres::{
        answer,
        connect::{self, Session},
        conninfo::Target,
        quote::qualified,
    },
};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::Row;

/// A table, or a materialized view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub schema: String,
    pub name: String,
    /// It holds rows of its own that can be counted.
    pub counts: bool,
    /// The file that holds its rows; `None` where there is none, as for the parent of partitions.
    pub filenode: Option<u32>,
    /// Bytes on disk, TOAST included, indexes not.
    pub bytes: u64,
    /// Its own rows; `None` where they were not counted.
    pub rows: Option<u64>,
    /// Columns that are there, by number.
    pub columns: BTreeMap<i16, String>,
}

impl Table {
    pub fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// What is known of a database at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// By OID.
    pub tables: BTreeMap<u32, Table>,
    /// Indexes that no query uses, as they are invalid.
    pub invalid: BTreeSet<String>,
    /// Constraints that were never held against the rows that are there.
    pub unvalidated: BTreeSet<String>,
    /// Bytes of write-ahead log since the server was made.
    pub wal: u64,
}

/// Schemas that are nobody's own.
const OWN: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

impl Facts {
    /// Looks. Rows are not counted.
    pub async fn look(target: &Target) -> Result<Facts> {
        let session = connect::connect(target, "savepoint observer").await?;
        let tables = ask(
            &session,
            format!(
                "SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
                 NULLIF(pg_catalog.pg_relation_filenode(c.oid), 0), coalesce(pg_catalog.pg_table_size(c.oid), 0), c.relkind = 'r' \
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind IN ('r', 'p', 'm') AND {OWN}"
            ),
        );
        let tables = tables.await?;
        let columns = ask(
            &session,
            format!(
                "SELECT a.attrelid, a.attnum, a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a \
                 JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind IN ('r', 'p', 'm') AND a.attnum > 0 AND NOT a.attisdropped AND {OWN}"
            ),
        );
        let columns = columns.await?;
        let invalid = names(
            &session,
            format!(
                "SELECT pg_catalog.format('index %s.%s', n.nspname, c.relname) FROM pg_catalog.pg_index i \
                 JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE NOT (i.indisvalid AND i.indisready) AND {OWN}"
            ),
        );
        let unvalidated = names(
            &session,
            format!(
                "SELECT pg_catalog.format('constraint %s on %s.%s', o.conname, n.nspname, c.relname) FROM pg_catalog.pg_constraint o \
                 JOIN pg_catalog.pg_class c ON c.oid = o.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE NOT o.convalidated AND {OWN}"
            ),
        );
        let (invalid, unvalidated) = (invalid.await?, unvalidated.await?);
        let wal = "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8";
        let wal: i64 = ask(&session, wal.into()).await?.first().map_or(0, |row| row.get(0));
        let mut of: BTreeMap<u32, BTreeMap<i16, String>> = BTreeMap::new();
        for row in columns {
            of.entry(row.get(0)).or_default().insert(row.get(1), row.get(2));
        }
        let table = |row: Row| {
            let oid: u32 = row.get(0);
            let bytes: i64 = row.get(4);
            let table = Table {
                schema: row.get(1),
                name: row.get(2),
                counts: row.get(5),
                filenode: row.get(3),
                bytes: bytes.unsigned_abs(),
                rows: None,
                columns: of.remove(&oid).unwrap_or_default(),
            };
            (oid, table)
        };
        let tables = tables.into_iter().map(table).collect();
        Ok(Facts { tables, invalid, unvalidated, wal: wal.unsigned_abs() })
    }

    /// Counts the rows of each table over so many connections.
    pub async fn count(&mut self, target: &Target, jobs: usize) -> Result<()> {
        let wanted: Vec<(u32, String)> = self
            .tables
            .iter()
            .filter(|(_, table)| table.counts)
            .map(|(oid, table)| (*oid, qualified(&table.schema, &table.name)))
            .collect();
        let parts: Vec<_> = wanted.chunks(wanted.len().div_ceil(jobs.max(1)).max(1)).map(<[_]>::to_vec).collect();
        let counted: Vec<Vec<(u32, u64)>> = stream::iter(parts)
            .map(|part| async move {
                let session = connect::connect(target, "savepoint observer").await?;
                let mut counted = Vec::new();
                for (oid, name) in part {
                    let row = session.query_one(&format!("SELECT count(*) FROM ONLY {name}"), &[]).await;
                    let rows: i64 = row.map_err(|e| session.explain(&format!("cannot count {name}"), e))?.get(0);
                    counted.push((oid, rows.unsigned_abs()));
                }
                Ok::<_, crate::Error>(counted)
            })
            .buffer_unordered(jobs.max(1))
            .try_collect()
            .await?;
        for (oid, rows) in counted.into_iter().flatten() {
            if let Some(table) = self.tables.get_mut(&oid) {
                table.rows = Some(rows);
            }
        }
        Ok(())
    }
}

async fn ask(session: &Session, sql: String) -> Result<Vec<Row>> {
    session.query(&sql, &[]).await.map_err(|e| answer::error("cannot look at the database", e))
}

async fn names(session: &Session, sql: String) -> Result<BTreeSet<String>> {
    Ok(ask(session, sql).await?.iter().map(|row| row.get(0)).collect())
}
