//! `savepoint verify`.

use super::{
    destination::roots,
    drill::check_sql,
    encrypt::identity,
    engine::{engine, stall},
    notify::notify,
    output::output,
    proof::{guard, verify_url},
    read::{Env, base, duration, present},
    rehearse::rehearse,
    selection::{pick, place_or},
    sign::{signer, verify_key},
    validated::Validated,
};
use crate::{
    cli::VerifyArgs,
    drill::VerifyConfig,
    error::Result,
    value::{choice, flag, usage},
    vault::{VerifyLevel, Which},
};

/// Validates the options of a restore drill.
pub fn verify(raw: &VerifyArgs, env: Env<'_>) -> Result<Validated<VerifyConfig>> {
    let (env, base) = (&present(env), base(&raw.output, env));
    let mut notices = Vec::new();
    let (pick, root) = pick(raw.which.as_ref(), &raw.pick, &raw.of_kind, &raw.database, &base, env)?;
    let level = choice::<VerifyLevel>("verify", &raw.level.verify)?;
    match level {
        VerifyLevel::None => {
            return Err(usage("option verify: none proves nothing").hint("use content, rows or archive"));
        }
        VerifyLevel::Sent => {
            return Err(usage("option verify: sent says something of a backup only while it is taken")
                .hint("use content, rows or archive"));
        }
        _ => {}
    }
    let stall = stall(&raw.engine)?;
    let check_sql = check_sql(&raw.drill, level, &base)?;
    let verify_key = verify_key(&raw.verify_key, &base, Some(&pick))?;
    let rehearse = rehearse(&raw.rehearse, level, &base)?;
    if rehearse.is_some() && matches!(pick.which, Which::File(_) | Which::All) {
        return Err(usage("option rehearse: a migration is rehearsed on one stored backup")
            .hint("name it by its id, or latest; a file becomes one by savepoint restore and savepoint backup"));
    }
    let config = VerifyConfig {
        destination: place_or(root, &pick, &raw.destination, &base, stall, env, &mut notices)?,
        pick,
        level,
        verify_url: verify_url(&raw.server, env, &mut notices)?.map(|url| url.with_stall(stall)),
        check_sql,
        rehearse,
        identity: identity(&raw.identity, &base)?,
        signer: signer(&raw.sign, &base, env)?,
        verify_key,
        max_rto: duration("max-rto", raw.drill.max_rto.as_ref())?,
        max_age: duration("max-age", raw.drill.max_age.as_ref())?,
        guard: guard(&raw.server, &mut notices)?,
        trust_file: flag("trust-file", &raw.trust.trust_file)?,
        engine: engine(&raw.engine, &base, env)?,
    };
    Ok(Validated {
        config,
        notify: notify(&raw.notify, env, roots(&raw.destination, &base)?)?,
        output: output(&raw.output)?,
        notices,
    })
}
