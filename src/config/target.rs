//! Where and how a backup is restored.

use super::read::{Env, no_pg};
use crate::{
    cli::TargetArgs,
    error::Result,
    postgres::conninfo::{self, Target},
    restore::{Owners, Place},
    value::{flag, given, usage},
    vault::Filter,
};

/// The database that is restored into.
pub(super) fn target(raw: &TargetArgs, env: Env<'_>, notices: &mut Vec<String>) -> Result<Target> {
    let Some(to) = raw.to.as_ref().filter(|url| !url.expose().is_empty()) else {
        return Err(usage("option to: not set")
            .hint("set to (or SAVEPOINT_TO) to the target, such as postgresql://user:password@host/app"));
    };
    let (target, said) = conninfo::parse(to.expose(), &no_pg(env)).map_err(|e| e.context("option to"))?;
    notices.extend(said);
    Ok(target)
}

/// Into what of it.
pub(super) fn place(raw: &TargetArgs, target: &Target) -> Result<Place> {
    let (swap, clean) = (flag("swap", &raw.swap)?, flag("clean", &raw.clean)?);
    let create = given(raw.create.as_ref()).map(str::to_owned);
    let place = match (create, swap, clean) {
        (_, true, true) | (Some(_), _, true) => {
            return Err(usage("option clean: it empties the target, while create and swap leave it as it is")
                .hint("give one of create, swap and clean"));
        }
        (name, true, false) => Place::Swap(name),
        (Some(name), false, false) => Place::New(name),
        (None, false, true) => Place::Clean,
        (None, false, false) => Place::Empty,
    };
    if let Place::New(name) | Place::Swap(Some(name)) = &place
        && *name == target.dbname
    {
        return Err(usage(format!("option create: {name:?} is the target database itself"))
            .hint("choose another name, or leave create out: a new name is made up for swap"));
    }
    Ok(place)
}

/// Refuses what cannot go together.
pub(super) fn agree(place: &Place, part: &Filter, data_only: bool) -> Result<()> {
    if data_only && part.schema_only {
        return Err(usage("option data-only: schema-only asks for the opposite").hint("give one of them"));
    }
    if data_only && *place != Place::Empty {
        return Err(usage("option data-only: rows go into tables that are there")
            .hint("leave out create, swap and clean; the tables must be empty"));
    }
    if matches!(place, Place::Swap(_)) && (part.names_a_part() || part.schema_only) {
        return Err(usage("option swap: a part of a database must not take the place of the whole")
            .hint("restore the part by create into a database of its own, and copy over what you need"));
    }
    Ok(())
}

/// Who comes to own what is restored.
pub(super) fn owners(raw: &TargetArgs) -> Result<Owners> {
    Ok(match (flag("no-owner", &raw.no_owner)?, flag("create-roles", &raw.create_roles)?) {
        (true, true) => {
            return Err(usage("option no-owner: create-roles asks for the opposite").hint("give one of them"));
        }
        (true, false) => Owners::Skip,
        (false, true) => Owners::Create,
        (false, false) => Owners::Keep,
    })
}
