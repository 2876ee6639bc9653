//! `savepoint prune`.

use super::{
    destination::{destination, roots},
    notify::notify,
    output::{dry_run, output},
    policy::retention,
    read::{Env, base},
    selection::kind,
    sign::verify_key,
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
        verify_key: verify_key(&raw.verify_key, &base, None)?,
        dry_run: dry_run(&raw.dry)?,
    };
    let output = Output { dry_run: config.dry_run, ..output(&raw.output)? };
    Ok(Validated { config, notify: notify(&raw.notify, env, roots(&raw.destination, &base)?)?, output, notices })
}
