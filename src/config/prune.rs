//! `savepoint prune`.

use super::{
    destination::destination,
    notify::notify,
    output::{dry_run, output},
    policy::retention,
    read::{Env, base},
    selection::kind,
    validated::{Output, Validated},
};
use crate::{cli::PruneArgs, clock::STALL, error::Result, prune::PruneConfig, value::given, vault::VerifyLevel};

/// Validates the options of a pruning.
pub fn prune(raw: &PruneArgs, env: Env<'_>) -> Result<Validated<PruneConfig>> {
    let base = base(&raw.output, env);
    let mut notices = Vec::new();
    let config = PruneConfig {
        destination: destination(&raw.destination, &base, VerifyLevel::None, STALL, env, &mut notices)?,
        database: given(raw.database.database.as_ref()).map(str::to_owned),
        kind: kind(&raw.of_kind)?,
        retention: retention(&raw.policy)?,
        dry_run: dry_run(&raw.dry)?,
    };
    let output = Output { dry_run: config.dry_run, ..output(&raw.output)? };
    Ok(Validated { config, notify: notify(&raw.notify)?, output, notices })
}
