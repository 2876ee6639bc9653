//! The target's server: what stands there, and what is done to its databases.

use crate::{
    error::{Error, Kind, Result},
    postgres::{
        answer,
        connect::{self, Session},
        conninfo::Target,
        pooler,
        quote::{literal, quote, unquoted},
    },
    verify::extensions::Restoring,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio_postgres::error::SqlState;

/// The name that our sessions carry on the target.
const APPLICATION: &str = "savepoint restore";

/// What the comment of a database that is being restored begins with. A database that a killed restore left behind carries it still.
pub const MARK: &str = "savepoint restore ";

/// How long a swap goes on trying to get the old database for itself alone.
const SWAP_WITHIN: Duration = Duration::from_secs(60);

/// Databases that can be connected to while others are made, renamed and dropped.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];

/// A condition that is true for members of an extension: `{0}` the catalog, `{1}` the OID.
fn member(catalog: &str, oid: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass AND d.objid = {oid} \
         AND d.deptype = 'e')"
    )
}

/// What is in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// User tables, foreign ones included.
    pub tables: u64,
    /// The planner's guess at their rows.
    pub rows_estimate: Option<u64>,
    /// `pg_database_size`, bytes.
    pub bytes: u64,
    /// Other objects of users: views, sequences, functions, types, schemas, large objects.
    pub others: u64,
    /// Encoding.
    pub encoding: String,
    /// Prepared transactions, which keep a database from being renamed or dropped.
    pub prepared: u64,
}

impl Content {
    /// True when a restore can go into it without meeting anything.
    pub fn is_empty(&self) -> bool {
        self.tables == 0 && self.others == 0
    }
}

/// What the target's server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `server_version`.
    pub version: String,
    /// Major version.
    pub major: u32,
    /// The role that we are.
    pub user: String,
    /// Whether it is a superuser.
    pub superuser: bool,
    /// Whether it may make databases.
    pub creates_databases: bool,
    /// Whether it may make roles.
    pub creates_roles: bool,
    /// Databases.
    pub databases: BTreeSet<String>,
    /// Roles.
    pub roles: BTreeSet<String>,
    /// Roles whose objects we may make.
    pub member_of: BTreeSet<String>,
    /// Extensions that can be created.
    pub extensions: BTreeSet<String>,
    /// Extensions of the backup that we may not create, with what the server said.
    pub refused_extensions: BTreeMap<String, String>,
    /// Roles of the backup that are to own something in schema `public` and may not make anything there.
    pub strangers_in_public: BTreeSet<String>,
    /// Databases that a restore left unfinished.
    pub unfinished: Vec<String>,
    /// What is in the target database; `None` when there is no such database.
    pub content: Option<Content>,
}

/// A session in a database in which nothing is restored.
pub struct Maintenance {
    target: Target,
}

impl Maintenance {
    /// Finds a database to work from; the last resort is the target itself.
    pub async fn find(target: &Target) -> Result<Maintenance> {
        let mut first = None;
        for name in MAINTENANCE.iter().filter(|n| **n != target.dbname).chain([&target.dbname.as_str()]) {
            let target = target.with_dbname(name);
            match connect::connect(&target, APPLICATION).await {
                Ok(_) => return Ok(Maintenance { target }),
                Err(e) => _ = first.get_or_insert(e),
            }
        }
        Err(first.unwrap_or_else(|| Error::new(Kind::Database, "no database of the target can be reached")))
    }

    /// The database's name.
    pub fn dbname(&self) -> &str {
        &self.target.dbname
    }

    /// A session in it.
    pub async fn session(&self) -> Result<Session> {
        connect::connect(&self.target, APPLICATION).await
    }

    /// Refuses a server behind a transaction pooler.
    pub async fn is_direct(&self) -> Result<()> {
        pooler::refuse(&self.target, APPLICATION).await
    }

