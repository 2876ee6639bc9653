//! Where a backup is proven.

use super::read::no_pg;
use crate::{
    cli::ServerArgs,
    error::Result,
    postgres::conninfo::{self, Target},
    secret::Secret,
};

pub(super) fn verify_url(
    raw: &ServerArgs,
    env: &dyn Fn(&str) -> Option<String>,
    notices: &mut Vec<String>,
) -> Result<Option<Target>> {
    let Some(url) = raw.verify_url.as_ref().map(Secret::expose).filter(|url| !url.is_empty()) else { return Ok(None) };
    let (target, said) = conninfo::parse(url, &no_pg(env)).map_err(|e| e.context("option verify-url"))?;
    notices.extend(said);
    Ok(Some(target))
}

#[cfg(test)]
mod tests {
    use crate::config::backup::tests::parsed_in;

    #[test]
    fn the_sources_variables_stay_out_of_verify_url() {
        let env = [("PGPASSWORD", "s3cret"), ("PGHOST", "db"), ("PGUSER", "u"), ("PGDATABASE", "d")];
        let argv = ["backup", "--destination=/tmp", "--verify-url=postgresql://v@other/postgres"];
        let p = parsed_in(&argv, &env).expect("is valid");
        assert!(p.config.source.password.is_some());
        assert_eq!(p.config.verify_url.expect("is set").password, None);
    }
}
