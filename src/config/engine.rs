//! What the work is done with.

use super::read::{Env, duration, number};
use crate::{
    cli::EngineArgs,
    clock::STALL,
    engine::{Engine, pg_bin_dirs},
    error::Result,
    value::given,
};
use std::{
    path::{self, Path, PathBuf},
    time::Duration,
};

pub(super) fn engine(raw: &EngineArgs, base: &Path, env: Env<'_>) -> Result<Engine> {
    Ok(Engine {
        jobs: number("jobs", &raw.jobs, 1..=64)?,
        pg_bin_dirs: pg_bin_dirs(
            // Programs are also started in other folders than this one.
            raw.pg_bin_dir.iter().filter_map(|d| given(Some(d))).map(|d| absolute(base.join(d))),
            env("PATH"),
        ),
        scratch_dir: given(raw.scratch_dir.as_ref()).map(|d| base.join(d)),
        stall: stall(raw)?,
    })
}

/// How long nothing may come where something is owed.
pub(super) fn stall(raw: &EngineArgs) -> Result<Duration> {
    Ok(duration("stall-timeout", Some(&raw.stall_timeout))?.unwrap_or(STALL))
}

fn absolute(path: PathBuf) -> PathBuf {
    path::absolute(&path).unwrap_or(path)
}
