//! The COPY statements that read rows, from the source and from the restored copy alike, and write them back.

use crate::{
    postgres::quote::{qualified, quote},
    vault::manifest::Table,
};

/// Pages `[from, to)` of a heap; no `to`: to the end.
pub type Pages = (u32, Option<u32>);

fn columns(table: &Table) -> String {
    table.columns.iter().map(|c| quote(c)).collect::<Vec<_>>().join(", ")
}

fn range((from, to): Pages) -> String {
    match to {
        // With no upper bound for the last range, rows that stand behind the size seen at planning are read as well.
        None => format!("ctid >= '({from},0)'::pg_catalog.tid"),
        Some(to) => format!("ctid >= '({from},0)'::pg_catalog.tid AND ctid < '({to},0)'::pg_catalog.tid"),
    }
}

/// Reads the table's rows, or those of some pages, in the given encoding (the archive's).
pub fn copy_out(table: &Table, pages: Option<Pages>, encoding: &str) -> String {
    let name = qualified(&table.schema, &table.name);
    let columns = columns(table);
    let only = if table.with_children { "" } else { "ONLY " };
    let what = match (pages, &table.condition) {
        (Some(pages), _) => format!("(SELECT {columns} FROM {only}{name} WHERE {})", range(pages)),
        (None, Some(condition)) => format!("(SELECT {columns} FROM {name} {condition})"),
        (None, None) if table.with_children => format!("(SELECT {columns} FROM {name})"),
        (None, None) if columns.is_empty() => name,
        // COPY of a table reads that table only, never its children.
        (None, None) => format!("{name} ({columns})"),
    };
    format!("COPY {what} TO STDOUT WITH (ENCODING '{encoding}')")
}

/// Small pieces of tables that are read with one statement, and the bytes that they come to at most.
const BATCH_PIECES: usize = 32;
const BATCH_BYTES: u64 = 1 << 20;

/// Puts small pieces together, in their order; `bytes`: the size of a piece.
pub fn batches<T>(pieces: impl IntoIterator<Item = T>, bytes: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for piece in pieces {
        // An empty table costs something as well.
        let bytes = bytes(&piece).max(BATCH_BYTES / BATCH_PIECES as u64);
        match batches.last_mut() {
            Some(last) if bytes <= room => last.push(piece),
            _ => {
                batches.push(vec![piece]);
                room = BATCH_BYTES;
            }
        }
        room = room.saturating_sub(bytes);
    }
    batches
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
    use crate::postgres::quote::unquoted;

    #[test]
    fn small_pieces_share_a_statement_and_large_ones_stand_alone() {
        let sizes = [64 << 20, 2 << 20, 700 << 10, 300 << 10, 300 << 10, 0, 5 << 20, 0];
        let expected: [&[u64]; 6] = [&sizes[..1], &sizes[1..2], &sizes[2..4], &sizes[4..6], &sizes[6..7], &sizes[7..]];
        assert_eq!(batches(sizes, |s| *s), expected);
        assert!(batches([0; 100], |s| *s).iter().map(Vec::len).eq([32, 32, 32, 4]));
        assert!(batches([], |s: &u64| *s).is_empty());
    }

    #[test]
    fn quoted_names_are_read_as_written() {
        let of = |list: &str, separator| unquoted(list.as_bytes(), separator);
        assert_eq!(of("a, \"b c\",\"d,\"\"(e)\"", b','), [&b"a"[..], b"b c", b"d,\"(e)"]);
        assert_eq!(of("\"We.\"\"ird\".t", b'.'), [&b"We.\"ird"[..], b"t"]);
    }

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