    async fn run(&self, what: &str, statements: &[String]) -> Result<()> {
        let session = self.session().await?;
        for sql in statements {
            session.batch_execute(sql).await.map_err(|e| answer::error(what, e))?;
        }
        Ok(())
    }

    /// Looks at the server, and at the target database on it.
    pub async fn look(&self, target: &Target) -> Result<Facts> {
        let session = self.session().await?;
        let failed = |e| answer::error("cannot look at the target's server", e);
        let row = session
            .query_one(
                "SELECT pg_catalog.current_setting('server_version'),
                        pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000,
                        rolname::pg_catalog.text, rolsuper, rolsuper OR rolcreatedb, rolsuper OR rolcreaterole
                   FROM pg_catalog.pg_roles WHERE rolname = current_user",
                &[],
            )
            .await
            .map_err(failed)?;
        let names = async |sql: &str| -> Result<Vec<String>> {
            Ok(session.query(sql, &[]).await.map_err(failed)?.iter().map(|r| r.get(0)).collect())
        };
        let mut facts = Facts {
            version: row.get(0),
            major: row.get::<_, i32>(1) as u32,
            user: row.get(2),
            superuser: row.get(3),
            creates_databases: row.get(4),
            creates_roles: row.get(5),
            ..Facts::default()
        };
        facts.databases =
            names("SELECT datname::pg_catalog.text FROM pg_catalog.pg_database").await?.into_iter().collect();
        facts.roles = names("SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles").await?.into_iter().collect();
        // From 16 on a member may be one that cannot become the role.
        let member = if facts.major >= 16 { "SET" } else { "MEMBER" };
        let member = format!(
            "SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles WHERE pg_catalog.pg_has_role(oid, '{member}')"
        );
        facts.member_of = names(&member).await?.into_iter().collect();
        let extensions = "SELECT name::pg_catalog.text FROM pg_catalog.pg_available_extensions";
        facts.extensions = names(extensions).await?.into_iter().collect();
        let unfinished = format!(
            "SELECT datname::pg_catalog.text FROM pg_catalog.pg_database
              WHERE pg_catalog.shobj_description(oid, 'pg_database') LIKE {} ORDER BY 1",
            literal(&format!("{MARK}%unfinished%"))
        );
        facts.unfinished = names(&unfinished).await?;
        if facts.databases.contains(&target.dbname) {
            facts.content = Some(content(target).await?);
        }
        Ok(facts)
    }

    /// Tries which of these extensions may be created, and takes each back: hosts let roles that are no superusers create some of
    /// them, by rules that no catalog tells. Where a database is to be made (`new`) another one stands in for it; in one of our own we may
    /// create those that are trusted.
    pub async fn try_extensions(&self, target: &Target, facts: &mut Facts, wanted: &[String], new: bool) -> Result<()> {
        if facts.superuser {
            return Ok(());
        }
        let session = match facts.content {
            Some(_) => connect::connect(target, APPLICATION).await?,
            None => self.session().await?,
        };
        let failed = |e| answer::error("cannot ask which extensions may be created", e);
        let trusted = "SELECT DISTINCT name::pg_catalog.text FROM pg_catalog.pg_available_extension_versions WHERE trusted OR NOT superuser";
        let trusted = session.query(trusted, &[]).await.map_err(failed)?;
        let trusted: BTreeSet<String> = trusted.iter().filter(|_| new).map(|r| r.get(0)).collect();
        for name in wanted.iter().filter(|name| facts.extensions.contains(*name) && !trusted.contains(*name)) {
            session.batch_execute("BEGIN").await.map_err(failed)?;
            let created =
                session.batch_execute(&format!("CREATE EXTENSION IF NOT EXISTS {} CASCADE", quote(name))).await;
            session.batch_execute("ROLLBACK").await.map_err(failed)?;
            // Any other reason may be this database's own.
            if let Err(e) = created
                && e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
            {
                let said = e.as_db_error().map(|e| e.message().to_owned()).unwrap_or_default();
                facts.refused_extensions.insert(name.clone(), said);
            }
        }
        Ok(())
    }

