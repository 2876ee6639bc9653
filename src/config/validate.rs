//! `savepoint validate`.

use super::{
    destination::roots,
    encrypt::identity,
    engine::{engine, stall},
    notify::notify,
    output::output,
    read::{Env, base, list, number, present},
    selection::{one_only, pick, stored_in},
    sign::verify_key,
    source::source,
    validated::Validated,
};
use crate::{
    checks,
    cli::ValidateArgs,
    error::Result,
    validate::ValidateConfig,
    value::{given, usage},
};

/// Validates the options of a validation.
pub fn validate(raw: &ValidateArgs, env: Env<'_>) -> Result<Validated<ValidateConfig>> {
    let (env, base) = (&present(env), base(&raw.output, env));
    let mut notices = Vec::new();
    let target = source(&raw.source, env, &mut notices)?.with_stall(stall(&raw.engine)?);
    let which = raw.which.as_ref().or(raw.against.against.as_ref().filter(|text| !text.trim().is_empty()));
    if which.or(raw.pick.backup.as_ref()).is_none_or(|text| text.trim().is_empty()) {
        return Err(usage("no backup was named to hold the database against")
            .hint("against names the one from before the migration, by the id that the backup's step told (its output backup-id)"));
    }
    let (mut pick, root) = pick(which, &raw.pick, &raw.of_kind, &raw.database, &base, env)?;
    one_only(&pick)?;
    pick.database.get_or_insert_with(|| target.dbname.clone());
    let config = ValidateConfig {
        verify_key: verify_key(&raw.verify_key, &base, Some(&pick))?,
        destination: stored_in(root, &pick, &raw.destination, &base, env, &mut notices)?,
        pick,
        target,
        identity: identity(&raw.identity, &base)?,
        max_drop: number("max-drop", &raw.max_drop, 0..=100)? as u32,
        allow_loss: list("allow-loss", &raw.against.allow_loss)?,
        checks: match given(raw.check_sql.as_ref()) {
            Some(file) => checks::read("check-sql", &base.join(file))?,
            None => Vec::new(),
        },
        jobs: engine(&raw.engine, &base, env)?.jobs,
    };
    Ok(Validated {
        config,
        notify: notify(&raw.notify, env, roots(&raw.destination, &base)?)?,
        output: output(&raw.output)?,
        notices,
    })
}
