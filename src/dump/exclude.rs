//! `--exclude-table-data` for exactly the tables that we take over, in as few patterns as possible.
//!
//! pg_dump asks the server once per pattern, and each question reads all of `pg_class`: a pattern per table takes time that grows with
//! the square of their number. Outside of double quotes a pattern is a regular expression (psql manual, "Patterns"; `patternToSQLRegex`
//! in PostgreSQL's source): dots, `*`, `?`, `$` and `"` have meanings of their own there, so only names of ASCII letters, digits and
//! underscores are written so, and pieces with upper case, which would be folded, in quotes. The expression is anchored at both ends and
//! a schema holds each name once, so a pattern matches its tables and nothing else: never a sequence or a materialized view, whose data
//! would be lost.

use super::catalog::{RawName, Relation};
use crate::postgres::quote::{quote_raw, unquoted};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of one regular expression: the server's memory grows with their square.
const REGEX_CHARS: usize = 1000;

/// An expression with more characters per name than this is dearer than a pattern for each name: the server looks at all of its states
/// for every character of every relation's name.
const MOST_CHARS_PER_NAME: usize = 20;

/// Schema and name of a table in the database's encoding; `None` when they cannot be read.
pub fn raw_name(relation: &Relation) -> Option<RawName> {
    unquote(&relation.raw_sql_name)
}

/// Patterns that together match exactly these tables.
pub fn patterns(tables: impl IntoIterator<Item = RawName>) -> Vec<Vec<u8>> {
    let is_plain = |name: &[u8]| name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let mut patterns = Vec::new();
    let mut schemas: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (schema, name) in tables {
        if is_plain(&schema) && is_plain(&name) {
            schemas.entry(schema).or_default().insert(name);
        } else {
            patterns.push([quote_raw(&schema), quote_raw(&name)].join(&b'.'));
        }
    }
    // A schema per customer, each with the same tables: one expression for all the schemas, and one for the names.
    let mut alike: BTreeMap<BTreeSet<Vec<u8>>, Vec<Vec<u8>>> = BTreeMap::new();
    for (schema, names) in schemas {
        alike.entry(names).or_default().push(schema);
    }
    for (names, schemas) in alike {
        let names: Vec<Vec<u8>> = names.into_iter().collect();
        for schemas in runs(&schemas) {
            for names in runs(&names) {
                let together = regex(names);
                if together.len() > MOST_CHARS_PER_NAME * names.len() {
                    patterns.extend(
                        names.iter().map(|name| [regex(schemas), regex(std::slice::from_ref(name))].join(&b'.')),
                    );
                } else {
                    patterns.push([regex(schemas), together].join(&b'.'));
                }
            }
        }
    }
    patterns
}

