//! The server that the archive is restored into: the built-in throwaway one, or the one behind `verify-url`.

use super::{
    cluster::{self, Cluster, ClusterOptions},
    limits::Guarded,
};
use crate::{
    engine::Engine,
    error::{Error, Kind, Result},
    postgres::{
        answer,
        connect::{self, Session},
        conninfo::Target,
        pooler,
        quote::{literal, quote},
        tools::Tools,
    },
    progress::{Event, Progress},
    vault::{
        manifest::{Extension, Role, Source},
        proof::ProofServer,
    },
};
use std::{collections::BTreeSet, path::Path};

/// The database that the archive is restored into on the built-in server.
const DATABASE: &str = "savepoint_proof";

/// Settings that a throwaway database is given for itself.
pub(super) const OWN_SETTINGS: [&str; 2] = ["default_toast_compression", "lc_monetary"];

/// A running server, and what we made on it.
pub struct Server {
    cluster: Option<Cluster>,
    maintenance: Target,
    version: String,
    made_databases: Vec<String>,
    made_roles: Vec<String>,
}

impl Server {
    /// Starts the built-in server in `folder`, with the source's bootstrap superuser, ready for its extensions.
    pub async fn built_in(
        tools: &Tools,
        folder: &Path,
        source: &Source,
        extensions: &[Extension],
        engine: &Engine,
        guarded: Guarded,
        logs_wal: bool,
    ) -> Result<Server> {
        let cluster = Cluster::create(ClusterOptions {
            tools,
            folder: folder.to_owned(),
            superuser: source.bootstrap_role.clone(),
            locales: locales(source),
            lc_monetary: source.lc_monetary.clone(),
            extensions,
            libraries: &source.preloaded,
            database: DATABASE,
            jobs: engine.jobs,
            memory: None,
            logs_wal,
            guarded,
        })
        .await?;
        let maintenance = cluster.target("postgres").with_stall(engine.stall);
        Self::connected(Some(cluster), maintenance).await
    }

