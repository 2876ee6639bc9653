//! What a server said when it refused, as an error with a cure.

use crate::error::{Error, Kind};

/// What the server names when its table of locks is full, whatever its language.
const LOCKS_SETTING: &str = "max_locks_per_transaction";

/// What the server said when it refused.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// The server's own hint.
    pub hint: Option<String>,
    /// Where in a function or a COPY.
    pub place: Option<String>,
}

impl Said {
    /// Fields of an ErrorResponse: a type byte and a string each, zero-terminated.
    pub(super) fn parse(body: &[u8]) -> Said {
        let mut said = Said::default();
        for field in body.split(|&b| b == 0) {
            let Some((kind, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text).into_owned();
            match kind {
                b'C' => said.code = text,
                b'M' => said.message = text,
                b'D' => said.detail = Some(text),
                b'H' => said.hint = Some(text),
                b'W' => said.place = Some(text),
                _ => {}
            }
        }
        said
    }
}

/// Turns a failure of tokio-postgres into ours (`Kind::Database`): what was being done, the server's message, detail
/// and SQLSTATE, and the server's hint or a better one.
pub fn error(what: &str, e: tokio_postgres::Error) -> Error {
    let Some(db) = e.as_db_error() else {
        return Error::new(Kind::Database, what).because(e);
    };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    said(
        what,
        &Said {
            code: db.code().code().to_owned(),
            message: db.message().to_owned(),
            detail: owned(db.detail()),
            hint: owned(db.hint()),
            place: owned(db.where_()),
        },
    )
}

/// The same for what the server said over a [`super::wire::Wire`].
pub(super) fn said(what: &str, db: &Said) -> Error {
    let code = db.code.as_str();
    let mut message = format!("{what}: {} (SQLSTATE {code})", db.message);
    for extra in [&db.detail, &db.place].into_iter().flatten() {
        message.push_str(": ");
        message.push_str(extra);
    }
    // Out of (shared) memory has many causes; the hint alone tells this one.
    let locks = code == "53200" && db.hint.as_ref().is_some_and(|hint| hint.contains(LOCKS_SETTING));
    let error = Error::new(if locks { Kind::LocksFull } else { Kind::Database }, message);
    let ours = match code {
        "28P01" => "check user and password; characters like / : @ % in a URL's password are percent-encoded",
        "28000" => {
            "check the user first: a role that does not exist or may not log in is refused so; then database, sslmode and address, \
             for which the server's pg_hba.conf may have no line"
        }
        "3D000" => "check the database name at the end of the URL",
        "53300" => {
            "end idle sessions, raise max_connections or the CONNECTION LIMIT of the role or the database, or lower --jobs"
        }
        "57P03" => "the server is starting or shutting down: try again in a moment",
        "57P01" | "57P02" => "the server, or an administrator, ended the connection: see the server's log",
        "40001" if db.message.contains("recovery") => {
            "the standby had to cancel the backup to go on replaying: back up from the primary, or raise max_standby_streaming_delay"
        }
        "55P03" => "another session holds a stronger lock: try again when no migration is running",
        "42501" => "grant the backup's role what it lacks: GRANT pg_read_all_data TO role (PostgreSQL 14 and later)",
        _ => {
            return match &db.hint {
                Some(hint) => error.hint(hint),
                None => error,
            };
        }
    };
    error.hint(ours)
}
