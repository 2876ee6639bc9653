//! What a restore drill asks beside the proof.

use crate::{
    cli::DrillArgs,
    error::Result,
    value::{given, usage},
    vault::VerifyLevel,
};
use std::path::{Path, PathBuf};

/// The file of the team's own queries, which a proof that restores nothing cannot ask.
pub(super) fn check_sql(raw: &DrillArgs, level: VerifyLevel, base: &Path) -> Result<Option<PathBuf>> {
    let check_sql = given(raw.check_sql.as_ref()).map(|file| base.join(file));
    if check_sql.is_some() && level == VerifyLevel::Archive {
        return Err(usage("option check-sql: with verify archive nothing is restored to ask")
            .hint("use verify content or rows"));
    }
    Ok(check_sql)
}