    /// Asks which of these roles may not make anything in schema `public`: nothing there can be given to them. In a database that is to be made
    /// (`new`) it belongs to us, from PostgreSQL 15 on, and to nobody else.
    pub async fn look_at_public(
        &self,
        target: &Target,
        facts: &mut Facts,
        owners: &BTreeSet<String>,
        new: bool,
    ) -> Result<()> {
        if facts.superuser || (new && facts.major < 15) || owners.is_empty() {
            return Ok(());
        }
        let failed = |e| answer::error("cannot ask who may make something in schema public", e);
        let owners: Vec<&String> = owners.iter().collect();
        // A role that is yet to be made has what everybody has.
        let sql = if new {
            "SELECT o FROM pg_catalog.unnest($1::pg_catalog.text[]) o LEFT JOIN pg_catalog.pg_roles r ON r.rolname = o
              WHERE NOT coalesce(r.rolsuper OR pg_catalog.pg_has_role(r.oid, current_user, 'USAGE'), false)"
        } else {
            "SELECT o FROM pg_catalog.pg_namespace n CROSS JOIN pg_catalog.unnest($1::pg_catalog.text[]) o
               LEFT JOIN pg_catalog.pg_roles r ON r.rolname = o
              WHERE n.nspname = 'public' AND o <> current_user AND NOT pg_catalog.has_schema_privilege('public', n.oid, 'CREATE')
                AND NOT coalesce(pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE'), false)"
        };
        let session = match new {
            true => self.session().await?,
            false => connect::connect(target, APPLICATION).await?,
        };
        let rows = session.query(sql, &[&owners]).await.map_err(failed)?;
        facts.strangers_in_public = rows.iter().map(|r| r.get(0)).collect();
        Ok(())
    }

    /// Makes an empty database by this statement, and marks it as unfinished.
    pub async fn create(&self, name: &str, sql: &str, mark: &str) -> Result<()> {
        let session = self.session().await?;
        session.batch_execute(sql).await.map_err(|e| {
            let error = answer::error(&format!("cannot create database {name}"), e);
            match error.hint_text() {
                Some(_) => error,
                None => error.hint(
                    "make an empty database yourself, with an encoding and locale that this server has, and restore into it (without \
                     --create)",
                ),
            }
        })?;
        self.comment(name, Some(mark)).await
    }

    /// Sets or removes a database's comment.
    pub async fn comment(&self, name: &str, text: Option<&str>) -> Result<()> {
        let text = text.map_or("NULL".to_owned(), literal);
        self.run("cannot mark the database", &[format!("COMMENT ON DATABASE {} IS {text}", quote(name))]).await
    }

    /// Waits until everything that was committed so far, by whatever session, is as durable as the server's own `synchronous_commit` says:
    /// WAL is flushed in its order, and this writes the last record.
    pub async fn flush(&self) -> Result<()> {
        let sql = "SELECT pg_catalog.pg_logical_emit_message(true, 'savepoint', 'restored')";
        self.run("cannot make sure of what was restored", &[sql.to_owned()]).await
    }

    /// Drops a database, whoever is connected.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote(name));
        self.run(&format!("cannot drop database {name}"), &[sql]).await
    }

