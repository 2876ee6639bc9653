//! Which tables we take over, in which pieces, and what pg_dump keeps. Pure.

use super::{
    catalog::{Relation, Size},
    copy::{self, Pages},
    exclude,
};
use std::collections::{BTreeSet, HashMap};

/// Bytes of heap and TOAST that one connection reads at a time.
pub const CHUNK_BYTES: u64 = 32 << 20;

/// The most pieces that a table is cut into; larger tables get larger pieces.
const MOST_CHUNKS: u32 = 4096;

/// From so many tables on it pays to end pg_dump at its table of contents: the server then says that a statement was cancelled.
const MANY_TABLES: usize = 1_000;

/// The most tables that we take over where pg_dump has rows of its own to write: pg_dump looks through the whole list of exclusions for each table.
const MOST_TABLES: usize = 20_000;

/// The most patterns that we name them by: for each, the server reads its list of all relations.
const MOST_PATTERNS: usize = 2_000;

/// A table that we take over.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// The table.
    pub relation: Relation,
    /// Its size.
    pub size: Size,
    /// The pieces it is read in; `None` as the only one: whole.
    pub chunks: Vec<Option<Pages>>,
}

/// What is taken, by whom, and what is not.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Tables that we take over, largest first.
    pub streams: Vec<TablePlan>,
    /// Patterns that name these tables to pg_dump, so that it leaves out their rows.
    pub exclusions: Vec<Vec<u8>>,
    /// All rows are ours, and there are many tables: pg_dump is ended at its table of contents, and needs no patterns.
    pub toc_only: bool,
    /// Tables whose rows pg_dump writes, if it writes any (it alone knows which tables of an extension it takes).
    pub pg_dump: Vec<Relation>,
    /// What is left out, and why.
    pub left_out: Vec<String>,
    /// Tables whose rows cannot be compared, and why.
    pub unproven: Vec<String>,
    /// Tables of the filter that must have rows in the archive's TOC, by OID.
    pub expected: BTreeSet<u32>,
}

impl Plan {
    /// Bytes of heap and TOAST of everything that we take over.
    pub fn bytes(&self) -> u64 {
        self.streams.iter().map(|t| t.size.bytes).sum()
    }

    /// Cuts the tables into pieces, sorts them, and leaves to pg_dump what it could not be kept from. `major`: of the source.
    pub fn size(&mut self, sizes: &HashMap<u32, Size>, major: u32) {
        for TablePlan { relation, size, chunks } in &mut self.streams {
            *size = sizes.get(&relation.oid).copied().unwrap_or_default();
            let cuttable = major >= 14 && relation.heap && !relation.columns.is_empty();
            let ranges = cuttable.then(|| copy::cut(size.bytes, size.pages, CHUNK_BYTES, MOST_CHUNKS)).flatten();
            *chunks = ranges.map_or(vec![None], |r| r.into_iter().map(Some).collect());
        }
        self.streams.sort_by(|a, b| b.size.bytes.cmp(&a.size.bytes).then_with(|| a.relation.oid.cmp(&b.relation.oid)));
        if self.toc_only {
            return;
        }
        let mut most = self.streams.len().min(MOST_TABLES);
        loop {
            let names = self.streams[..most].iter().filter_map(|t| exclude::raw_name(&t.relation));
            self.exclusions = exclude::patterns(names);
            if self.exclusions.len() <= MOST_PATTERNS {
                break;
            }
            // Every pattern names a table or more.
            most = (most / 4 * 3).max(MOST_PATTERNS);
        }
        let small = self.streams.split_off(most);
        self.pg_dump.extend(small.into_iter().map(|t| t.relation));
    }
}

/// Decides. `major`: of the source; `standby`: the source is one.
pub fn plan(relations: &[Relation], sizes: &HashMap<u32, Size>, major: u32, standby: bool) -> Plan {
    let mut plan = divide(relations, standby);
    plan.size(sizes, major);
    plan
}