/// Undoes `quote_ident` on `schema.name`.
fn unquote(sql_name: &[u8]) -> Option<RawName> {
    let mut pieces = unquoted(sql_name, b'.');
    let name = pieces.pop()?;
    Some((pieces.pop()?, name))
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Cuts sorted names into runs whose expressions have about [`REGEX_CHARS`] at most.
fn runs(names: &[Vec<u8>]) -> impl Iterator<Item = &[Vec<u8>]> {
    let mut chars = 0;
    let mut last: &[u8] = &[];
    let mut starts = vec![0];
    for (n, name) in names.iter().enumerate() {
        let more = name.len() - common_prefix(last, name);
        if n > 0 && chars + more > REGEX_CHARS {
            starts.push(n);
            chars = name.len();
        } else {
            chars += more;
        }
        last = name;
    }
    starts.push(names.len());
    let cuts: Vec<(usize, usize)> = starts.windows(2).map(|w| (w[0], w[1])).collect();
    cuts.into_iter().map(|(from, to)| &names[from..to])
}

/// An expression for exactly these sorted names, in which no two branches begin alike: the server's automaton then has one state at a
/// time. A plain `a|b|c` of names that begin alike is slower than a pattern for each.
fn regex(names: &[Vec<u8>]) -> Vec<u8> {
    let (Some(first), Some(last)) = (names.first(), names.last()) else { return Vec::new() };
    // Sorted: what the outermost two have in common, all have.
    let common = if names.len() == 1 { first.len() } else { common_prefix(first, last) };
    let shared = &first[..common];
    let mut out = if shared.iter().any(u8::is_ascii_uppercase) { quote_raw(shared) } else { shared.to_vec() };
    if names.len() == 1 {
        return out;
    }
    let mut branches: Vec<Vec<u8>> = Vec::new();
    for group in names.chunk_by(|a, b| a.get(common) == b.get(common)) {
        let rest: Vec<Vec<u8>> = group.iter().map(|name| name[common..].to_vec()).collect();
        branches.push(regex(&rest));
    }
    out.push(b'(');
    out.extend(branches.join(&b'|'));
    out.push(b')');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::quote::quote;

    fn of(names: &[(&str, &str)]) -> Vec<String> {
        let raw = names.iter().map(|(s, n)| (s.as_bytes().to_vec(), n.as_bytes().to_vec()));
        patterns(raw).into_iter().map(|p| String::from_utf8(p).unwrap()).collect()
    }

    #[test]
    fn names_survive_quoting_both_ways() {
        for (schema, name) in [("public", "users"), ("We\"ird", "a.b"), ("x y", "caf\u{e9}\n"), ("\"", "\"\"")] {
            let sql = format!("{}.{}", quote(schema), quote(name));
            assert_eq!(unquote(sql.as_bytes()).unwrap(), (schema.as_bytes().to_vec(), name.as_bytes().to_vec()));
            assert_eq!([quote_raw(schema.as_bytes()), quote_raw(name.as_bytes())].join(&b'.'), sql.as_bytes());
        }
        assert_eq!(unquote(b"public.users").unwrap(), (b"public".to_vec(), b"users".to_vec()));
    }

    #[test]
    fn names_that_begin_alike_share_a_branch_and_odd_names_stand_alone() {
        assert_eq!(of(&[("s", "a")]), ["s.a"]);
        assert_eq!(of(&[("s", "ab"), ("s", "a"), ("s", "a_1"), ("s", "b")]), ["s.(a(|_1|b)|b)"]);
        assert_eq!(of(&[("s", "t1"), ("s", "t2"), ("r", "t2"), ("r", "t1")]), ["(r|s).t(1|2)"]);
        assert_eq!(of(&[("s", "t1"), ("r", "t1"), ("r", "t2")]), ["s.t1", "r.t(1|2)"]);
        assert_eq!(
            of(&[("App", "User"), ("App", "UserRole"), ("App", "item")]),
            ["\"App\".(\"User\"(|\"Role\")|item)"]
        );
        let odd = ["a$", "a.b", "a\"b", "a*", "a b", "\u{e9}", "a|b", "a-b"];
        for name in odd {
            let pattern = format!("\"s\".\"{}\"", name.replace('"', "\"\""));
            assert_eq!(of(&[("s", name), ("s", "a")]), [pattern, "s.a".into()]);
            assert_eq!(of(&[(name, "s")]).len(), 1);
        }
    }

    #[test]
    fn patterns_stay_few_and_short() {
        let long = |p: &Vec<u8>| p.len() > 4 * REGEX_CHARS;
        let dense = (0..20_000).map(|n| (b"public".to_vec(), format!("orders_{n}").into_bytes()));
        let found = patterns(dense);
        assert!(found.len() < 40 && !found.iter().any(long), "{}", found.len());
        let customers = (0..10_000).map(|n| (format!("c{}", n / 20).into_bytes(), format!("t{}", n % 20).into_bytes()));
        assert_eq!(patterns(customers).len(), 1);
        let apart = (0..1_000_u128).map(|n| {
            let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            (b"public".to_vec(), format!("t{spread:032x}").into_bytes())
        });
        assert_eq!(patterns(apart).len(), 1_000, "names without anything in common are named one by one");
    }
}
