//! Sequences that will give a value that their column has already.

use crate::{
    error::Result,
    postgres::{
        answer,
        connect::{self, Session},
        conninfo::Target,
        quote::{qualified, quote},
    },
};

/// A line for each sequence that is behind its column, and one for each that could not be asked.
pub(super) async fn behind(target: &Target) -> Result<(Vec<String>, Vec<String>)> {
    let session = connect::connect(target, "savepoint validate").await?;
    let owned = session
        .query(
            "SELECT sn.nspname::pg_catalog.text, s.relname::pg_catalog.text, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
             a.attname::pg_catalog.text, q.seqincrement \
             FROM pg_catalog.pg_class s JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace \
             JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid \
             JOIN pg_catalog.pg_depend d ON d.objid = s.oid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
             AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
             JOIN pg_catalog.pg_class c ON c.oid = d.refobjid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid \
             WHERE s.relkind = 'S' AND c.relkind IN ('r', 'p') AND NOT q.seqcycle AND n.nspname !~ '^pg_' ORDER BY 1, 2",
            &[],
        )
        .await
        .map_err(|e| answer::error("cannot list the sequences", e))?;
    let (mut behind, mut unknown) = (Vec::new(), Vec::new());
    for row in owned {
        let name = |n: usize| -> String { row.get(n) };
        let (sequence, table, column, step) = ((name(0), name(1)), (name(2), name(3)), name(4), row.get::<_, i64>(5));
        let label = format!("{}.{}", sequence.0, sequence.1);
        let of = format!("{}.{}.{column}", table.0, table.1);
        match next(&session, &qualified(&sequence.0, &sequence.1), &qualified(&table.0, &table.1), &column, step).await
        {
            Ok(Some((next, furthest))) => {
                behind.push(format!(
                    "sequence {label} gives {next} next, and {of} goes to {furthest}: it will give values that are there"
                ));
            }
            Ok(None) => {}
            Err(e) if session.is_closed() => return Err(session.explain("cannot look at the sequences", e)),
            Err(e) => {
                unknown.push(format!("sequence {label}: {}", answer::error("it cannot be looked at", e).one_line()))
            }
        }
    }
    Ok((behind, unknown))
}

/// The next value and the furthest one of the column, where the former does not lie beyond the latter.
async fn next(
    session: &Session,
    sequence: &str,
    table: &str,
    column: &str,
    step: i64,
) -> Result<Option<(i64, i64)>, tokio_postgres::Error> {
    let furthest = if step > 0 { "max" } else { "min" };
    let sql = format!(
        "SELECT CASE WHEN is_called THEN last_value + ({step}) ELSE last_value END, \
         (SELECT {furthest}({column})::pg_catalog.int8 FROM {table}) FROM {sequence}",
        column = quote(column)
    );
    let row = session.query_one(&sql, &[]).await?;
    let (next, furthest): (i64, Option<i64>) = (row.get(0), row.get(1));
    Ok(furthest
        .filter(|furthest| if step > 0 { next <= *furthest } else { next >= *furthest })
        .map(|furthest| (next, furthest)))
}
