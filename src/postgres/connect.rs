//! Connections: TLS, session settings, errors that say what the server said.

use crate::{
    error::{Error, Kind, Result},
    postgres::{
        answer,
        conninfo::{SslMode, Target, unreachable_hint},
        quote::literal,
        tls,
        watch::{self, Said, Stalled},
        wire::{Slot, Tap, TapConnect, Wire},
    },
};
use socket2::{SockRef, TcpKeepalive};
use std::error::Error as _;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding, SslMode as Tls};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::either::Either;

/// A connection to the server. Derefs to [`Client`]; dropping it closes the connection.
pub struct Session {
    client: Client,
    task: JoinHandle<()>,
    end: Arc<Mutex<Option<Error>>>,
    what: String,
    slot: Slot,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.what)
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// The process id of the server process behind this connection.
    pub async fn backend_pid(&self) -> Result<i32> {
        self.backend_pid_behind("").await
    }

    /// The same, in one round trip behind other statements. By the simple protocol: a prepared statement may be unknown to the next
    /// process of a pooler.
    pub(super) async fn backend_pid_behind(&self, begin: &str) -> Result<i32> {
        let pid = self.simple_value(&format!("{begin}SELECT pg_catalog.pg_backend_pid()")).await;
        let pid = pid.map_err(|e| self.explain("cannot ask for the server process", e))?;
        pid.and_then(|p| p.parse().ok())
            .ok_or_else(|| Error::new(Kind::Database, "the server does not name its process"))
    }

    /// The first column of the first row, by the simple protocol: nothing is prepared on the server.
    pub async fn simple_value(&self, sql: &str) -> std::result::Result<Option<String>, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        Ok(messages.iter().find_map(|m| match m {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    /// Takes the connection over for reading rows; its transaction goes on. Nothing else may be under way on it.
    pub async fn into_wire(self) -> Result<Wire> {
        // What the driver still has to say (it closes prepared statements behind their last use) is said and answered before this is.
        self.client.batch_execute("").await.map_err(|e| self.explain(&self.what, e))?;
        let taken = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.map(Wire::new).ok_or_else(|| Error::new(Kind::Database, format!("{}: it is closed", self.what)))
    }

    /// Like [`answer::error`], but when the connection died, says what the server or the network said as it died, where
    /// tokio-postgres knows only "connection closed".
    pub fn explain(&self, what: &str, e: tokio_postgres::Error) -> Error {
        if !e.is_closed() {
            return answer::error(what, e);
        }
        match self.end.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(end) => {
                let error = Error::new(Kind::Database, format!("{what}: {}", end.one_line()));
                match end.hint_text() {
                    Some(hint) => error.hint(hint),
                    None => error,
                }
            }
            None => answer::error(what, e).context(&self.what),
        }
    }
}

/// Opens a connection. TCP keepalives are sent after 30 s of silence; `connect_timeout` (default 15 s) bounds everything
/// up to the server's first readiness; from then on a silent server is looked into (see `watch`). Fails with `Kind::Database`, or
/// `Kind::Usage` for TLS files that cannot be used.
pub async fn connect(target: &Target, application_name: &str) -> Result<Session> {
    let session = unwatched(target, application_name).await?;
    let what = format!("connecting to {}", target.redacted());
    let limit = target.timeout();
    let pid = tokio::time::timeout(limit, session.backend_pid()).await;
    let pid = pid.map_err(|_| Error::new(Kind::Database, format!("{what}: no answer within {limit:?}")))?;
    let pid = pid.map_err(|e| e.context(&what))?;
    look_after(&session, target, pid);
    Ok(session)
}

/// From here on somebody looks after a session; nothing is under way on it. `pid`: of the server's process behind it.
pub(super) fn look_after(session: &Session, target: &Target, pid: i32) {
    let pulse = session.slot.lock().unwrap_or_else(PoisonError::into_inner).pulse();
    let asked = target.clone();
    watch::watch(&pulse, target.stall, target.redacted(), Box::new(move || Box::pin(look(asked.clone(), pid))));
}

/// Asks the server about a session, over another connection.
async fn look(target: Target, pid: i32) -> Said {
    look_at(&target, &format!("pid = {pid}")).await
}

/// Asks the server about all sessions of this name: what the busiest of them does.
pub(super) async fn look_by_name(target: &Target, application_name: &str) -> Said {
    // A pooler may add something to it.
    let named = |name: &str| format!("pg_catalog.strpos(application_name, {}) > 0", literal(name));
    match look_at(target, &named(application_name)).await {
        // One that does not hand names on shows none of ours: what it serves cannot be found, and it answers.
        Said::Gone if matches!(look_at(target, &named(SIGN_OF_LIFE)).await, Said::Gone) => Said::Works,
        said => said,
    }
}

/// The name of a session that looks.
const SIGN_OF_LIFE: &str = "savepoint sign of life";

async fn look_at(target: &Target, which: &str) -> Said {
    let asked = async {
        let session = unwatched(target, SIGN_OF_LIFE).await?;
        let sql = format!(
            "SELECT state, wait_event_type, wait_event \
             FROM pg_catalog.pg_stat_activity WHERE {which} \
             ORDER BY state = 'active' AND wait_event_type IS DISTINCT FROM 'Client' DESC NULLS LAST, state = 'active' DESC NULLS LAST LIMIT 1"
        );
        let rows = session.simple_query(&sql).await.map_err(|e| session.explain("a sign of life", e))?;
        let row = rows
            .iter()
            .find_map(|m| if let tokio_postgres::SimpleQueryMessage::Row(row) = m { Some(row) } else { None });
        let Some(row) = row else { return Ok(Said::Gone) };
        let get = |n| row.get(n);
        Ok::<_, Error>(match (get(0), get(1), get(2)) {
            (None | Some("disabled"), ..) => Said::Nothing,
            (Some("active" | "fastpath function call"), Some("Client"), Some("ClientRead")) => Said::Reads,
            (Some("active" | "fastpath function call"), Some("Client"), Some("ClientWrite")) => Said::Writes,
            (Some("active" | "fastpath function call"), ..) => Said::Works,
            _ => Said::Idle,
        })
    };
    let limit = target.timeout();
    match tokio::time::timeout(limit, asked).await {
        Ok(Ok(said)) => said,
        // A refusal is an answer.
        Ok(Err(e)) if e.message().contains("SQLSTATE") => Said::Nothing,
        Ok(Err(e)) => Said::Unreachable(e.one_line()),
        Err(_) => Said::Unreachable(format!("no answer within {limit:?}")),
    }
}

/// The same without anybody who looks after it.
pub(super) async fn unwatched(target: &Target, application_name: &str) -> Result<Session> {
    let what = format!("connecting to {}", target.redacted());
    let mut config = Config::new();
    config
        .user(&target.user)
        .dbname(&target.dbname)
        .host(&target.host)
        .port(target.port)
        .application_name(application_name)
        .connect_timeout(target.timeout());
    if let Some(password) = &target.password {
        config.password(password.expose());
    }
    if let Some(options) = &target.options {
        config.options(options);
    }
    match target.channel_binding.as_deref() {
        Some("disable") => config.channel_binding(ChannelBinding::Disable),
        Some("require") => config.channel_binding(ChannelBinding::Require),
        _ => config.channel_binding(ChannelBinding::Prefer),
    };
    let attempts: &[Tls] = match target.sslmode {
        // As libpq does, TLS is not tried over a Unix socket.
        _ if target.is_socket() => &[Tls::Disable],
        SslMode::Disable => &[Tls::Disable],
        SslMode::Allow => &[Tls::Disable, Tls::Require],
        SslMode::Prefer => &[Tls::Prefer, Tls::Disable],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Tls::Require],
    };
    let mut outcome = None;
    for mode in attempts {
        config.ssl_mode(*mode);
        // A little more than is left to the socket alone, which has an error of its own.
        let limit = target.timeout() + Duration::from_millis(100);
        let opened = tokio::time::timeout(limit, open(&config, *mode, target, &what)).await;
        match opened.unwrap_or_else(|_| {
            Err(Failure {
                error: Error::new(Kind::Database, format!("{what}: no answer within {:?}", target.timeout())).hint(
                    "the server accepts connections but does not answer: check that it is PostgreSQL and healthy",
                ),
                retry: false,
            })
        }) {
            Ok(session) => return Ok(session),
            Err(failure) => {
                outcome.get_or_insert(failure.error);
                if !failure.retry {
                    break;
                }
            }
        }
    }
    Err(outcome.unwrap_or_else(|| Error::new(Kind::Database, what)))
}

