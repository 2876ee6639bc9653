//! The restored copy is opened to a program of the team's, such as a migration that is rehearsed on it.

use super::{database, door::Door, server::Server};
use crate::{
    archive::database::Statement,
    error::{Error, Kind, Result},
    postgres::{
        answer,
        connect::{self, Session},
        conninfo::Target,
        quote::{literal, quote},
    },
    secret::Secret,
};
use std::time::{Duration, Instant};

/// The role of whoever looks on while the program is at work.
pub const OBSERVER: &str = "savepoint_observer";

/// How long the server may take to ask for passwords.
const SHUT_WITHIN: Duration = Duration::from_secs(30);

/// Whom the restored copy is opened to.
pub struct Who<'a> {
    /// The source database's name.
    pub database: &'a str,
    /// The source's user.
    pub user: &'a str,
    /// The role that was asked for.
    pub role: Option<&'a str>,
    /// The statements that give a database of a name what the source's had.
    pub properties: &'a (dyn Fn(&str) -> Vec<Statement> + Sync),
}

/// A copy that is open for as long as this lives.
#[derive(Debug)]
pub struct Admitted {
    /// How we go on to look at it: everything may be seen.
    pub observer: Target,
    /// How the program reaches it.
    pub inside: Target,
    /// What it lacks.
    pub notes: Vec<String>,
    door: Option<Door>,
}

impl Admitted {
    /// Whether it lies on the built-in server, where nobody else is at work.
    pub fn is_ours(&self) -> bool {
        self.door.is_some()
    }
}

/// Opens the restored copy to a program, which is to meet it as it would meet the source: under its name where that can be, with its owner,
/// grants and settings, as a role of its own; on the built-in server by TCP on this machine alone, and with a password.
///
/// # Errors
/// [`Kind::Refused`] when the role is not there; when the server does not take it.
pub async fn admit(server: &mut Server, copy: &Target, who: Who<'_>) -> Result<Admitted> {
    if server.cluster().is_none() {
        // Somebody else's server has users, names and rules of its own.
        return Ok(Admitted { observer: copy.clone(), inside: copy.clone(), notes: Vec::new(), door: None });
    }
    let session = server.session().await?;
    let failed = |e| answer::error("the restored copy cannot be opened to the command", e);
    let rename = format!("ALTER DATABASE {} RENAME TO {}", quote(&copy.dbname), quote(who.database));
    let dbname = match session.batch_execute(&rename).await {
        Ok(()) => who.database.to_owned(),
        // There is one of this name, or a worker of an extension is at work in it.
        Err(e) if e.as_db_error().is_some() => copy.dbname.clone(),
        Err(e) => return Err(failed(e)),
    };
    server.renamed(&copy.dbname, &dbname);
    let refused = database::apply(&session, &(who.properties)(&dbname)).await?;
    let refuses = |(label, code)| format!("database: {label}: the throwaway server refuses it (SQLSTATE {code})");
    let notes = refused.into_iter().map(refuses).collect();
    let role = role(&session, &dbname, &who).await?;
    let (password, own) = (random(), random());
    let sql = format!(
        "ALTER ROLE {} LOGIN PASSWORD {}; CREATE ROLE {OBSERVER} SUPERUSER LOGIN PASSWORD {}",
        quote(&role),
        literal(&password),
        literal(&own)
    );
    session.batch_execute(&sql).await.map_err(failed)?;
    let cluster = server.cluster().ok_or_else(|| Error::new(Kind::Throwaway, "the throwaway server is gone"))?;
    cluster.ask_for_passwords()?;
    session.batch_execute("SELECT pg_catalog.pg_reload_conf()").await.map_err(failed)?;
    shut(&copy.with_dbname("postgres")).await?;
    let door = Door::open(cluster.socket_file()).await?;
    let of = |user: &str, password: String| Target {
        user: user.to_owned(),
        password: Some(Secret::new(password)),
        ..copy.with_dbname(&dbname)
    };
    let observer = of(OBSERVER, own);
    let inside = Target { host: "127.0.0.1".into(), port: door.port(), ..of(&role, password) };
    server.reached_by(observer.with_dbname("postgres"));
    Ok(Admitted { observer, inside, notes, door: Some(door) })
}

/// The role that the program comes in as: the one that was asked for, else the source's user, else the database's owner.
async fn role(session: &Session, dbname: &str, who: &Who<'_>) -> Result<String> {
    let failed = |e| answer::error("cannot list the throwaway server's roles", e);
    let sql = "SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_' ORDER BY 1";
    let all: Vec<String> = session.query(sql, &[]).await.map_err(failed)?.iter().map(|row| row.get(0)).collect();
    match who.role {
        Some(role) if all.iter().any(|known| known == role) => Ok(role.to_owned()),
        Some(role) => {
            Err(Error::new(Kind::Refused, format!("option rehearse-role: the backup names no role {role:?}"))
                .hint(format!("use one of {}", all.join(", "))))
        }
        None if all.iter().any(|known| known == who.user) => Ok(who.user.to_owned()),
        None => {
            let sql = format!(
                "SELECT pg_catalog.pg_get_userbyid(datdba)::pg_catalog.text FROM pg_catalog.pg_database WHERE datname = {}",
                literal(dbname)
            );
            Ok(session.query_one(&sql, &[]).await.map_err(failed)?.get(0))
        }
    }
}

/// Waits until the server lets nobody in without a password: it reads its rules some time after it was told to.
async fn shut(without: &Target) -> Result<()> {
    let deadline = Instant::now() + SHUT_WITHIN;
    while connect::connect(without, "savepoint rehearsal").await.is_ok() {
        if Instant::now() > deadline {
            return Err(Error::new(Kind::Throwaway, "the throwaway server goes on to let everybody in"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// A password that nobody guesses.
fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