/// Decides who takes what, as far as that can be said before the sizes are known.
pub fn divide(relations: &[Relation], standby: bool) -> Plan {
    let mut plan = Plan::default();
    let mut untaken = 0_u64;
    for relation in relations.iter().filter(|r| r.plain) {
        let label = relation.label();
        if relation.extension_member {
            plan.pg_dump.push(relation.clone());
        } else if !relation.taken {
            untaken += 1;
        } else if !relation.rows_taken {
            plan.left_out.push(format!("rows of {label}: left out by the filter"));
        } else if standby && relation.unlogged {
            plan.left_out.push(format!("rows of {label}: an unlogged table has none on a standby"));
        } else {
            plan.expected.insert(relation.oid);
            if !relation.utf8 {
                plan.unproven.push(format!("rows of {label}: its name is no UTF-8, so only pg_dump could read it"));
                plan.pg_dump.push(relation.clone());
            } else if relation.load_via_root || exclude::raw_name(relation).is_none() {
                plan.pg_dump.push(relation.clone());
            } else {
                let (size, chunks) = (Size::default(), vec![None]);
                plan.streams.push(TablePlan { relation: relation.clone(), size, chunks });
            }
        }
    }
    let generated = relations.iter().filter(|r| r.plain && r.taken && r.rows_taken && r.generated).count();
    if generated > 0 {
        plan.unproven.push(format!("generated columns (in {generated} of the tables): a restore computes them anew"));
    }
    // pg_dump takes a partitioned table without its partitions when only its own name is asked for.
    for parent in relations.iter().filter(|r| !r.plain && r.taken) {
        let of_parent = |r: &&Relation| r.plain && r.root == Some(parent.oid) && !r.taken;
        let missing = relations.iter().filter(of_parent).count();
        if missing > 0 {
            let what = format!("rows of {missing} partitions of {}: left out by the filter", parent.label());
            plan.left_out.push(format!("{what} (a pattern such as {}* takes them as well)", parent.name));
        }
    }
    if untaken > 0 {
        let tables = if untaken == 1 { "1 table".to_owned() } else { format!("{untaken} tables") };
        plan.left_out.push(format!("{tables}: left out by the filter"));
    }
    plan.toc_only = plan.pg_dump.is_empty() && plan.streams.len() >= MANY_TABLES;
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(oid: u32) -> Relation {
        Relation {
            oid,
            schema: "s".into(),
            name: format!("t{oid}"),
            sql_name: format!("s.t{oid}"),
            raw_sql_name: format!("s.t{oid}").into(),
            columns: vec!["a".into()],
            column_list: "a".into(),
            raw_column_list: b"a".to_vec(),
            utf8: true,
            plain: true,
            unlogged: false,
            heap: true,
            filenode_seen: oid,
            filenode_now: Some(oid),
            taken: true,
            rows_taken: true,
            extension_member: false,
            condition: None,
            root: None,
            load_via_root: false,
            has_foreign: false,
            generated: false,
            readable: true,
            filtered: false,
        }
    }

    #[test]
    fn odd_tables_are_left_to_pg_dump_and_the_rest_is_taken_largest_first() {
        let mut relations: Vec<Relation> = (1..=8).map(relation).collect();
        relations[0].extension_member = true;
        relations[1].load_via_root = true;
        relations[2].utf8 = false;
        relations[3].rows_taken = false;
        relations[4].plain = false;
        relations[5].unlogged = true;
        let size = |bytes| Size { bytes, pages: (bytes / 8192) as u32, rows_estimate: 0 };
        let sizes = HashMap::from([(6, size(8192)), (7, size(8192)), (8, size(1 << 30))]);
        let on_primary = plan(&relations, &sizes, 17, false);
        assert_eq!(on_primary.streams.iter().map(|t| t.relation.oid).collect::<Vec<_>>(), [8, 6, 7]);
        assert_eq!(on_primary.streams[0].chunks.len(), 32);
        assert_eq!(on_primary.pg_dump.iter().map(|r| r.oid).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((on_primary.left_out.len(), on_primary.unproven.len()), (1, 1));
        let on_standby = plan(&relations, &sizes, 17, true);
        assert_eq!(on_standby.streams.iter().map(|t| t.relation.oid).collect::<Vec<_>>(), [8, 7]);
        assert_eq!(plan(&relations, &sizes, 13, false).streams[0].chunks, [None], "13 has no TID range scan");
    }

    #[test]
    fn too_many_tables_are_left_to_pg_dump_the_small_ones_first() {
        let all = |n: u32, name: fn(u32) -> String| {
            let mut relations: Vec<Relation> = (1..=n).map(relation).collect();
            // One that is pg_dump's own to write.
            let own = Relation { load_via_root: true, ..relation(0) };
            assert!(plan(&relations, &HashMap::new(), 17, false).toc_only);
            for r in &mut relations {
                r.raw_sql_name = format!("s.{}", name(r.oid)).into();
            }
            relations.push(own);
            let sizes = (1..=n).map(|oid| (oid, Size { bytes: u64::from(oid), pages: 1, rows_estimate: 0 })).collect();
            plan(&relations, &sizes, 17, false)
        };
        let plain = all(20_500, |n| format!("t{n}"));
        assert_eq!((plain.streams.len(), plain.pg_dump.len()), (20_000, 501));
        assert!(plain.streams.iter().all(|t| t.size.bytes > 500));
        assert!(plain.exclusions.len() < 50);
        assert_eq!(plain.expected.len(), 20_501);
        let odd = all(2_500, |n| format!("\"t {n}\""));
        assert_eq!((odd.exclusions.len(), odd.streams.len()), (MOST_PATTERNS, MOST_PATTERNS));
        assert!(odd.streams.iter().all(|t| t.size.bytes > 500));
    }
}
