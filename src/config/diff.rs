//! `savepoint diff`.

use super::{
    encrypt::identity,
    output::output,
    read::{Env, base, present},
    selection::{one_only, pick, stored_in},
    sign::verify_key,
    validated::Validated,
};
use crate::{cli::DiffArgs, error::Result, inventory::DiffConfig, notify::Channels, value::usage};

/// Validates the options of a comparison.
pub fn diff(raw: &DiffArgs, env: Env<'_>) -> Result<Validated<DiffConfig>> {
    let (env, base) = (&present(env), base(&raw.output, env));
    let mut notices = Vec::new();
    let side = |which: Option<&String>| pick(which, &raw.pick, &raw.of_kind, &raw.database, &base, env);
    let two =
        || usage("two backups are needed").hint("savepoint diff ONE OTHER, or the inputs backup and compare-with");
    let one = raw.which.as_ref().or(raw.pick.backup.as_ref()).filter(|w| !w.trim().is_empty()).ok_or_else(two)?;
    let other =
        raw.other.as_ref().or(raw.with.compare_with.as_ref()).filter(|w| !w.trim().is_empty()).ok_or_else(two)?;
    let ((one, root), (other, other_root)) = (side(Some(one))?, side(Some(other))?);
    for pick in [&one, &other] {
        one_only(pick)?;
    }
    let root = root.or(other_root);
    let config = DiffConfig {
        destination: stored_in(root, &one, &raw.destination, &base, env, &mut notices)?,
        one,
        other,
        identity: identity(&raw.identity, &base)?,
        verify_key: verify_key(&raw.verify_key, &base, None)?,
    };
    Ok(Validated { config, notify: Channels::default(), output: output(&raw.output)?, notices })
}