/// The class of codes by which a server turns a user away: no entry in pg_hba.conf, a wrong password.
const NO_ENTRY: &str = "28";

struct Failure {
    error: Error,
    /// The next way is tried: libpq's `prefer` goes on without TLS when the handshake or the server refuses, and `allow` with it when the
    /// server does.
    retry: bool,
}

async fn open(config: &Config, mode: Tls, target: &Target, what: &str) -> std::result::Result<Session, Failure> {
    let failed = |e: tokio_postgres::Error| {
        let refused = e.code().is_some_and(|c| c.code().starts_with(NO_ENTRY));
        let retry = refused || tls_error(&e).is_some_and(|e| !turned_away(e));
        Failure { retry, error: open_error(what, target, e) }
    };
    let end = Arc::new(Mutex::new(None));
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {:?}", target.timeout()));
    let dialled = tokio::time::timeout(target.timeout(), dial(target)).await.map_err(silent).and_then(|link| link);
    let tap = Tap::new(dialled.map_err(|e| Failure { error: unreachable(what, target, e), retry: false })?);
    let slot: Slot = Arc::new(Mutex::new(Box::new(tap.clone())));
    let (client, task) = if mode == Tls::Disable {
        log_in(config.clone(), tap, NoTls, end.clone()).await.map_err(failed)?
    } else {
        let broken = |error| Failure { error, retry: mode == Tls::Prefer };
        let tls = tls::client_config(target).map_err(broken)?;
        let mut tls = MakeRustlsConnect::new(tls);
        let inner = MakeTlsConnect::<Tap<Link>>::make_tls_connect(&mut tls, &target.host);
        let inner = inner.map_err(|e| broken(Error::new(Kind::Database, what).because(e)))?;
        let connector = TapConnect { inner, slot: slot.clone() };
        log_in(config.clone(), tap, connector, end.clone()).await.map_err(failed)?
    };
    Ok(Session { client, task, end, what: what.to_owned(), slot })
}

