//! Which secrets pg_dump writes into the archive, or cannot see. Their values are never read: the server says which there are.

use super::{
    answer::{Answer, Answered, some},
    facts::Facts,
    question::Question,
};
use crate::{
    backup::BackupConfig,
    error::Result,
    postgres::{
        answer,
        connect::{Raw, Session},
    },
};
use async_trait::async_trait;
use tokio_postgres::Row;

/// The question's name. A backup tells of its answers as notices: that is how the database is made.
pub const SECRETS: &str = "secrets";

/// Names of options that hold a secret; `password_required` of `postgres_fdw` is a yes or no.
const SECRET: &str =
    "option_name ~* '(pass|pwd|secret|token|credential|api_?key)' AND option_name <> 'password_required'";

pub(super) struct Held;

#[async_trait]
impl Question for Held {
    fn name(&self) -> &'static str {
        SECRETS
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let filter = &facts.config.filter;
        // pg_dump takes none of these with a part of the database.
        if filter.names_a_part() {
            return Ok(Vec::new());
        }
        let (session, source) = (facts.session()?, facts.source.get()?);
        Ok(match Secrets::read(session).await {
            Ok(secrets) => secrets.lines(facts.config, &source.user).into_iter().map(Answer::ok).collect(),
            // Another make of server may lack a catalog; the backup needs none of this.
            Err(e) => vec![Answer::skipped(e.one_line())],
        })
    }
}

/// Names of what holds a secret, or may hold one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Secrets {
    /// User mappings with a secret among their options.
    mappings: Vec<String>,
    /// Those whose options are not shown, or that have none.
    unseen: Vec<String>,
    /// Foreign servers with a secret among their own options.
    servers: Vec<String>,
    subscriptions: Vec<String>,
    /// pg_dump leaves subscriptions out for this role.
    no_subscriptions: bool,
}

impl Secrets {
    async fn read(session: &Session) -> Result<Secrets> {
        let names = |rows: &[Row]| -> Vec<String> {
            rows.iter().map(|r| String::from_utf8_lossy(&r.get::<_, Raw>(0).0).into_owned()).collect()
        };
        let ask = async |sql: &str| {
            session.query_typed(sql, &[]).await.map_err(|e| answer::error("cannot ask which secrets there are", e))
        };
        let mapping = "SELECT u.usename || ' on ' || u.srvname FROM pg_catalog.pg_user_mappings u";
        let held =
            |options: &str| format!("EXISTS (SELECT FROM pg_catalog.pg_options_to_table({options}) WHERE {SECRET})");
        let superuser = ask("SELECT pg_catalog.current_setting('is_superuser') = 'on'").await?;
        let superuser = superuser.first().is_some_and(|row| row.get(0));
        // What subscriptions connect by is shown to superusers alone.
        let password = match superuser {
            true => r"(s.subconninfo ~* 'pass(word)?\s*=' OR s.subconninfo ~ '://[^/@]*:[^@]+@')",
            false => "true",
        };
        let subscriptions = format!(
            "SELECT s.subname FROM pg_catalog.pg_subscription s WHERE {password} AND s.subdbid =
               (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) ORDER BY 1"
        );
        let server =
            format!("SELECT f.srvname FROM pg_catalog.pg_foreign_server f WHERE {} ORDER BY 1", held("f.srvoptions"));
        let with_secret = format!("{mapping} WHERE {} ORDER BY 1", held("u.umoptions"));
        let without = format!("{mapping} WHERE u.umoptions IS NULL ORDER BY 1");
        let (mappings, unseen, servers, subscriptions) =
            tokio::try_join!(ask(&with_secret), ask(&without), ask(&server), ask(&subscriptions))?;
        Ok(Secrets {
            mappings: names(&mappings),
            unseen: if superuser { Vec::new() } else { names(&unseen) },
            servers: names(&servers),
            subscriptions: names(&subscriptions),
            no_subscriptions: !superuser,
        })
    }

    fn lines(&self, config: &BackupConfig, user: &str) -> Vec<String> {
        let filter = &config.filter;
        let encrypted = if config.encryption.is_some() { "encrypted, as all of it is" } else { "or encrypt-to" };
        let mut lines = Vec::new();
        if !self.mappings.is_empty() && !filter.no_user_mappings {
            let names = some(&self.mappings);
            lines.push(format!(
                "the archive holds secrets of user mappings: {names} (no-user-mappings leaves them out; {encrypted})"
            ));
        }
        if !self.unseen.is_empty() && !filter.no_user_mappings {
            let names = some(&self.unseen);
            lines.push(format!(
                "options of user mappings that role {user} is not shown are not in the archive: {names} (ALTER USER MAPPING after a restore)"
            ));
        }
        if !self.servers.is_empty() {
            let names = some(&self.servers);
            lines
                .push(format!("the archive holds secrets among the options of foreign servers: {names} ({encrypted})"));
        }
        if !self.subscriptions.is_empty() && !filter.no_subscriptions {
            let names = some(&self.subscriptions);
            lines.push(match self.no_subscriptions {
                true => format!("subscriptions are not in the archive: {names} (pg_dump takes them for a superuser alone)"),
                false => format!("the archive holds passwords of subscriptions: {names} (no-subscriptions leaves them out; {encrypted})"),
            });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{postgres::conninfo::Target, store::Destination};

    #[test]
    fn what_is_left_out_is_not_told() {
        let target = Target::parse("postgresql://u@h/d").expect("a URL");
        let mut config = BackupConfig::new(target, Destination::parse("/tmp").expect("a folder"));
        assert_eq!(Secrets::default().lines(&config, "u"), Vec::<String>::new());
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let secrets = Secrets {
            mappings: list(&["a on s"]),
            unseen: list(&["b on s"]),
            servers: list(&["s"]),
            subscriptions: list(&["sub"]),
            no_subscriptions: false,
        };
        insta::assert_snapshot!("secrets", secrets.lines(&config, "u").join("\n"));
        (config.filter.no_user_mappings, config.filter.no_subscriptions) = (true, true);
        assert_eq!(secrets.lines(&config, "u").len(), 1, "a server cannot be left out");
        config.filter.no_subscriptions = false;
        let plain = Secrets { no_subscriptions: true, ..secrets };
        assert!(plain.lines(&config, "u").iter().any(|l| l.starts_with("subscriptions are not in the archive: sub")));
    }
}
