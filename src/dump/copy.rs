//! The COPY statements that read rows, from the source and from the restored copy alike, and write them back.

use crate::{error::Result, manifest::Table, postgres::connect::Session};

/// Pages `[from, to)` of a heap; no `to`: to the end.
pub type Pages = (u32, Option<u32>);

/// An identifier in double quotes.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The names in `a, "b c"`, without their quotes.
pub fn unquoted(list: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                name.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            c if c.is_whitespace() && !quoted => {}
            c => name.push(c),
        }
    }
    names.push(name);
    names
}

/// `"schema"."table"`.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote(schema), quote(name))
}

fn columns(table: &Table) -> String {
    table.columns.iter().map(|c| quote(c)).collect::<Vec<_>>().join(", ")
}

/// Which rows of a table or of some of its pages are meant, by their ctids.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// All of them.
    All,
    /// All but these.
    Without(&'a [String]),
    /// This one.
    Only(&'a str),
}

fn range(pages: Option<Pages>) -> String {
    match pages {
        None => "true".into(),
        // With no upper bound for the last range, rows that stand behind the size seen at planning are read as well.
        Some((from, None)) => format!("ctid >= '({from},0)'::pg_catalog.tid"),
        Some((from, Some(to))) => format!("ctid >= '({from},0)'::pg_catalog.tid AND ctid < '({to},0)'::pg_catalog.tid"),
    }
}

/// Reads the table's rows, or those of some pages, in the given encoding (the archive's).
pub fn copy_out(table: &Table, pages: Option<Pages>, rows: Rows<'_>, encoding: &str) -> String {
    let name = qualified(&table.schema, &table.name);
    let columns = columns(table);
    let only = if table.with_children { "" } else { "ONLY " };
    let select = |condition: String| format!("(SELECT {columns} FROM {only}{name} WHERE {condition})");
    let what = match (rows, pages, &table.condition) {
        (Rows::Only(ctid), ..) => select(format!("ctid = '{ctid}'::pg_catalog.tid")),
        (Rows::Without(ctids), ..) => {
            let list = ctids.iter().map(|c| format!("\"{c}\"")).collect::<Vec<_>>().join(",");
            select(format!("{} AND ctid <> ALL ('{{{list}}}'::pg_catalog.tid[])", range(pages)))
        }
        (Rows::All, Some(_), _) => select(range(pages)),
        (Rows::All, None, Some(condition)) => format!("(SELECT {columns} FROM {name} {condition})"),
        (Rows::All, None, None) if table.with_children => format!("(SELECT {columns} FROM {name})"),
        (Rows::All, None, None) if columns.is_empty() => name,
        // COPY of a table reads that table only, never its children.
        (Rows::All, None, None) => format!("{name} ({columns})"),
    };
    format!("COPY {what} TO STDOUT WITH (ENCODING '{encoding}')")
}

/// Rows of more text than this are read one at a time: a connection reads several rows ahead.
const HUGE_TEXT: u64 = 4 << 20;

/// Stored size from which a value of another type than text and bytea may be huge as text.
const HUGE_STORED: u64 = 1 << 20;

/// A table smaller than this has no huge rows worth looking for, in bytes of heap and TOAST.
pub const MAY_BE_HUGE: u64 = 1 << 20;

/// The ctids of huge rows among some pages of a plain table. Looks at sizes only: nothing is read from TOAST.
pub async fn huge_rows(session: &Session, table: &Table, pages: Option<Pages>) -> Result<Vec<String>> {
    let name = qualified(&table.schema, &table.name);
    let failed = |e| session.explain(&format!("cannot look for huge rows in table {}.{}", table.schema, table.name), e);
    let sql = "SELECT a.attname::pg_catalog.text, t.typcategory = 'S', t.typname = 'bytea'
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
                 JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
                WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
                  AND a.attgenerated = '' AND a.attlen = -1 AND a.attstorage <> 'p' AND c.reltoastrelid <> 0";
    let mut sizes = Vec::new();
    let mut others = Vec::new();
    for row in session.query(sql, &[&name]).await.map_err(failed)? {
        let Ok(column) = row.try_get::<_, String>(0) else { continue };
        let column = quote(&column);
        match (row.get::<_, bool>(1), row.get::<_, bool>(2)) {
            (true, _) => {
                sizes.push(format!("coalesce(pg_catalog.octet_length({column}::pg_catalog.text), 0)::pg_catalog.int8"))
            }
            // As text, each byte is two digits.
            (_, true) => sizes.push(format!("2 * coalesce(pg_catalog.octet_length({column}), 0)::pg_catalog.int8")),
            _ => others.push(format!("coalesce(pg_catalog.pg_column_size({column}), 0)::pg_catalog.int8")),
        }
    }
    let above = |sizes: Vec<String>, limit| (!sizes.is_empty()).then(|| format!("{} > {limit}", sizes.join(" + ")));
    let conditions: Vec<String> = [above(sizes, HUGE_TEXT), above(others, HUGE_STORED)].into_iter().flatten().collect();
    if conditions.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT ctid::pg_catalog.text FROM ONLY {name} WHERE {} AND ({})",
        range(pages),
        conditions.join(" OR ")
    );
    let rows = session.query(&sql, &[]).await.map_err(failed)?;
    Ok(rows.iter().map(|r| r.get(0)).collect())
}

/// Writes rows into the table.
pub fn copy_in(table: &Table, encoding: &str) -> String {
    let columns = columns(table);
    let list = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
    format!("COPY {}{list} FROM STDIN WITH (ENCODING '{encoding}')", qualified(&table.schema, &table.name))
}

/// Cuts a heap into ranges of about `chunk_bytes` of `bytes` (TOAST included), at most `most` of them; the last one is open-ended.
/// `None` when one range would do.
pub fn cut(bytes: u64, pages: u32, chunk_bytes: u64, most: u32) -> Option<Vec<Pages>> {
    let count = bytes.div_ceil(chunk_bytes).min(u64::from(most)).min(u64::from(pages)) as u32;
    if count < 2 {
        return None;
    }
    let step = pages.div_ceil(count);
    let mut ranges: Vec<Pages> =
        (0..pages).step_by(step as usize).map(|from| (from, Some(from.saturating_add(step)))).collect();
    if let Some(last) = ranges.last_mut() {
        last.1 = None;
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_tile_the_heap_and_the_last_is_open() {
        for (bytes, pages, chunk, most) in [
            (100 << 20, 12_800, 32 << 20, 4096),
            (1 << 40, 10, 32 << 20, 4096),
            (1 << 40, u32::MAX, 32 << 20, 4096),
            (65, 3, 32, 9),
        ] {
            let ranges = cut(bytes, pages, chunk, most).unwrap();
            assert!(ranges.len() >= 2 && ranges.len() <= most as usize);
            assert_eq!(ranges[0].0, 0);
            assert!(ranges.windows(2).all(|w| w[0].1 == Some(w[1].0)), "{ranges:?}");
            assert_eq!(ranges.last().unwrap().1, None);
            assert!(ranges.last().unwrap().0 < pages);
        }
        assert_eq!(cut(1000, 1, 32 << 20, 4096), None);
        assert_eq!(cut(0, 0, 32 << 20, 4096), None);
        assert_eq!(cut(1 << 40, 1, 32 << 20, 4096), None, "one page of heap cannot be cut, however large its TOAST");
    }
}
