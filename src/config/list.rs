//! `savepoint list`.

use super::{
    destination::destination,
    output::output,
    read::{Env, base, duration},
    selection::kind,
    validated::Validated,
};
use crate::{
    cli::{AgeArgs, ListArgs},
    clock::STALL,
    error::Result,
    inventory::ListConfig,
    notify::Channels,
    value::{choice, given},
    vault::VerifyLevel,
};

/// Validates the options of a list.
pub fn listing(raw: &ListArgs, env: Env<'_>) -> Result<Validated<ListConfig>> {
    let base = base(&raw.output, env);
    let mut notices = Vec::new();
    let AgeArgs { newer_than, older_than, proof } = &raw.age;
    let config = ListConfig {
        destination: destination(&raw.destination, &base, VerifyLevel::None, STALL, env, &mut notices)?,
        // A list is not narrowed by a variable that nobody thought of.
        database: given(raw.database.database.as_ref()).map(str::to_owned),
        kind: kind(&raw.of_kind)?,
        newer_than: duration("newer-than", newer_than.as_ref())?,
        older_than: duration("older-than", older_than.as_ref())?,
        proof: given(proof.as_ref()).map(|text| choice("proof", text)).transpose()?,
    };
    Ok(Validated { config, notify: Channels::default(), output: output(&raw.output)?, notices })
}
