//! pg_dump's object patterns as SQL conditions (psql manual, "Patterns"; `processSQLNamePattern` in PostgreSQL's source).

use crate::{
    error::{Error, Kind, Result},
    postgres::quote::literal,
    vault::Filter,
};

/// Splits a pattern at its unquoted dots and turns each piece into an anchored regular expression.
fn regexes(pattern: &str) -> Result<Vec<String>> {
    let mut pieces = vec![String::new()];
    let mut quoted = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let piece = pieces.last_mut().ok_or_else(|| Error::new(Kind::Usage, "empty pattern"))?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                piece.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => pieces.push(String::new()),
            '*' if !quoted => piece.push_str(".*"),
            '?' if !quoted => piece.push('.'),
            // A dollar is legal inside a name, so it is never an anchor.
            '$' => piece.push_str("\\$"),
            '|' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '.' | '^' | '\\' if quoted => {
                piece.push('\\');
                piece.push(c);
            }
            // As in psql: outside quotes only [] is always literal-safe, as part of array type names.
            '[' if chars.peek() == Some(&']') => piece.push_str("\\["),
            c if !quoted => piece.extend(c.to_lowercase()),
            c => piece.push(c),
        }
    }
    if quoted {
        return Err(Error::new(Kind::Usage, format!("the pattern {pattern} has an unclosed double quote"))
            .hint("write a name with a double quote in it as \"a\"\"b\""));
    }
    Ok(pieces.into_iter().map(|p| format!("^({p})$")).collect())
}

fn matches(column: &str, regex: &str) -> String {
    match regex {
        "^(.*)$" => "true".into(),
        _ => format!("{column} OPERATOR(pg_catalog.~) {} COLLATE pg_catalog.default", literal(regex)),
    }
}

fn schema_condition(pattern: &str) -> Result<String> {
    match regexes(pattern)?.as_slice() {
        [schema] | [_, schema] => Ok(matches("n.nspname", schema)),
        _ => Err(too_many_dots(pattern)),
    }
}

fn table_condition(pattern: &str) -> Result<String> {
    match regexes(pattern)?.as_slice() {
        [table] => Ok(format!("{} AND pg_catalog.pg_table_is_visible(c.oid)", matches("c.relname", table))),
        [schema, table] | [_, schema, table] => {
            Ok(format!("{} AND {}", matches("n.nspname", schema), matches("c.relname", table)))
        }
        _ => Err(too_many_dots(pattern)),
    }
}

fn too_many_dots(pattern: &str) -> Error {
    Error::new(Kind::Usage, format!("the pattern {pattern} has too many dots"))
        .hint("write schema.table; a dot inside a name stands in double quotes")
}

fn any(patterns: &[String], condition: fn(&str) -> Result<String>) -> Result<String> {
    let all = patterns.iter().map(|p| Ok(format!("({})", condition(p)?))).collect::<Result<Vec<_>>>()?;
    Ok(if all.is_empty() { "false".into() } else { format!("({})", all.join(" OR ")) })
}

/// Two SQL conditions over `pg_class c JOIN pg_namespace n`: whether pg_dump with this filter takes the relation, and whether
/// it takes its rows. Patterns without a schema match what the search_path shows, so the query runs with the default one.
pub fn conditions(filter: &Filter) -> Result<(String, String)> {
    let chosen = match (&filter.tables[..], &filter.schemas[..]) {
        // With --table, pg_dump ignores --schema and --exclude-schema.
        ([_, ..], _) => any(&filter.tables, table_condition)?,
        ([], schemas) => {
            let yes = if schemas.is_empty() { "true".into() } else { any(schemas, schema_condition)? };
            format!("{yes} AND NOT {}", any(&filter.exclude_schemas, schema_condition)?)
        }
    };
    let taken = format!("({chosen} AND NOT {})", any(&filter.exclude_tables, table_condition)?);
    let rows = format!("(NOT {} AND {})", any(&filter.exclude_table_data, table_condition)?, !filter.schema_only);
    Ok((taken, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_what_psql_makes_of_them() {
        let cases = [
            ("users", vec!["^(users)$"]),
            ("Users", vec!["^(users)$"]),
            ("\"Users\"", vec!["^(Users)$"]),
            ("app.*", vec!["^(app)$", "^(.*)$"]),
            ("app_?.\"a.b\"", vec!["^(app_.)$", "^(a\\.b)$"]),
            ("\"we\"\"ird\"", vec!["^(we\"ird)$"]),
            ("log_[0-9]+", vec!["^(log_[0-9]+)$"]),
            ("a$b", vec!["^(a\\$b)$"]),
            ("\"x*\"", vec!["^(x\\*)$"]),
        ];
        for (pattern, expected) in cases {
            assert_eq!(regexes(pattern).unwrap(), expected, "{pattern}");
        }
        assert!(regexes("\"open").is_err());
        assert!(table_condition("a.b.c.d").is_err());
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn table_filters_override_schema_filters_and_exclusions_always_hold() {
        let filter = Filter {
            tables: vec!["a.t".into()],
            schemas: vec!["b".into()],
            exclude_tables: vec!["a.x".into()],
            ..Filter::default()
        };
        let (taken, rows) = conditions(&filter).unwrap();
        assert!(
            taken.contains("^(t)$") && !taken.contains("^(b)$") && taken.contains("AND NOT") && taken.contains("^(x)$")
        );
        assert_eq!(rows, "(NOT false AND true)");
        assert_eq!(conditions(&Filter::default()).unwrap().0, "(true AND NOT false AND NOT false)");
    }
}
