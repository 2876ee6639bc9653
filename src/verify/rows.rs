//! The rows of the restored copy against the manifest: read by the same COPY statements as from the source, over many connections.

use super::{comparison::Comparison, restore::Restore};
use crate::{
    archive::fingerprint::{Fingerprint, parse_sum},
    dump::{copy, snapshot},
    error::{Error, Kind, Result, joined},
    postgres::{
        answer,
        connect::Session,
        quote::qualified,
        wire::{Fault, Wire},
    },
    progress::Event,
    vault::{Manifest, VerifyLevel, manifest::Table},
};
use std::{collections::HashMap, sync::Arc};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};

/// Bytes of heap and TOAST that one connection reads back at a time.
const CHUNK_BYTES: u64 = 64 << 20;

/// Which table, and which of its pages.
type Piece = (usize, Option<copy::Pages>);

/// A table of the restored copy, as its catalog shows it.
#[derive(Clone, Copy)]
struct There {
    /// Bytes of heap and TOAST.
    bytes: u64,
    pages: u32,
    /// Stored by the heap access method: only there, ctid ranges are read by page.
    heap: bool,
}

/// Fingerprints by the tables' places in the manifest, or why one cannot be read.
type Sums = Vec<Result<Fingerprint, String>>;

/// Compares every table.
pub(super) async fn compare(
    restore: &Restore,
    manifest: &Manifest,
    level: VerifyLevel,
    found: &mut Comparison,
) -> Result<()> {
    let content = level == VerifyLevel::Content;
    let session = snapshot::reading_session(&restore.target, restore.major, &restore.encoding).await?;
    let there = tables_there(&session).await?;
    // The largest first, so that none of them is left for the end.
    let mut order: Vec<(usize, There)> = Vec::new();
    for (n, table) in manifest.tables.iter().enumerate() {
        match there.get(&(table.schema.clone(), table.name.clone())) {
            Some(is) => order.push((n, *is)),
            None => {
                found.differences.push(format!("table {}.{}: missing in the restored copy", table.schema, table.name))
            }
        }
    }
    order.sort_unstable_by_key(|&(n, is)| (std::cmp::Reverse(is.bytes), n));
    let all: Arc<Vec<Table>> = Arc::new(manifest.tables.clone());
    let batches = batches(&order, &all, restore.major, content);
    let sums = read(restore, &all, batches, content).await?;
    for (n, _) in order {
        let table = &all[n];
        found.compared.tables += 1;
        match &sums[n] {
            Ok(sum) => {
                found.compared.rows += sum.rows;
                found.differences.extend(difference(table, *sum, content)?);
            }
            Err(e) => found.differences.push(format!("table {}.{}: cannot be read: {e}", table.schema, table.name)),
        }
    }
    Ok(())
}

/// The tables of the restored copy by name: OIDs differ between the servers.
async fn tables_there(session: &Session) -> Result<HashMap<(String, String), There>> {
    let rows = session
        .query(
            "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
                    pg_catalog.pg_relation_size(c.oid) + coalesce(pg_catalog.pg_relation_size(nullif(c.reltoastrelid, 0)), 0),
                    pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::pg_catalog.int8,
                    coalesce(am.amname = 'heap', false)
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam WHERE c.relkind IN ('r', 'p')",
            &[],
        )
        .await
        .map_err(|e| answer::error("cannot list the restored tables", e))?;
    let mut there = HashMap::new();
    for row in rows {
        // A table whose name is no UTF-8 is not in the manifest either.
        let (Ok(schema), Ok(name)) = (row.try_get::<_, String>(0), row.try_get::<_, String>(1)) else { continue };
        let pages = row.get::<_, i64>(3).clamp(0, i64::from(u32::MAX)) as u32;
        there.insert((schema, name), There { bytes: row.get::<_, i64>(2).max(0) as u64, pages, heap: row.get(4) });
    }
    Ok(there)
}

