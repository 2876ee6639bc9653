//! The database that is read.

use super::read::Env;
use crate::{
    cli::SourceArgs,
    error::Result,
    postgres::conninfo::{self, Target},
};

/// The source: the option, else `DATABASE_URL`, else the `PG*` variables, which fill in what an address leaves out.
pub(super) fn source(raw: &SourceArgs, env: Env<'_>, notices: &mut Vec<String>) -> Result<Target> {
    let url = raw.database_url.as_ref().map(|url| url.expose().to_owned()).filter(|url| !url.is_empty());
    let url = url.or_else(|| env("DATABASE_URL")).unwrap_or_default();
    let (source, said) = conninfo::parse(url.trim(), env).map_err(|e| e.context("option database-url"))?;
    notices.extend(said);
    Ok(source)
}

#[cfg(test)]
mod tests {
    use crate::{config::backup::tests::parsed_in, error::Kind};

    #[test]
    fn the_database_comes_from_the_option_the_url_or_the_pg_variables() {
        let env = [("DATABASE_URL", "postgresql://u@second/d\n"), ("PGHOST", "third"), ("PGUSER", "u")];
        let host = |argv: &[&str], env: &[(&str, &str)]| {
            let argv: Vec<&str> = ["backup", "--destination=/tmp"].iter().chain(argv).copied().collect();
            parsed_in(&argv, env).expect("is valid").config.source.host
        };
        assert_eq!(host(&["--database-url=postgresql://u@first/d"], &env), "first");
        assert_eq!(host(&[], &env), "second");
        assert_eq!(host(&[], &env[1..]), "third");
        let error = parsed_in(&["backup", "--destination=/tmp"], &[("USER", "u")]).expect_err("names no database");
        assert_eq!(error.kind(), Kind::Usage);
    }
}