/// A socket to the server.
type Link = Either<TcpStream, UnixStream>;

/// The future of [`log_in`], boxed: without that the compiler cannot tell that the callers' futures may change threads.
type LoggingIn =
    Pin<Box<dyn Future<Output = std::result::Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send>>;

/// Start-up, TLS and authentication; the task that runs the connection goes on until it is closed.
fn log_in<C>(config: Config, tap: Tap<Link>, connector: C, end: Arc<Mutex<Option<Error>>>) -> LoggingIn
where
    C: TlsConnect<Tap<Link>> + Send + 'static,
    C::Stream: Send + 'static,
    C::Future: Send,
{
    Box::pin(async move {
        let (client, mut connection) = config.connect_raw(tap, connector).await?;
        Ok((client, tokio::spawn(keep(end, async move { ((&mut connection).await, connection) }))))
    })
}

/// Opens the socket: to `hostaddr` if it is known, else to each address of the host in turn.
async fn dial(target: &Target) -> io::Result<Link> {
    if target.is_socket() {
        let path = Path::new(&target.host).join(format!(".s.PGSQL.{}", target.port));
        return Ok(Link::Right(UnixStream::connect(path).await?));
    }
    let host = target.hostaddr.as_deref().unwrap_or(&target.host);
    let stream = TcpStream::connect((host, target.port)).await?;
    stream.set_nodelay(true)?;
    let alive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)).with_retries(6);
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&alive)?;
    // What was sent and is not acknowledged: a network that was cut without a word.
    socket.set_tcp_user_timeout(Some(target.stall))?;
    Ok(Link::Left(stream))
}

/// Runs a connection and keeps how it ended. The connection itself is dropped last: its clients see "closed" only once
/// the reason can be read.
async fn keep<C>(
    end: Arc<Mutex<Option<Error>>>,
    connection: impl Future<Output = (std::result::Result<(), tokio_postgres::Error>, C)>,
) {
    let (result, connection) = connection.await;
    if let Err(e) = result {
        let said = if let Some(stalled) = cause::<Stalled>(&e).map(Stalled::to_error) {
            stalled
        } else if e.is_closed() {
            Error::new(Kind::Database, "the server closed the connection unexpectedly")
                .hint("see the server's log: it was restarted, ran out of memory, or a proxy cut the connection")
        } else {
            answer::error("the connection broke", e)
        };
        *end.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }
    drop(connection);
}

