//! `savepoint show`.

use super::{
    output::output,
    read::{Env, base, present},
    selection::{one_only, pick, stored_in},
    sign::verify_key,
    validated::Validated,
};
use crate::{cli::ShowArgs, error::Result, inventory::ShowConfig, notify::Channels};

/// Validates the options of `savepoint show`.
pub fn show(raw: &ShowArgs, env: Env<'_>) -> Result<Validated<ShowConfig>> {
    let (env, base) = (&present(env), base(&raw.output, env));
    let mut notices = Vec::new();
    let (pick, root) = pick(raw.which.as_ref(), &raw.pick, &raw.of_kind, &raw.database, &base, env)?;
    one_only(&pick)?;
    // Its page names a command for other shells.
    let place = &raw.destination;
    let verify_key = verify_key(&raw.verify_key, &base, None)?;
    let config = ShowConfig { destination: stored_in(root, &pick, place, &base, env, &mut notices)?, pick, verify_key };
    Ok(Validated { config, notify: Channels::default(), output: output(&raw.output)?, notices })
}