/// What the connections read, in this order: pieces of large tables, small tables put together.
fn batches(order: &[(usize, There)], all: &[Table], major: u32, content: bool) -> Vec<Vec<Piece>> {
    let mut pieces: Vec<(Piece, u64)> = Vec::new();
    for &(n, There { bytes, pages, heap }) in order {
        let table = &all[n];
        let plain = heap && !table.with_children && table.condition.is_none() && !table.columns.is_empty();
        let ranges = (plain && major >= 14 && content).then(|| copy::cut(bytes, pages, CHUNK_BYTES, 4096)).flatten();
        let ranges = ranges.map_or(vec![None], |r| r.into_iter().map(Some).collect());
        let each = bytes / ranges.len() as u64;
        pieces.extend(ranges.into_iter().map(|pages| ((n, pages), each)));
    }
    let batches = copy::batches(pieces, |(_, bytes)| *bytes);
    batches.into_iter().map(|batch| batch.into_iter().map(|(piece, _)| piece).collect()).collect()
}

/// Reads all of it over as many connections as there are jobs.
async fn read(restore: &Restore, all: &Arc<Vec<Table>>, batches: Vec<Vec<Piece>>, content: bool) -> Result<Sums> {
    let (sender, tasks) = mpsc::unbounded_channel();
    for batch in batches {
        let _ = sender.send(batch);
    }
    drop(sender);
    let tasks = Arc::new(Mutex::new(tasks));
    let sums: Arc<Mutex<Sums>> = Arc::new(Mutex::new(vec![Ok(Fingerprint::default()); all.len()]));
    let mut workers = JoinSet::new();
    for _ in 0..restore.jobs {
        let (this, tasks, all, sums) = (restore.clone(), tasks.clone(), all.clone(), sums.clone());
        workers.spawn(async move {
            let session = snapshot::reading_session(&this.target, this.major, &this.encoding).await?;
            let mut reader = if content { Reader::Content(session.into_wire().await?) } else { Reader::Count(session) };
            loop {
                let next = tasks.lock().await.recv().await;
                let Some(batch) = next else { return Ok::<(), Error>(()) };
                reader.batch(&this, &all, &batch, &sums).await?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        joined("comparing rows", ended)?;
    }
    Ok(std::mem::take(&mut *sums.lock().await))
}

/// How the rows of the restored copy are looked at.
enum Reader {
    Content(Wire),
    Count(Session),
}

impl Reader {
    /// Reads a batch to its end, and adds what each piece holds to its table's sum.
    async fn batch(&mut self, this: &Restore, all: &[Table], batch: &[Piece], sums: &Mutex<Sums>) -> Result<()> {
        let mut left = batch;
        while let Some(first) = left.first() {
            let read = match self {
                Reader::Content(wire) => fingerprints(this, wire, all, left).await?,
                Reader::Count(session) => vec![count(session, &all[first.0]).await?],
            };
            if read.is_empty() {
                return Err(Error::new(Kind::Throwaway, "the throwaway server sent no rows"));
            }
            let (now, later) = left.split_at(read.len());
            let mut sums = sums.lock().await;
            for ((n, _), read) in now.iter().zip(read) {
                match (&mut sums[*n], read) {
                    (Ok(sum), Ok(more)) => sum.merge(more),
                    (slot, Err(e)) => *slot = Err(e),
                    (Err(_), Ok(_)) => {}
                }
            }
            left = later;
        }
        Ok(())
    }
}

/// Reads pieces of tables as they were read from the source, with one statement for all of them. A piece that the server refuses ends
/// the statement: it is the last of the answer.
async fn fingerprints(
    this: &Restore,
    wire: &mut Wire,
    all: &[Table],
    batch: &[Piece],
) -> Result<Vec<Result<Fingerprint, String>>> {
    let mut sql = String::new();
    for (n, pages) in batch {
        sql.push_str(&copy::copy_out(&all[*n], *pages, &this.encoding));
        sql.push_str(";\n");
    }
    let gone = |e: Fault| e.explain("the restored copy cannot be read");
    wire.send(&sql).await.map_err(gone)?;
    let mut sums = Vec::new();
    for _ in batch {
        let read = match wire.next_copy().await {
            Ok(true) => fingerprint(this, wire).await,
            Ok(false) => return Ok(sums),
            Err(e) => Err(e),
        };
        match read {
            Ok(Some(sum)) => sums.push(Ok(sum)),
            Ok(None) => return Err(Error::new(Kind::Throwaway, "the throwaway server sent a row without a line end")),
            Err(e @ Fault::Server(_)) => {
                sums.push(Err(e.explain("read back").one_line()));
                return Ok(sums);
            }
            Err(e) => return Err(gone(e)),
        }
    }
    match wire.next_copy().await {
        Ok(false) => Ok(sums),
        Ok(true) => Err(Error::new(Kind::Throwaway, "the throwaway server sent more than was asked for")),
        Err(e) => Err(gone(e)),
    }
}

/// The rows that the server has begun to send; `None` when they do not end as rows do.
async fn fingerprint(this: &Restore, wire: &mut Wire) -> Result<Option<Fingerprint>, Fault> {
    let (mut sum, mut row, mut told) = (Fingerprint::default(), None, 0);
    while wire.fill().await? {
        while let Some(data) = wire.data() {
            if sum.add_piece(&mut row, data.bytes, data.ends).is_none() {
                return Ok(None);
            }
        }
        if sum.bytes - told > 1 << 20 {
            this.progress.event(Event::Compared(sum.bytes - told));
            told = sum.bytes;
        }
    }
    this.progress.event(Event::Compared(sum.bytes - told));
    Ok(row.is_none().then_some(sum))
}

async fn count(session: &Session, table: &Table) -> Result<Result<Fingerprint, String>> {
    let only = if table.with_children { "" } else { "ONLY " };
    let condition = table.condition.as_deref().unwrap_or_default();
    let sql = format!("SELECT count(*) FROM {only}{} {condition}", qualified(&table.schema, &table.name));
    match session.query_one(&sql, &[]).await {
        Ok(row) => Ok(Ok(Fingerprint { rows: row.get::<_, i64>(0) as u64, ..Fingerprint::default() })),
        Err(e) if session.is_closed() => Err(session.explain("the restored copy cannot be read", e)),
        Err(e) => Ok(Err(answer::error("count", e).one_line())),
    }
}

fn plural(n: u64, one: &str) -> String {
    if n == 1 { format!("{n} {one}") } else { format!("{n} {one}s") }
}

/// One line that says how a table differs; `None` when it does not.
fn difference(table: &Table, is: Fingerprint, content: bool) -> Result<Option<String>> {
    let mut words = Vec::new();
    if is.rows < table.rows {
        words.push(format!("{} fewer", plural(table.rows - is.rows, "row")));
    } else if is.rows > table.rows {
        words.push(format!("{} more", plural(is.rows - table.rows, "row")));
    }
    if content && is.sum != parse_sum(&table.fingerprint)? {
        words.push("content differs".into());
    }
    Ok((!words.is_empty()).then(|| format!("table {}.{}: {}", table.schema, table.name, words.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_table_and_what_differs() {
        let mut was = Fingerprint::default();
        ["1\ta\n", "2\tb\n", "3\tc\n"].iter().for_each(|r| was.add_row(r.as_bytes()));
        let table = Table {
            schema: "public".into(),
            name: "orders".into(),
            oid: 1,
            columns: vec!["id".into()],
            condition: None,
            with_children: false,
            taken_by: crate::vault::manifest::TakenBy::Streams,
            rows: was.rows,
            bytes: was.bytes,
            fingerprint: was.hex(),
            file: None,
            packed: None,
            chunks: vec![],
            terminator: None,
        };
        assert_eq!(difference(&table, was, true).unwrap(), None);
        let mut fewer = Fingerprint::default();
        fewer.add_row(b"1\ta\n");
        let line = |f, content| difference(&table, f, content).unwrap().unwrap();
        assert_eq!(line(fewer, true), "table public.orders: 2 rows fewer, content differs");
        assert_eq!(line(fewer, false), "table public.orders: 2 rows fewer");
        let mut changed = was;
        changed.sum ^= 1;
        assert_eq!(line(changed, true), "table public.orders: content differs");
        assert_eq!(difference(&table, changed, false).unwrap(), None, "rows alone do not see it");
        let mut more = was;
        more.add_row(b"4\td\n");
        assert_eq!(line(more, true), "table public.orders: 1 row more, content differs");
    }
}
