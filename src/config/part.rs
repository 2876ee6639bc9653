//! Which part of a database is taken or restored.

use super::read::list;
use crate::{
    cli::{ExcludeArgs, PartArgs},
    error::Result,
    value::flag,
    vault::Filter,
};

/// What is restored of a backup.
pub(super) fn part(raw: &PartArgs) -> Result<Filter> {
    Ok(Filter {
        schemas: list("schemas", &raw.schemas)?,
        tables: list("tables", &raw.tables)?,
        schema_only: flag("schema-only", &raw.schema_only)?,
        ..Filter::default()
    })
}

/// What is taken of a database.
pub(super) fn filter(raw: &PartArgs, exclude: &ExcludeArgs) -> Result<Filter> {
    Ok(Filter {
        exclude_schemas: list("exclude-schemas", &exclude.exclude_schemas)?,
        exclude_tables: list("exclude-tables", &exclude.exclude_tables)?,
        exclude_table_data: list("exclude-table-data", &exclude.exclude_table_data)?,
        no_user_mappings: flag("no-user-mappings", &exclude.no_user_mappings)?,
        no_subscriptions: flag("no-subscriptions", &exclude.no_subscriptions)?,
        ..part(raw)?
    })
}
