//! Who holds the locks of the tables, where the server's table of locks may be too small for everybody.
//!
//! pg_dump holds one for each table, whatever we do. When the session of the snapshot and the connections that read hold theirs as
//! well, a server with its default of 64 locks a connection is full at some thousand tables, where pg_dump alone still succeeds.

use super::catalog::Relation;
use crate::{
    error::{Error, Kind, Result},
    postgres::{answer, connect::Session, quote::qualified},
    vault::manifest::Table,
};

/// Tables per LOCK statement.
const LOCK_BATCH: usize = 500;

/// How the tables of a dump are kept from changing until they are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Locks {
    /// The session of the snapshot locks them all before it exports the snapshot, and to the end.
    #[default]
    Kept,
    /// Each is locked once: by pg_dump, and when it has ended, by the session of the snapshot. Whoever reads a table locks it for
    /// that time and compares its file with the one that the snapshot shows, as a TRUNCATE or a rewriting ALTER may have come before.
    Passing,
}

/// How many locks the server has room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// `max_locks_per_transaction × (max_connections + max_prepared_transactions)`: objects that can be locked at a time, by the manual.
    /// There is some room beyond, of which nothing is promised.
    pub objects: u64,
    /// Sessions and prepared transactions that the limit is multiplied by.
    pub sessions: u64,
    /// Entries that others hold now.
    pub used: u64,
}

impl Room {
    /// Asks the server.
    ///
    /// # Errors
    /// [`Kind::Database`].
    pub async fn ask(session: &Session) -> Result<Room> {
        let sql = "SELECT pg_catalog.current_setting('max_locks_per_transaction')::pg_catalog.int8,
                          pg_catalog.current_setting('max_connections')::pg_catalog.int8
                            + pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int8,
                          (SELECT count(*) FROM pg_catalog.pg_locks WHERE NOT fastpath)";
        let row = session.query_typed_one(sql, &[]).await.map_err(|e| answer::error("cannot count the locks", e))?;
        let [each, sessions, used] = [0, 1, 2].map(|n| row.get::<_, i64>(n).max(0) as u64);
        Ok(Room { objects: each * sessions, sessions, used })
    }

    /// How so many tables are locked. A table and its TOAST table are two objects; each has an entry for everybody who holds it, of
    /// which the server has two for each object: the snapshot's session, pg_dump, and a reader for both.
    pub fn locks(&self, tables: usize) -> Locks {
        match self.used + 4 * tables as u64 <= 2 * self.objects {
            true => Locks::Kept,
            false => Locks::Passing,
        }
    }

    /// The setting that certainly suffices for so many tables.
    pub fn needed(&self, tables: usize) -> u64 {
        (tables as u64 + tables as u64 / 10 + self.used).div_ceil(self.sessions.max(1)).max(64)
    }

    /// The cure where even one lock a table is too many.
    pub fn cure(&self, tables: usize) -> String {
        format!(
            "the server has room for {} locks and the database has {tables} tables: ALTER SYSTEM SET max_locks_per_transaction = {} and \
             restart the server, or take fewer tables with schemas or exclude-schemas",
            self.objects,
            self.needed(tables)
        )
    }
}

/// LOCK statements for tables, a few hundred in each.
pub fn statements<'a>(relations: impl IntoIterator<Item = &'a Relation>) -> Vec<String> {
    let names: Vec<String> = relations.into_iter().map(|r| format!("ONLY {}", r.sql_name)).collect();
    names.chunks(LOCK_BATCH).map(|names| format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "))).collect()
}

/// Locks tables for one statement's reading, without waiting.
pub fn lock_now<'a>(tables: impl IntoIterator<Item = &'a Table>) -> String {
    let only = |t: &Table| {
        let only = if t.with_children { "" } else { "ONLY " };
        format!("{only}{}", qualified(&t.schema, &t.name))
    };
    let names = tables.into_iter().map(only).collect::<Vec<_>>().join(", ");
    format!("LOCK TABLE {names} IN ACCESS SHARE MODE NOWAIT;\n")
}

/// Names the tables whose file is no longer the one that the transaction's snapshot shows. `pg_class` is read by the snapshot,
/// `pg_relation_filenode` as it is now.
pub fn changed<'a>(tables: impl IntoIterator<Item = &'a Table>) -> String {
    let (mut own, mut below) = (Vec::new(), Vec::new());
    for table in tables {
        if table.with_children { below.push(table.oid.to_string()) } else { own.push(table.oid.to_string()) }
    }
    let below = match below.is_empty() {
        true => String::new(),
        false => format!(
            " OR c.oid IN (SELECT t.relid FROM pg_catalog.unnest('{{{}}}'::pg_catalog.regclass[]) root, \
             pg_catalog.pg_partition_tree(root) t)",
            below.join(",")
        ),
    };
    format!(
        "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND (c.oid = ANY ('{{{}}}'::pg_catalog.oid[]){below}) \
         AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid);\n",
        own.join(",")
    )
}

/// The error of an attempt whose tables a migration changed before they were read; another attempt may succeed.
pub fn overtaken(what: &str) -> Error {
    Error::new(Kind::Locked, format!("{what} while the backup was taken"))
        .hint("take the backup while no migration runs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_kept_where_all_of_them_fit() {
        let default = Room { objects: 64 * 100, sessions: 100, used: 20 };
        assert_eq!(default.locks(3_000), Locks::Kept);
        assert_eq!(default.locks(10_000), Locks::Passing);
        let roomy = Room { objects: 1024 * 200, sessions: 200, used: 20 };
        assert_eq!(roomy.locks(50_000), Locks::Kept);
        assert_eq!(Room { used: 10_000, ..default }.locks(1_000), Locks::Passing);
    }

    #[test]
    fn the_cure_names_a_setting_that_suffices() {
        let default = Room { objects: 64 * 100, sessions: 100, used: 20 };
        for tables in [100, 10_000, 50_000] {
            let needed = default.needed(tables);
            assert!(needed * default.sessions >= tables as u64 + default.used && needed >= 64, "{tables}: {needed}");
        }
        assert!(default.cure(50_000).contains("max_locks_per_transaction = 551"), "{}", default.cure(50_000));
    }
}
