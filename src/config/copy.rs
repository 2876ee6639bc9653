//! `savepoint copy`.

use super::{
    destination::{destination, roots},
    engine::stall,
    notify::notify,
    output::{dry_run, output},
    read::{Env, base, number, present},
    selection::{pick, place_or},
    validated::{Output, Validated},
};
use crate::{
    cli::{CopyArgs, DestinationArgs},
    copy::CopyConfig,
    error::Result,
    value::usage,
    vault::{VerifyLevel, Which},
};

/// Validates the options of a copying.
///
/// # Errors
/// [`crate::error::Kind::Usage`], naming the option and the cure.
pub fn copy(raw: &CopyArgs, env: Env<'_>) -> Result<Validated<CopyConfig>> {
    let (env, base) = (&present(env), base(&raw.output, env));
    let mut notices = Vec::new();
    let stall = stall(&raw.engine)?;
    let (pick, root) = pick(raw.which.as_ref(), &raw.pick, &raw.of_kind, &raw.database, &base, env)?;
    let a_file = || {
        usage("option backup: a file that pg_dump wrote is no stored backup")
            .hint("copy a backup that savepoint list shows")
    };
    if matches!(pick.which, Which::File(_)) {
        return Err(a_file());
    }
    let from = place_or(root, &pick, &raw.destination, &base, stall, env, &mut notices)?.ok_or_else(a_file)?;
    if raw.to.iter().all(|item| item.trim().is_empty()) {
        return Err(usage("option to: not set").hint("name the second place by --to s3://bucket/prefix or a folder"));
    }
    let to = DestinationArgs { destination: raw.to.clone(), ..raw.destination.clone() };
    let to =
        destination(&to, &base, VerifyLevel::Archive, stall, env, &mut notices).map_err(|e| e.context("option to"))?;
    notices.sort();
    notices.dedup();
    let config = CopyConfig {
        pick,
        destination: from,
        to,
        jobs: number("jobs", &raw.engine.jobs, 1..=64)?,
        dry_run: dry_run(&raw.dry)?,
    };
    let output = Output { dry_run: config.dry_run, ..output(&raw.output)? };
    Ok(Validated { config, notify: notify(&raw.notify, env, roots(&raw.destination, &base)?)?, output, notices })
}