    /// Creates roles without login, and makes us members of them, so that they can come to own things.
    pub async fn create_roles(&self, names: &[String], facts: &Facts) -> Result<()> {
        let session = self.session().await?;
        for name in names {
            let failed = |e| {
                answer::error(&format!("cannot create role {name}"), e)
                    .hint("let a superuser create it, or restore with --no-owner")
            };
            session.batch_execute(&format!("CREATE ROLE {} NOLOGIN", quote(name))).await.map_err(failed)?;
            if !facts.superuser {
                let grant = format!("GRANT {} TO {}", quote(name), quote(&facts.user));
                session.batch_execute(&grant).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Gives `to` what belongs to the database `from` itself: owner, privileges, settings, connection limit, comment.
    pub async fn carry_over(&self, from: &str, to: &str) -> Result<()> {
        let session = self.session().await?;
        let failed = |e| answer::error(&format!("cannot read the settings of database {from}"), e);
        let row = session
            .query_one(
                "SELECT d.oid, pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text, d.datconnlimit, d.datacl IS NOT NULL,
                        pg_catalog.shobj_description(d.oid, 'pg_database'), d.datistemplate
                   FROM pg_catalog.pg_database d WHERE d.datname = $1",
                &[&from],
            )
            .await
            .map_err(failed)?;
        let (oid, owner, limit): (u32, String, i32) = (row.get(0), row.get(1), row.get(2));
        let (has_acl, comment, template): (bool, Option<String>, bool) = (row.get(3), row.get(4), row.get(5));
        let name = quote(to);
        let mut sql = Vec::new();
        for row in session
            .query(
                "SELECT r.rolname::pg_catalog.text, pg_catalog.unnest(s.setconfig) FROM pg_catalog.pg_db_role_setting s
                   LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = $1",
                &[&oid],
            )
            .await
            .map_err(failed)?
        {
            let (role, setting): (Option<String>, String) = (row.get(0), row.get(1));
            let Some((parameter, value)) = setting.split_once('=') else { continue };
            let whose = match role {
                Some(role) => format!("ALTER ROLE {} IN DATABASE {name}", quote(&role)),
                None => format!("ALTER DATABASE {name}"),
            };
            sql.push(format!("{whose} SET {} TO {}", parameter_name(parameter), setting_value(parameter, value)));
        }
        if limit != -1 {
            sql.push(format!("ALTER DATABASE {name} CONNECTION LIMIT {limit}"));
        }
        if template {
            sql.push(format!("ALTER DATABASE {name} IS_TEMPLATE true"));
        }
        let comment = comment.filter(|c| !c.starts_with(MARK)).map_or("NULL".to_owned(), |c| literal(&c));
        sql.push(format!("COMMENT ON DATABASE {name} IS {comment}"));
        if has_acl {
            let grants = "SELECT a.privilege_type, coalesce(r.rolname::pg_catalog.text, ''), a.is_grantable
                   FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
                   LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee WHERE d.oid = $1";
            sql.push(format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"));
            for row in session.query(grants, &[&oid]).await.map_err(failed)? {
                let (privilege, grantee, option): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
                let grantee = if grantee.is_empty() { "PUBLIC".to_owned() } else { quote(&grantee) };
                let option = if option { " WITH GRANT OPTION" } else { "" };
                sql.push(format!("GRANT {privilege} ON DATABASE {name} TO {grantee}{option}"));
            }
        }
        // Last: afterwards the rest may no longer be ours to change.
        sql.push(format!("ALTER DATABASE {name} OWNER TO {}", quote(&owner)));
        self.run(&format!("cannot give database {to} the settings of {from}"), &sql).await
    }

    /// Renames `old` to `aside` and `new` to `old`, both or none: in one transaction. The first rename takes a lock that lets no new
    /// session in and waits a few seconds for the others to leave; meanwhile a second session of ours ends them. Clients that come
    /// in between wait, are told once that the database was renamed, and reach the new one with their next attempt.
    pub async fn swap(&self, old: &str, aside: &str, new: &str) -> Result<()> {
        let session = self.session().await?;
        let killer = self.session().await?;
        let failed = |e| answer::error(&format!("cannot put database {new} into the place of {old}"), e);
        let others = "SELECT pid FROM pg_catalog.pg_stat_activity
                       WHERE datname = ANY ($1::pg_catalog.text[]) AND pid <> pg_catalog.pg_backend_pid()";
        let both = vec![old.to_owned(), new.to_owned()];
        let begun = Instant::now();
        loop {
            let rename = format!(
                "BEGIN; SET LOCAL lock_timeout = '10s'; ALTER DATABASE {old} RENAME TO {aside}; ALTER DATABASE {new} RENAME TO {old}; COMMIT",
                old = quote(old),
                aside = quote(aside),
                new = quote(new)
            );
            let refused = std::sync::Mutex::new(None);
            let ending = async {
                loop {
                    // Each by itself: one that is a superuser's must not shield the others.
                    for row in killer.query(others, &[&both]).await.unwrap_or_default() {
                        let end = format!("SELECT pg_catalog.pg_terminate_backend({})", row.get::<_, i32>(0));
                        if let Err(e) = killer.batch_execute(&end).await {
                            *refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(e);
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            let renamed = tokio::select! {
                renamed = session.batch_execute(&rename) => renamed,
                () = ending => Ok(()),
            };
            let Err(e) = renamed else { return Ok(()) };
            session.batch_execute("ROLLBACK").await.map_err(failed)?;
            let busy = e.code().is_some_and(|c| ["55006", "55P03"].contains(&c.code()));
            if !busy || begun.elapsed() > SWAP_WITHIN {
                let error = failed(e);
                let refused = refused.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
                return Err(match refused {
                    Some(e) => error.hint(format!(
                        "its sessions could not be ended ({}): end them, or let a role that may (a superuser, or a member of \
                         pg_signal_backend) do the swap",
                        answer::error("pg_terminate_backend", e).one_line()
                    )),
                    None => error,
                });
            }
        }
    }
}

/// A name as it stands in `ALTER DATABASE … SET`: parts of a custom one are quoted each.
fn parameter_name(name: &str) -> String {
    name.split('.').map(quote).collect::<Vec<_>>().join(".")
}

/// Values of parameters that are lists of names are kept by the server as it quotes them itself, so they go back as they are (see
/// `variable_is_guc_list_quote` in PostgreSQL's `dumputils.c`); other values are one literal.
fn setting_value(name: &str, value: &str) -> String {
    const LISTS: [&str; 6] = [
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    ];
    if LISTS.contains(&name.to_ascii_lowercase().as_str()) && !value.is_empty() {
        let names = unquoted(value.as_bytes(), b',');
        return names.iter().map(|n| literal(&String::from_utf8_lossy(n))).collect::<Vec<_>>().join(", ");
    }
    literal(value)
}

/// What is in a database.
pub async fn content(target: &Target) -> Result<Content> {
    let session = connect::connect(target, APPLICATION).await?;
    let class = member("pg_class", "c.oid");
    let others: Vec<String> = objects(false).into_iter().map(|sql| format!("({sql})")).collect();
    let sql = format!(
        "WITH o AS ({})
         SELECT (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT {class}),
                (SELECT CASE WHEN bool_or(c.reltuples < 0 AND c.relpages = 0 AND pg_catalog.pg_relation_size(c.oid) > 0) THEN NULL
                        ELSE coalesce(sum(greatest(c.reltuples, 0)), 0) END::pg_catalog.float8 FROM pg_catalog.pg_class c
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'),
                pg_catalog.pg_database_size(pg_catalog.current_database()),
                (SELECT count(*) FROM o) + (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata),
                pg_catalog.getdatabaseencoding()::pg_catalog.text,
                (SELECT count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database())",
        others.join(" UNION ALL ")
    );
    let row =
        session.query_one(&sql, &[]).await.map_err(|e| answer::error("cannot look into the target database", e))?;
    let tables = row.get::<_, i64>(0) as u64;
    Ok(Content {
        tables,
        rows_estimate: row.get::<_, Option<f64>>(1).map(|rows| rows as u64),
        bytes: row.get::<_, i64>(2).max(0) as u64,
        others: (row.get::<_, i64>(3) as u64).saturating_sub(tables),
        encoding: row.get(4),
        prepared: row.get::<_, i64>(5) as u64,
    })
}

/// Queries for the objects of users in a database, as `classid, objid`: schemas, and what lies in `public` or in none. With `inside`
/// false also what lies in other schemas, which goes with them.
fn objects(only_public: bool) -> Vec<String> {
    let place = match only_public {
        true => "n.nspname = 'public'",
        false => "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'",
    };
    let query = |catalog: &str, namespace: &str, condition: &str| {
        let from = match namespace {
            "" => format!("pg_catalog.{catalog} o WHERE true"),
            column => {
                format!("pg_catalog.{catalog} o JOIN pg_catalog.pg_namespace n ON n.oid = o.{column} WHERE {place}")
            }
        };
        format!(
            "SELECT 'pg_catalog.{catalog}'::pg_catalog.regclass::pg_catalog.oid AS classid, o.oid AS objid FROM {from} AND {condition} AND NOT {}",
            member(catalog, "o.oid")
        )
    };
    // What initdb made has a lower OID.
    let ours = "o.oid >= 16384";
    vec![
        query(
            "pg_namespace",
            "",
            "o.nspname !~ '^pg_' AND o.nspname NOT IN ('information_schema', 'public')",
        ),
        query("pg_class", "relnamespace", "o.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')"),
        query("pg_proc", "pronamespace", "true"),
        query(
            "pg_type",
            "typnamespace",
            "(o.typrelid = 0 OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = o.typrelid AND c.relkind = 'c'))
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = o.oid) AND o.typtype <> 'm'",
        ),
        query("pg_operator", "oprnamespace", "true"),
        query("pg_opfamily", "opfnamespace", "true"),
        query("pg_collation", "collnamespace", "true"),
        query("pg_conversion", "connamespace", "true"),
        query("pg_ts_config", "cfgnamespace", "true"),
        query("pg_ts_dict", "dictnamespace", "true"),
        query("pg_statistic_ext", "stxnamespace", "true"),
        query("pg_event_trigger", "", "true"),
        query("pg_publication", "", "true"),
        query("pg_foreign_data_wrapper", "", ours),
        query("pg_foreign_server", "", ours),
        query("pg_cast", "", ours),
        query("pg_language", "", ours),
        query("pg_am", "", ours),
    ]
}

/// Removes everything of users' from a database, in one transaction: schemas, what lies in `public`, large objects, and what lies in no
/// schema. Extensions outside of the removed schemas stay.
pub async fn wipe(target: &Target) -> Result<()> {
    // An extension that waits for the end of a restore lets nothing of its own go. Should it not answer, the drop says what is wrong.
    if let Ok(restoring) = Restoring::left(target).await {
        let _ = restoring.end(target).await;
    }
    let session = connect::connect(target, APPLICATION).await?;
    let failed = |e| answer::error(&format!("cannot empty database {}", target.dbname), e);
    session
        .batch_execute("SELECT pg_catalog.set_config('search_path', '', false); SET lock_timeout = '60s'; BEGIN")
        .await
        .map_err(failed)?;
    let all = objects(true).join(" UNION ALL ");
    let sql = format!(
        "SELECT pg_catalog.upper(i.type), i.identity FROM ({all}) o
          CROSS JOIN LATERAL pg_catalog.pg_identify_object(o.classid, o.objid, 0) i"
    );
    for row in session.query(&sql, &[]).await.map_err(failed)? {
        let (kind, identity): (String, String) = (row.get(0), row.get(1));
        // The objects before may have taken this one with them.
        session.batch_execute(&format!("DROP {kind} IF EXISTS {identity} CASCADE")).await.map_err(failed)?;
    }
    session
        .batch_execute("SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata; COMMIT")
        .await
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_go_back_as_the_server_keeps_them() {
        assert_eq!(setting_value("work_mem", "64MB"), "'64MB'");
        assert_eq!(setting_value("search_path", "\"$user\", public, \"a,\"\"b\""), "'$user', 'public', 'a,\"b'");
        assert_eq!(setting_value("search_path", ""), "''");
        assert_eq!(setting_value("app.motto", "it's"), "'it''s'");
        assert_eq!(parameter_name("app.motto"), "\"app\".\"motto\"");
    }
}