    /// Uses a server of the caller's. It must run the source's major version.
    pub async fn at(target: &Target, source: &Source) -> Result<Server> {
        let of_the_option = |e: Error| e.context("verify-url");
        pooler::refuse(target, "savepoint proof").await.map_err(of_the_option)?;
        let server = Self::connected(None, target.clone()).await.map_err(of_the_option)?;
        let major: u32 = server.version.split(['.', ' ']).next().and_then(|v| v.parse().ok()).unwrap_or_default();
        if major != source.major {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "the server at verify-url runs PostgreSQL {}, the source {}",
                    server.version, source.server_version
                ),
            )
            .hint(format!("point verify-url at a server of PostgreSQL {}", source.major)));
        }
        Ok(server)
    }

    async fn connected(cluster: Option<Cluster>, maintenance: Target) -> Result<Server> {
        let session = connect::connect(&maintenance, "savepoint proof").await?;
        let row = session.query_one("SELECT pg_catalog.current_setting('server_version')", &[]).await;
        let version = row.map_err(|e| answer::error("cannot ask the throwaway server", e))?.get(0);
        Ok(Server { cluster, maintenance, version, made_databases: Vec::new(), made_roles: Vec::new() })
    }

    /// What a proof record says of it.
    pub fn describe(&self) -> ProofServer {
        let kind = if self.cluster.is_some() { "built-in" } else { "verify-url" };
        ProofServer { kind: kind.into(), version: self.version.clone() }
    }

    /// Whether nothing that a dump says gets out of it.
    pub fn is_caged(&self) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.uncaged().is_none())
    }

    /// That the built-in server runs without its cage, and why.
    pub fn uncaged(&self) -> Option<String> {
        let why = self.cluster.as_ref()?.uncaged()?;
        Some(format!("the throwaway server runs without a sandbox: {why}"))
    }

    /// What came of work with the server; where that was ended because it passed a limit, or broke off because its disk was full, that:
    /// from here it looks like a connection that broke.
    ///
    /// # Errors
    /// Those of the work.
    pub fn judge<T>(&self, came: Result<T>) -> Result<T> {
        let Some(cluster) = &self.cluster else { return came };
        match (cluster.passed(), came) {
            (Some(passed), _) => Err(passed),
            (None, Err(e)) => Err(cluster.ran_out_of_disk().unwrap_or(e)),
            (None, Ok(came)) => Ok(came),
        }
    }

    /// A session in the maintenance database.
    pub async fn session(&self) -> Result<Session> {
        connect::connect(&self.maintenance, "savepoint proof").await
    }

    /// Names of extensions that the server can create, and of those libraries that it has loaded at its start.
    pub async fn extensions(&self) -> Result<(BTreeSet<String>, String)> {
        let session = self.session().await?;
        let failed = |e| answer::error("cannot list the throwaway server's extensions", e);
        let rows = session.query("SELECT name::pg_catalog.text FROM pg_catalog.pg_available_extensions", &[]).await;
        let names = rows.map_err(failed)?.iter().map(|r| r.get(0)).collect();
        let row = session.query_one("SELECT pg_catalog.current_setting('shared_preload_libraries')", &[]).await;
        Ok((names, row.map_err(failed)?.get(0)))
    }

    /// Creates the roles that are not there yet, without login.
    pub async fn create_roles(&mut self, roles: &[Role], progress: &dyn Progress) -> Result<()> {
        let session = self.session().await?;
        for role in roles {
            let exists = format!("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = {}", literal(&role.name));
            let there = session.query_opt(&exists, &[]).await;
            if there.map_err(|e| answer::error("cannot list the throwaway server's roles", e))?.is_some() {
                continue;
            }
            let superuser = if role.superuser && self.cluster.is_some() { " SUPERUSER" } else { "" };
            let sql = format!("CREATE ROLE {} NOLOGIN{superuser}", quote(&role.name));
            session.batch_execute(&sql).await.map_err(|e| {
                answer::error(&format!("cannot create role {} on the throwaway server", role.name), e)
                    .hint("the role of verify-url needs CREATEROLE, best SUPERUSER")
            })?;
            progress.event(Event::Detail(&format!("created role {} on the throwaway server", role.name)));
            self.made_roles.push(role.name.clone());
        }
        Ok(())
    }

    /// Creates an empty database like the source's. Returns where it is, and what its differences leave unproven.
    pub async fn create_database(&mut self, source: &Source, suffix: &str) -> Result<(Target, Vec<String>)> {
        let name = match &self.cluster {
            Some(_) => format!("{DATABASE}{suffix}"),
            None => format!("{DATABASE}_{}{suffix}", &uuid::Uuid::new_v4().simple().to_string()[..8]),
        };
        let session = self.session().await?;
        self.made_databases.push(name.clone());
        let mut notes = cluster::create_database(&session, source, &name).await?;
        if self.cluster.is_some() {
            // Many times as fast as pglz, and a value's text is the same. Not every server is built with it.
            let lz4 = "SELECT 1 FROM pg_catalog.pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)";
            let known = session.query_typed_opt(lz4, &[]).await;
            if known.map_err(|e| answer::error("cannot ask the throwaway server", e))?.is_some() {
                let sql = format!("ALTER DATABASE {} SET default_toast_compression TO lz4", quote(&name));
                session
                    .batch_execute(&sql)
                    .await
                    .map_err(|e| answer::error("cannot set up the throwaway database", e))?;
            }
        } else {
            // pg_dump writes amounts of money as the source's lc_monetary prints them.
            let sql = format!("ALTER DATABASE {} SET lc_monetary TO {}", quote(&name), literal(&source.lc_monetary));
            if session.batch_execute(&sql).await.is_err() {
                notes.push(format!("amounts of type money: verify-url lacks the locale {}", source.lc_monetary));
            }
        }
        notes.extend(self.cluster.iter().flat_map(|c| c.notes().iter().cloned()));
        Ok((self.maintenance.with_dbname(&name), notes))
    }

    /// Bytes of the built-in server's log.
    pub fn log_length(&self) -> u64 {
        self.cluster.as_ref().map_or(0, Cluster::log_length)
    }

    /// The errors in it behind so many bytes.
    pub fn errors_behind(&self, length: u64) -> Vec<String> {
        self.cluster.as_ref().map(|cluster| cluster.errors_behind(length)).unwrap_or_default()
    }

    /// The built-in server's files.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// A database that was made here has another name now.
    pub(super) fn renamed(&mut self, was: &str, is: &str) {
        for made in self.made_databases.iter_mut().filter(|made| *made == was) {
            is.clone_into(made);
        }
    }

    /// From now on it is reached in another way.
    pub(super) fn reached_by(&mut self, maintenance: Target) {
        self.maintenance = maintenance;
    }

    /// Removes all that was made: the whole server, or the databases and roles on somebody else's. Returns what could not be
    /// removed.
    pub async fn stop(self) -> Vec<String> {
        if let Some(cluster) = self.cluster {
            return cluster.stop().await.err().map(|e| e.one_line()).into_iter().collect();
        }
        let session = match connect::connect(&self.maintenance, "savepoint proof").await {
            Ok(session) => session,
            Err(e) => return vec![e.context("cannot clean up behind verify-url").one_line()],
        };
        let drops = self.made_databases.iter().map(|d| format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote(d)));
        let mut left = Vec::new();
        for sql in drops.chain(self.made_roles.iter().rev().map(|r| format!("DROP ROLE IF EXISTS {}", quote(r)))) {
            if let Err(e) = session.batch_execute(&sql).await {
                left.push(answer::error(&format!("cannot clean up behind verify-url ({sql})"), e).one_line());
            }
        }
        left
    }
}

/// Locales of the C library that the source's database uses.
fn locales(source: &Source) -> Vec<String> {
    let mut names = vec![source.collate.clone(), source.ctype.clone(), source.lc_monetary.clone()];
    names.sort();
    names.dedup();
    names.retain(|n| !n.is_empty());
    names
}
