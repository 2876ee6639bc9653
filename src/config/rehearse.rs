//! What is rehearsed on the proven copy.

use super::read::{bytes, duration, list, number};
use crate::{
    checks,
    cli::RehearseArgs,
    error::Result,
    rehearse::{Environment, Forbidden, LIMIT, RehearseConfig},
    value::{given, usage},
    vault::VerifyLevel,
};
use std::{path::Path, time::Duration};

/// The command and its limits; `None` where there is none.
pub(super) fn rehearse(raw: &RehearseArgs, level: VerifyLevel, base: &Path) -> Result<Option<RehearseConfig>> {
    let limits = [
        ("rehearse-role", raw.rehearse_role.as_ref()),
        ("rehearse-check-sql", raw.rehearse_check_sql.as_ref()),
        ("rehearse-max-lock", raw.rehearse_max_lock.as_ref()),
        ("rehearse-forbid", raw.rehearse_forbid.first()),
    ];
    let Some(command) = given(raw.rehearse.as_ref()) else {
        return match limits.into_iter().find(|(_, value)| given(*value).is_some()) {
            None => Ok(None),
            Some((name, _)) => Err(usage(format!("option {name}: nothing is rehearsed"))
                .hint("name the command that migrates with rehearse, or leave this out")),
        };
    };
    if !level.restores() {
        return Err(usage("option rehearse: with this verify nothing is restored to rehearse on")
            .hint("use verify content or rows"));
    }
    Ok(Some(RehearseConfig {
        command: command.to_owned(),
        role: given(raw.rehearse_role.as_ref()).map(str::to_owned),
        limit: duration("rehearse-timeout", Some(&raw.rehearse_timeout))?.unwrap_or(LIMIT),
        checks: match given(raw.rehearse_check_sql.as_ref()) {
            Some(file) => checks::read("rehearse-check-sql", &base.join(file))?,
            None => Vec::new(),
        },
        max_lock: lock_limit(raw.rehearse_max_lock.as_ref())?,
        max_drop: number("rehearse-max-drop", &raw.rehearse_max_drop, 0..=100)? as u32,
        forbid: list("rehearse-forbid", &raw.rehearse_forbid)?
            .iter()
            .map(|text| forbidden(text))
            .collect::<Result<_>>()?,
        folder: base.to_owned(),
        environment: Environment(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        ),
    }))
}

/// A duration, which may be one of milliseconds as well.
fn lock_limit(text: Option<&String>) -> Result<Option<Duration>> {
    let millis = given(text).and_then(|text| text.strip_suffix("ms")?.trim_end().parse().ok());
    match millis {
        Some(millis) => Ok(Some(Duration::from_millis(millis))),
        None => duration("rehearse-max-lock", text),
    }
}

fn forbidden(text: &str) -> Result<Forbidden> {
    let wrong = || {
        usage(format!("option rehearse-forbid: {text:?} is not known"))
            .hint("use drop-table, drop-column, rewrite, or rewrite with a size, such as rewrite:10GB")
    };
    match text.trim().to_ascii_lowercase().split_once(':') {
        Some(("rewrite", size)) => bytes(size.trim()).map(Forbidden::Rewrite).ok_or_else(wrong),
        Some(_) => Err(wrong()),
        None => match text.trim().to_ascii_lowercase().as_str() {
            "drop-table" => Ok(Forbidden::DropTable),
            "drop-column" => Ok(Forbidden::DropColumn),
            "rewrite" => Ok(Forbidden::Rewrite(0)),
            _ => Err(wrong()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::backup::tests::parsed, error::Kind};

    #[test]
    fn a_rehearsal_and_its_limits() {
        let options = [
            "--rehearse=npx prisma migrate deploy",
            "--rehearse-max-lock=500ms",
            "--rehearse-max-drop=10",
            "--rehearse-forbid=drop-table,rewrite:10GB",
        ];
        let config = parsed(&options).expect("is valid").config.rehearse.expect("is asked for");
        assert_eq!(
            (config.command.as_str(), config.limit, config.max_drop, config.max_lock),
            ("npx prisma migrate deploy", LIMIT, 10, Some(Duration::from_millis(500)))
        );
        assert_eq!(config.forbid, [Forbidden::DropTable, Forbidden::Rewrite(10_000_000_000)]);
        assert!(parsed(&[]).expect("is valid").config.rehearse.is_none());
        for (wrong, said) in [
            (&["--rehearse-max-lock=2s"][..], "option rehearse-max-lock: nothing is rehearsed"),
            (&["--rehearse=x", "--verify=none"], "option rehearse: with this verify nothing is restored"),
            (&["--rehearse=x", "--rehearse-forbid=drop"], "option rehearse-forbid: \"drop\" is not known"),
            (&["--rehearse=x", "--rehearse-forbid=rewrite:much"], "option rehearse-forbid"),
            (&["--rehearse=x", "--rehearse-max-drop=101"], "option rehearse-max-drop"),
            (&["--rehearse=x", "--rehearse-timeout=soon"], "option rehearse-timeout"),
            (
                &["--rehearse=x", "--rehearse-check-sql=/no/such.sql"],
                "option rehearse-check-sql: /no/such.sql: it cannot be read",
            ),
        ] {
            let error = parsed(wrong).expect_err(said);
            assert!(error.kind() == Kind::Usage && error.one_line().contains(said), "{error:?}");
        }
    }
}
