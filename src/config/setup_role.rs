//! `savepoint setup-role`.

use super::{
    output::output,
    part::filter,
    read::{Env, present},
    source::source,
    validated::Validated,
};
use crate::{cli::SetupRoleArgs, error::Result, notify::Channels, setup_role::SetupRoleConfig, value::usage};

/// The longest name of a role that PostgreSQL does not cut.
const NAME_BYTES: usize = 63;

/// Validates the options of `savepoint setup-role`.
///
/// # Errors
/// [`crate::error::Kind::Usage`], naming the option and the cure, never a secret.
pub fn setup_role(raw: &SetupRoleArgs, env: Env<'_>) -> Result<Validated<SetupRoleConfig>> {
    let env = &present(env);
    let mut notices = Vec::new();
    let output = output(&raw.output)?;
    let config = SetupRoleConfig {
        source: source(&raw.source, env, &mut notices)?,
        role: role(&raw.role.role)?,
        filter: filter(&raw.part, &raw.exclude)?,
    };
    Ok(Validated { config, notify: Channels::default(), output, notices })
}

/// A name that a role can have.
fn role(text: &str) -> Result<String> {
    let role = text.trim();
    let wrong = |why: &str| {
        Err(usage(format!("option role: {role:?} {why}"))
            .hint("name the role as SQL would without quotes, such as role backup"))
    };
    match role {
        "" => wrong("is no name"),
        "public" | "none" => wrong("is a word of PostgreSQL's own"),
        _ if role.starts_with("pg_") => wrong("begins as PostgreSQL's own roles do"),
        _ if role.chars().any(char::is_control) => wrong("holds a control character"),
        _ if role.len() > NAME_BYTES => wrong("is longer than 63 bytes"),
        _ => Ok(role.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn names_of_roles() {
        assert_eq!(role(" my backup ").expect("a name"), "my backup");
        for name in ["", "public", "none", "pg_backup", "a\nb", &"x".repeat(64)] {
            assert_eq!(role(name).expect_err(name).kind(), Kind::Usage);
        }
    }
}
