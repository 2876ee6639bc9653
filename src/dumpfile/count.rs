//! Counts the rows of a restored dump, and compares with those that the dump holds.

use super::found::DumpFile;
use crate::{
    error::Result,
    postgres::{answer, connect, conninfo::Target},
    report::format::{count, counted},
};
use std::collections::BTreeMap;

/// Tables and rows of a restored dump.
#[derive(Default)]
pub struct Counted {
    /// Tables that hold rows themselves: partition roots are not among them.
    pub tables: u64,
    pub rows: u64,
    pub differences: Vec<String>,
    /// Tables whose rows cannot be compared, each with the reason.
    pub unproven: Vec<String>,
}

impl DumpFile {
    /// Counts the rows of every table, and compares with the rows that the dump holds, where they can be counted there.
    ///
    /// # Errors
    /// The database cannot be reached, or does not list its tables. A table whose rows cannot be counted is a
    /// difference.
    pub async fn count(&self, target: &Target) -> Result<Counted> {
        let session = connect::connect(target, "savepoint count").await?;
        let failed = |e| answer::error("cannot count the restored rows", e);
        // Names as COPY statements write them.
        session.batch_execute("SET search_path = ''; SET row_security = off").await.map_err(failed)?;
        let tables = session
            .query(
                "SELECT pg_catalog.format('%s.%s', pg_catalog.quote_ident(n.nspname), pg_catalog.quote_ident(c.relname)), c.relkind = 'p',
                        EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                                   AND d.objid = c.oid AND d.deptype = 'e')
                   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1",
                &[],
            )
            .await
            .map_err(failed)?;
        let mut found = Counted::default();
        let mut missing: BTreeMap<&str, Option<u64>> = self.rows.iter().map(|(n, r)| (n.as_str(), *r)).collect();
        for row in &tables {
            let (name, root, member) = (row.get::<_, String>(0), row.get::<_, bool>(1), row.get::<_, bool>(2));
            let only = if root { "" } else { "ONLY " };
            let sql = format!("SELECT pg_catalog.count(*) FROM {only}{name}");
            let expected = missing.remove(name.as_str());
            let is = match session.query_one(&sql, &[]).await {
                Ok(row) => row.get::<_, i64>(0).max(0) as u64,
                Err(e) => {
                    let e = answer::error(&format!("table {name}: its rows cannot be counted"), e);
                    found.differences.push(e.one_line());
                    continue;
                }
            };
            if !root {
                (found.tables, found.rows) = (found.tables + 1, found.rows + is);
            }
            match expected {
                Some(None) => {
                    found.unproven.push(format!("rows of {name}: INSERT statements of a dump are not counted"))
                }
                // The extension may bring rows of its own.
                Some(Some(_)) if member => {}
                // Leaves may have been loaded besides.
                Some(Some(rows)) if root && is >= rows => {}
                Some(Some(rows)) if is != rows => {
                    found.differences.push(format!(
                        "table {name}: {} restored, the dump holds {}",
                        counted(is, "row"),
                        count(rows)
                    ));
                }
                _ => {}
            }
        }
        for (name, rows) in missing {
            match name.contains('\u{fffd}') {
                // A name that is no UTF-8 in the dump is written otherwise here.
                true => found.unproven.push(format!("rows of {name}: its name cannot be compared")),
                false if rows == Some(0) || rows.is_none() => {}
                false => found.differences.push(format!("table {name}: missing in the restored copy")),
            }
        }
        Ok(found)
    }
}