/// Finds an error of type `T` among the causes, also where it is wrapped into an I/O error.
fn cause<'a, T: std::error::Error + 'static>(e: &'a (dyn std::error::Error + 'static)) -> Option<&'a T> {
    let mut next = Some(e);
    while let Some(e) = next {
        if let Some(found) = e.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(inner) = e.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(found) = cause::<T>(inner)
        {
            return Some(found);
        }
        next = e.source();
    }
    None
}

fn tls_error(e: &tokio_postgres::Error) -> Option<&rustls::Error> {
    cause::<rustls::Error>(e)
}

/// Whether the server refused our certificate. It says so when the handshake is over on our side, and libpq goes no other way then.
fn turned_away(e: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        e,
        rustls::Error::AlertReceived(
            Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::CertificateRequired
                | Alert::CertificateUnknown
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::UnsupportedCertificate
        )
    )
}

fn open_error(what: &str, target: &Target, e: tokio_postgres::Error) -> Error {
    if let Some(tls) = tls_error(&e) {
        return Error::new(Kind::Database, format!("{what}: {tls}")).hint(tls::hint(tls, target));
    }
    let text = e.source().map(ToString::to_string).unwrap_or_default();
    if text == "server does not support TLS" {
        return Error::new(
            Kind::Database,
            format!("{what}: the server does not offer TLS, which sslmode={} asks for", target.sslmode.name()),
        )
        .hint("switch TLS on in the server, or use sslmode=prefer if the network between is trusted");
    }
    if text == "password missing" {
        return Error::new(Kind::Database, format!("{what}: the server asks for a password and none is given"))
            .hint("put it into the URL, PGPASSWORD or .pgpass");
    }
    if text.contains("channel binding") {
        return Error::new(Kind::Database, format!("{what}: {text}")).hint(
            "channel_binding=require needs TLS and a scram-sha-256 password; use channel_binding=prefer otherwise",
        );
    }
    if let Some(hint) = cause::<io::Error>(&e).map(|io| io_hint(target, io)) {
        return answer::error(what, e).hint(hint);
    }
    answer::error(what, e)
}

/// The socket could not be opened.
fn unreachable(what: &str, target: &Target, e: io::Error) -> Error {
    let hint = io_hint(target, &e);
    Error::new(Kind::Database, format!("{what}: error connecting to server")).because(e).hint(hint)
}

fn io_hint(target: &Target, e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied if target.is_socket() => {
            "check the socket folder given as host, and the port"
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "the server hung up: it may be starting, or something other than PostgreSQL listens there"
        }
        _ => unreachable_hint(&target.host, e),
    }
}

/// The bytes of a text-like value or bytea as the server sent them: names need not be valid UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Raw(pub Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw.to_vec()))
    }

    fn accepts(ty: &Type) -> bool {
        [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::BYTEA, Type::CHAR, Type::UNKNOWN].contains(ty)
    }
}

/// The statements that give a session the settings under which rows are read, for a server of this major version:
/// those of pg_dump, and what makes the text of a row depend on the row alone. Run them in autocommit, before any
/// transaction: the `SELECT`s among them would otherwise take its snapshot. `lc_monetary` is not among them.
pub fn session_settings(major: u32) -> String {
    let mut sql = String::from(
        // First: a role's or a database's own limit would count for what follows.
        "SET statement_timeout = 0;\n\
         SELECT pg_catalog.set_config('search_path', '', false);\n\
         SET DateStyle = 'ISO';\n\
         SET IntervalStyle = 'postgres';\n\
         SET extra_float_digits = 3;\n\
         SET synchronize_seqscans = off;\n\
         SET lock_timeout = 0;\n\
         SET idle_in_transaction_session_timeout = 0;\n\
         SET row_security = off;\n\
         SET standard_conforming_strings = on;\n\
         SET quote_all_identifiers = off;\n\
         SET TimeZone = 'UTC';\n\
         SET bytea_output = 'hex';\n\
         SET max_parallel_workers_per_gather = 0;\n\
         SET jit = off;\n",
    );
    if major >= 14 {
        sql.push_str("SET idle_session_timeout = 0;\n");
    }
    if major >= 17 {
        sql.push_str("SET transaction_timeout = 0;\n");
    }
    // Came with minor releases (12.20, 13.16, 14.13, 15.8, 16.4), so the server is asked.
    sql.push_str(
        "SELECT pg_catalog.set_config(name, 'view, foreign-table', false) FROM pg_catalog.pg_settings \
         WHERE name = 'restrict_nonsystem_relation_kind';\n",
    );
    sql
}
