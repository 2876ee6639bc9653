//! What the target's user may create of what a backup needs. Pure; asked before the first byte is restored.

use super::{
    config::{Owners, RestoreConfig},
    target::Facts,
    what::{What, refused, some},
};
use crate::{error::Result, postgres::quote::quote};

/// Something that the user may not create.
struct Lack {
    /// What, and why.
    what: String,
    /// The cure, when it is the only one.
    cure: String,
    /// Statements for an administrator.
    statements: Vec<String>,
}

/// The roles that must be created.
///
/// # Errors
/// [`crate::error::Kind::Refused`] when roles, memberships or extensions are out of the user's reach; the hint holds the statements that
/// an administrator runs.
pub(super) fn roles(config: &RestoreConfig, what: &What, facts: &Facts) -> Result<Vec<String>> {
    let missing: Vec<String> = match config.owners == Owners::Skip || config.data_only {
        true => Vec::new(),
        false => what.roles.iter().filter(|r| !facts.roles.contains(*r)).cloned().collect(),
    };
    let lacks: Vec<Lack> = [
        extensions(config, facts),
        missing_roles(config, facts, &missing),
        owners(config, what, facts),
        public(config, facts),
    ]
    .into_iter()
    .flatten()
    .collect();
    match lacks.as_slice() {
        [] => Ok(missing),
        [lack] => Err(refused(lack.what.clone()).hint(lack.cure.clone())),
        several => {
            let what: Vec<&str> = several.iter().map(|l| l.what.as_str()).collect();
            let mut all: Vec<&str> = Vec::new();
            for statement in several.iter().flat_map(|l| &l.statements) {
                // Two of them may need the same database.
                if !all.contains(&statement.as_str()) {
                    all.push(statement);
                }
            }
            let without = "; --no-owner needs none of the roles";
            Err(refused(what.join("; ")).hint(format!("let an administrator run: {}{without}", all.join("; "))))
        }
    }
}

/// Extensions that were tried.
fn extensions(config: &RestoreConfig, facts: &Facts) -> Option<Lack> {
    let refused = &facts.refused_extensions;
    let (first, said) = refused.iter().next()?;
    let more = if refused.len() > 1 { format!(" and {}", some(refused.keys().skip(1))) } else { String::new() };
    let db = &config.target.dbname;
    let mut statements: Vec<String> = database(config, facts).into_iter().collect();
    statements.extend(refused.keys().map(|name| format!("CREATE EXTENSION IF NOT EXISTS {} CASCADE", quote(name))));
    Some(Lack {
        what: format!("role {} may not create extension {first}{more} of the backup: {said}", facts.user),
        cure: format!(
            "let an administrator run, in database {db}: {}; and restore into that database, without --create and --swap",
            statements.join("; ")
        ),
        statements,
    })
}

/// The statement that makes the database where there is none: what is to be granted in it needs one.
fn database(config: &RestoreConfig, facts: &Facts) -> Option<String> {
    let create = || format!("CREATE DATABASE {} OWNER {}", quote(&config.target.dbname), quote(&facts.user));
    facts.content.is_none().then(create)
}

/// Roles that nothing in schema `public` can be given to.
fn public(config: &RestoreConfig, facts: &Facts) -> Option<Lack> {
    let strangers = &facts.strangers_in_public;
    if config.owners == Owners::Skip || config.data_only || strangers.is_empty() {
        return None;
    }
    let grant = |role: &String| format!("GRANT CREATE ON SCHEMA public TO {}", quote(role));
    let statements: Vec<String> = database(config, facts).into_iter().chain(strangers.iter().map(grant)).collect();
    Some(Lack {
        what: format!(
            "roles that own objects of the backup in schema public may not make any there: {}",
            some(strangers)
        ),
        cure: format!(
            "let the owner of database {} run in it: {}; and restore into that database, without --create and --swap; or restore with \
             --no-owner, by which everything belongs to {}",
            config.target.dbname,
            statements.join("; "),
            facts.user
        ),
        statements,
    })
}

fn missing_roles(config: &RestoreConfig, facts: &Facts, missing: &[String]) -> Option<Lack> {
    let create = |name: &String| format!("CREATE ROLE {} NOLOGIN; GRANT {0} TO {}", quote(name), quote(&facts.user));
    let statements = missing.iter().map(create).collect();
    if missing.is_empty() {
        return None;
    }
    if config.owners == Owners::Keep {
        return Some(Lack {
            what: format!("the target's server lacks roles that the backup names: {}", some(missing)),
            cure: "--create-roles creates them without login; --no-owner gives everything to the target's user and skips grants; \
                   globals.sql of the backup creates them as they were"
                .to_owned(),
            statements,
        });
    }
    (!facts.creates_roles).then(|| Lack {
        what: format!("role {} may not create the roles that are missing: {}", facts.user, some(missing)),
        cure: format!("ALTER ROLE {} CREATEROLE, or restore with --no-owner", quote(&facts.user)),
        statements,
    })
}

/// Roles that are to own what is restored: only who may become them can give something to them, or grant in their name.
fn owners(config: &RestoreConfig, what: &What, facts: &Facts) -> Option<Lack> {
    if config.owners == Owners::Skip || config.data_only || facts.superuser {
        return None;
    }
    let foreign: Vec<&String> =
        what.owners.iter().filter(|r| facts.roles.contains(*r) && !facts.member_of.contains(*r)).collect();
    let first = *foreign.first()?;
    let user = quote(&facts.user);
    Some(Lack {
        what: format!(
            "role {} is no member of roles that own objects of the backup, so it cannot give them away: {}",
            facts.user,
            some(foreign.iter().copied())
        ),
        cure: format!(
            "GRANT {} TO {user}, or restore with --no-owner, by which everything belongs to {}",
            quote(first),
            facts.user
        ),
        statements: foreign.iter().map(|role| format!("GRANT {} TO {user}", quote(role))).collect(),
    })
}
