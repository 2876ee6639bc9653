//! Which stored backups are meant.

use super::{
    destination::destination,
    read::{Env, moment, no_pg},
};
use crate::{
    cli::{DatabaseArgs, DestinationArgs, OfKindArgs, PickArgs},
    clock::STALL,
    error::Result,
    postgres::conninfo,
    store::Destination,
    value::{given, usage},
    vault::{BackupKind, Pick, VerifyLevel, Which, is_id},
};
use std::{path::Path, time::Duration};

pub(super) fn kind(raw: &OfKindArgs) -> Result<Option<BackupKind>> {
    let Some(text) = given(raw.kind.as_ref()) else { return Ok(None) };
    BackupKind::ALL.into_iter().find(|k| k.name() == text).map(Some).ok_or_else(|| {
        usage(format!("option kind: {text:?} is not known")).hint("use one of snapshot, scheduled, manual, pre-restore")
    })
}

pub(super) fn one_only(pick: &Pick) -> Result<()> {
    if pick.which != Which::All {
        return Ok(());
    }
    Err(usage("option backup: all names many").hint("use latest, oldest or an id; savepoint list shows them"))
}

/// What the words say, and the destination when they are a whole address.
pub(super) fn pick(
    which: Option<&String>,
    args: &PickArgs,
    of_kind: &OfKindArgs,
    database: &DatabaseArgs,
    base: &Path,
    env: Env<'_>,
) -> Result<(Pick, Option<String>)> {
    let mut root = None;
    let which = match given(which.or(args.backup.as_ref())) {
        None | Some("latest") => Which::Latest,
        Some("oldest") => Which::Oldest,
        Some("all") => Which::All,
        Some(id) if is_id(id) => Which::Id(id.to_owned()),
        Some(text) => {
            let path = text.trim_end_matches('/').trim_end_matches("/manifest.json");
            let parts: Vec<&str> = path.rsplitn(6, '/').collect();
            let (id, local) = (parts.first().copied().unwrap_or_default(), !text.contains("://"));
            if is_id(id) && parts.len() == 6 && (!local || base.join(path).join("manifest.json").exists()) {
                // <root>/<database>/<YYYY>/<MM>/<DD>/<id>
                root = Some(if local { base.join(parts[5]).display().to_string() } else { parts[5].to_owned() });
                Which::Id(id.to_owned())
            } else if local && base.join(text).exists() {
                Which::File(base.join(text))
            } else {
                return Err(usage(format!("option backup: {text:?} is no id, no address of a backup and no file"))
                    .hint("use latest, oldest, an id as savepoint list shows it, or the path of a file that pg_dump wrote"));
            }
        }
    };
    let named = given(database.database.as_ref()).map(str::to_owned);
    let of_url = || {
        let url = database.of_url.as_ref().map(|u| u.expose().to_owned()).filter(|u| !u.is_empty());
        let url = url.or_else(|| env("SAVEPOINT_DATABASE_URL")).or_else(|| env("DATABASE_URL"))?;
        conninfo::parse(url.trim(), &no_pg(env)).ok().map(|(target, _)| target.dbname)
    };
    let pick = Pick {
        which,
        before: given(args.before.as_ref()).map(moment).transpose()?,
        kind: kind(of_kind)?,
        database: named.or_else(of_url),
    };
    Ok((pick, root))
}

/// The destination of an address, else the named one, which a file can do without.
pub(super) fn place_or(
    root: Option<String>,
    pick: &Pick,
    raw: &DestinationArgs,
    base: &Path,
    stall: Duration,
    env: Env<'_>,
    notices: &mut Vec<String>,
) -> Result<Option<Destination>> {
    if matches!(pick.which, Which::File(_))
        && root.is_none()
        && raw.destination.iter().all(|item| item.trim().is_empty())
    {
        return Ok(None);
    }
    let raw =
        DestinationArgs { destination: root.map_or_else(|| raw.destination.clone(), |root| vec![root]), ..raw.clone() };
    destination(&raw, base, VerifyLevel::None, stall, env, notices).map(Some)
}

pub(super) fn stored_in(
    root: Option<String>,
    pick: &Pick,
    raw: &DestinationArgs,
    base: &Path,
    env: Env<'_>,
    notices: &mut Vec<String>,
) -> Result<Destination> {
    let no_file =
        || usage("option backup: a file that pg_dump wrote has no manifest to look at").hint("use verify for it");
    if matches!(pick.which, Which::File(_)) {
        return Err(no_file());
    }
    place_or(root, pick, raw, base, STALL, env, notices)?.ok_or_else(no_file)
}
