//! How the result is shown.

use super::{read::duration, validated::Output};
use crate::{
    cli::{DryRunArgs, OutputArgs},
    error::Result,
    value::{choice, flag},
};

pub(super) fn output(raw: &OutputArgs) -> Result<Output> {
    Ok(Output {
        dry_run: false,
        json: flag("json", &raw.json)?,
        log: choice("log-format", &raw.log_format)?,
        quiet: flag("quiet", &raw.quiet)?,
        verbose: flag("verbose", &raw.verbose)?,
        timeout: duration("timeout", raw.timeout.as_ref())?,
    })
}

pub(super) fn dry_run(raw: &DryRunArgs) -> Result<bool> {
    flag("dry-run", &raw.dry_run)
}
