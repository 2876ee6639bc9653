//! libpq connection strings: what they say, without ever showing the password.
//!
//! The grammar is that of <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>; where ORMs add
//! parameters of their own, those are dropped with a notice. No error of this module quotes the string: a badly
//! encoded password may stand in any part of it.

use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One server and database, resolved from a URI or keyword string, the `PG*` variables and `.pgpass`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name, or a folder of a Unix socket (begins with `/`; `@` for an abstract one is refused).
    pub host: String,
    /// Numeric address to connect to in place of resolving `host`.
    pub hostaddr: Option<String>,
    /// TCP port.
    pub port: u16,
    /// User name.
    pub user: String,
    /// Password, from the string, `PGPASSWORD` or `.pgpass`.
    pub password: Option<Secret>,
    /// Database name.
    pub dbname: String,
    /// How TLS is used.
    pub sslmode: SslMode,
    /// Root certificates: a PEM file, or `system`.
    pub sslrootcert: Option<String>,
    /// Client certificate (PEM).
    pub sslcert: Option<PathBuf>,
    /// Client key (PEM).
    pub sslkey: Option<PathBuf>,
    /// `channel_binding`: `disable`, `prefer` or `require`.
    pub channel_binding: Option<String>,
    /// `options` (`-c name=value …`) sent at the start of a session.
    pub options: Option<String>,
    /// `connect_timeout` in seconds.
    pub connect_timeout: Option<u64>,
    /// The string said `pgbouncer=true`: a transaction pooler stands before the server.
    pub pooler_flag: bool,
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// Plain first; we treat it as [`SslMode::Prefer`].
    Allow,
    /// TLS when the server offers it.
    Prefer,
    /// TLS, certificate unchecked unless a root certificate is named.
    Require,
    /// TLS, certificate chain checked.
    VerifyCa,
    /// TLS, certificate chain and host name checked.
    VerifyFull,
}

impl SslMode {
    /// libpq's name of the mode.
    pub fn name(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "disable" => SslMode::Disable,
            "allow" => SslMode::Allow,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => return None,
        })
    }
}

/// How long a connection may take to come about when `connect_timeout` does not say.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Driver suffixes of SQLAlchemy and friends: `postgresql+asyncpg://`.
#[rustfmt::skip]
const DRIVERS: &[&str] = &[
    "aiopg", "asyncpg", "pg", "pg8000", "psycopg", "psycopg2", "psycopg2cffi", "psycopg_async", "psycopgcffi",
    "pygresql", "pypostgresql", "sqlx", "tokio", "ssl",
];

/// Parameters of libpq that this program reads.
#[rustfmt::skip]
const USED: &[&str] = &[
    "host", "hostaddr", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey",
    "channel_binding", "options", "connect_timeout", "passfile", "service",
];

/// Parameters of libpq that make no difference here.
#[rustfmt::skip]
const IGNORED: &[&str] = &[
    "application_name", "fallback_application_name", "client_encoding", "keepalives", "keepalives_idle",
    "keepalives_interval", "keepalives_count", "tcp_user_timeout", "target_session_attrs", "load_balance_hosts",
    "gssencmode", "gsslib", "gssdelegation", "krbsrvname", "sslcompression", "sslsni", "sslcertmode", "sslpassword",
    "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version", "min_protocol_version",
    "max_protocol_version", "sslkeylogfile", "servicefile", "require_auth", "requirepeer",
];

/// Parameters of ORMs, pools and drivers of other languages; they say how the application uses its connections.
#[rustfmt::skip]
const ORM: &[&str] = &[
    // Prisma
    "schema", "connection_limit", "pool_timeout", "socket_timeout", "statement_cache_size", "single_use_connections",
    // Rails
    "adapter", "pool", "checkout_timeout", "reaping_frequency", "idle_timeout", "prepared_statements",
    "statement_limit", "encoding", "min_messages", "variables", "timeout", "schema_search_path", "advisory_locks",
    "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
    // Django, SQLAlchemy, asyncpg, psycopg
    "conn_max_age", "conn_health_checks", "disable_server_side_cursors", "atomic_requests", "pool_size", "max_overflow",
    "pool_recycle", "pool_pre_ping", "prepared_statement_cache_size", "prepared_statement_name_func", "command_timeout",
    "server_settings", "prepare_threshold", "async_fallback", "charset",
    // node-pg, pg-pool, postgres.js, TypeORM, Sequelize, Drizzle
    "uselibpqcompat", "max", "min", "idletimeoutmillis", "connectiontimeoutmillis", "query_timeout", "keepalive",
    "idle_timeout_millis", "max_lifetime", "maxuses", "prepare", "binary", "workaround",
    // JDBC
    "preparethreshold", "preparedstatementcachequeries", "preparedstatementcachesizemib", "currentschema",
    "sockettimeout", "connecttimeout", "logintimeout", "tcpkeepalive", "rewritebatchedinserts",
    "rewritebatchedstatements", "stringtype", "defaultrowfetchsize", "sslfactory", "applicationname",
    // pgx, sqlx, Npgsql, Ecto
    "pool_max_conns", "pool_min_conns", "pool_max_conn_lifetime", "pool_max_conn_idle_time",
    "pool_max_conn_lifetime_jitter", "pool_health_check_period", "default_query_exec_mode", "statement_cache_capacity",
    "statement-cache-capacity", "description_cache_capacity", "search_path", "pooling", "minimum_pool_size",
    "maximum_pool_size", "supa", "workers",
];

/// What a URI or keyword string said, before the environment fills the gaps.
type Params = BTreeMap<String, String>;

fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

/// Resolves a connection string.
///
/// `text` is a URI (`postgresql://`, `postgres://`, also with a driver's suffix as in `postgresql+asyncpg://`), a
/// keyword string (`host=… dbname=…`), or empty: then everything comes from `env`, which is asked for the `PG*`
/// variables, `HOME`, `USER`, `LOGNAME` and `SSL_CERT_FILE`. Also reads the password file. Returns the target and
/// notices for the user; neither these nor the error hold any part of the string but names of parameters.
pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<(Target, Vec<String>)> {
    let env = |name: &str| env(name).filter(|v| !v.is_empty());
    let mut notices = Vec::new();
    let text = text.trim();
    let mut uri = false;
    let raw = if text.is_empty() {
        Vec::new()
    } else if let Some((scheme, rest)) = text.split_once("://").filter(|(s, _)| is_scheme(s)) {
        check_scheme(scheme, &mut notices)?;
        uri = true;
        parse_uri(rest)?
    } else if text.starts_with("jdbc:") {
        return Err(usage("the database URL is a JDBC URL").hint("use postgresql://user:password@host:5432/database"));
    } else {
        parse_keywords(text)?
    };
    let (mut params, pooler_flag) = sift(raw, uri, &mut notices)?;
    params.retain(|_, v| !v.is_empty());

    if params.contains_key("service") || env("PGSERVICE").is_some() {
        return Err(usage("connection service files (service=, PGSERVICE) are not read")
            .hint("give the host, user and database themselves: postgresql://user:password@host:5432/database"));
    }
    for (name, variable) in [
        ("host", "PGHOST"),
        ("hostaddr", "PGHOSTADDR"),
        ("port", "PGPORT"),
        ("user", "PGUSER"),
        ("password", "PGPASSWORD"),
        ("dbname", "PGDATABASE"),
        ("sslmode", "PGSSLMODE"),
        ("sslrootcert", "PGSSLROOTCERT"),
        ("sslcert", "PGSSLCERT"),
        ("sslkey", "PGSSLKEY"),
        ("options", "PGOPTIONS"),
        ("connect_timeout", "PGCONNECT_TIMEOUT"),
        ("channel_binding", "PGCHANNELBINDING"),
        ("passfile", "PGPASSFILE"),
    ] {
        // A host from the string must not be joined with an address that the environment means for another one.
        if name == "hostaddr" && params.contains_key("host") && !text.is_empty() {
            continue;
        }
        if !params.contains_key(name)
            && let Some(value) = env(variable)
        {
            params.insert(name.to_owned(), value);
        }
    }
    resolve(params, pooler_flag, &env, notices)
}

fn resolve(
    mut params: Params,
    pooler_flag: bool,
    env: &dyn Fn(&str) -> Option<String>,
    mut notices: Vec<String>,
) -> Result<(Target, Vec<String>)> {
    let mut take = |name: &str| params.remove(name);
    let (host, hostaddr, dbname) = (take("host"), take("hostaddr"), take("dbname"));
    if host.is_none() && hostaddr.is_none() && dbname.is_none() {
        return Err(usage("no database is named")
            .hint("set --database-url (or DATABASE_URL) to postgresql://user:password@host:5432/database"));
    }
    let port = take("port");
    if [&host, &hostaddr, &port].iter().any(|v| v.as_ref().is_some_and(|v| v.contains(','))) {
        return Err(usage("the database URL names several hosts")
            .hint("name the one server that the backup is to be taken from"));
    }
    let port = match port {
        None => 5432,
        Some(p) => p.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(|| {
            usage("the port in the database URL is not a number from 1 to 65535")
                .hint("percent-encode the characters / : @ % of the password as %2F %3A %40 %25")
        })?,
    };
    if let Some(addr) = &hostaddr
        && addr.parse::<IpAddr>().is_err()
    {
        return Err(usage("hostaddr is not a numeric IP address").hint("name the server with host= in place of it"));
    }
    // An unencoded @ in the password moves its end into the host: such a host must not be shown or looked up.
    if host.as_deref().is_some_and(|h| h.contains('@')) {
        return Err(usage("the host in the database URL holds an @")
            .hint("percent-encode the characters / : @ % of the password as %2F %3A %40 %25"));
    }
    let host_given = host.is_some();
    let host = host.or_else(|| hostaddr.clone()).unwrap_or_else(|| default_host(port));
    let Some(user) = take("user").or_else(|| env("USER")).or_else(|| env("LOGNAME")) else {
        return Err(usage("the database URL names no user").hint("write postgresql://user:password@host:5432/database"));
    };
    let dbname = dbname.unwrap_or_else(|| user.clone());
    let home = env("HOME").map(PathBuf::from);

    let rootcert = take("sslrootcert");
    let sslmode = match take("sslmode").as_deref() {
        None if rootcert.as_deref() == Some("system") => SslMode::VerifyFull,
        None => SslMode::Prefer,
        Some("no-verify") => {
            notices.push("sslmode=no-verify is read as sslmode=require".into());
            SslMode::Require
        }
        Some(name) => SslMode::parse(name).ok_or_else(|| {
            usage("the value of sslmode is not known")
                .hint("use one of disable, allow, prefer, require, verify-ca, verify-full")
        })?,
    };
    if rootcert.as_deref() == Some("system") && sslmode != SslMode::VerifyFull {
        return Err(usage(format!("sslmode={} is too weak for sslrootcert=system", sslmode.name()))
            .hint("use sslmode=verify-full"));
    }
    let in_home = |name: &str| home.as_ref().map(|h| h.join(".postgresql").join(name)).filter(|p| p.is_file());
    let verifies = matches!(sslmode, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull);
    let sslrootcert = match rootcert {
        // Children run without this variable, and libpq before 16 does not know `system`.
        Some(r) if r == "system" => Some(env("SSL_CERT_FILE").filter(|f| Path::new(f).is_file()).unwrap_or(r)),
        Some(r) => Some(r),
        None if verifies => in_home("root.crt").map(|p| p.to_string_lossy().into_owned()),
        None => None,
    };
    let sslcert = take("sslcert").map(PathBuf::from);
    let sslkey = take("sslkey").map(PathBuf::from);
    let (sslcert, sslkey) = match (sslcert, sslkey) {
        (None, None) => (in_home("postgresql.crt"), in_home("postgresql.key")),
        pair => pair,
    };
    let (sslcert, sslkey) =
        if sslcert.is_none() || sslmode == SslMode::Disable { (None, None) } else { (sslcert, sslkey) };

    let channel_binding = take("channel_binding");
    if channel_binding.as_deref().is_some_and(|c| !["disable", "prefer", "require"].contains(&c)) {
        return Err(usage("the value of channel_binding is not known").hint("use one of disable, prefer, require"));
    }
    let connect_timeout = match take("connect_timeout") {
        None => None,
        // Zero and less mean "for ever" to libpq; a backup in CI is better off with our own default.
        Some(t) => t
            .parse::<i64>()
            .map_err(|_| usage("connect_timeout is not a whole number of seconds").hint("use connect_timeout=15"))
            .map(|t| u64::try_from(t).ok().filter(|t| *t > 0))?,
    };
    let password = match (take("password"), take("passfile")) {
        (Some(p), _) => Some(Secret::new(p)),
        (None, file) => {
            let named = file.map(PathBuf::from);
            let name = if host_given { host.as_str() } else { hostaddr.as_deref().unwrap_or("localhost") };
            // libpq looks the default socket folder up under `localhost`.
            let name = if name == "/var/run/postgresql" || name == "/tmp" { "localhost" } else { name };
            match named.or_else(|| home.map(|h| h.join(".pgpass"))) {
                Some(path) => from_password_file(&path, name, port, &dbname, &user, &mut notices),
                None => None,
            }
        }
    };
    for value in [&host, &user, &dbname] {
        if value.contains('\0') {
            return Err(usage("the database URL holds a zero byte"));
        }
    }
    let target = Target {
        host,
        hostaddr,
        port,
        user,
        password,
        dbname,
        sslmode,
        sslrootcert,
        sslcert,
        sslkey,
        channel_binding,
        options: take("options"),
        connect_timeout,
        pooler_flag,
    };
    Ok((target, notices))
}

/// The socket folder of Debian's or the upstream build when one holds the port's socket, else `localhost`.
fn default_host(port: u16) -> String {
    ["/var/run/postgresql", "/tmp"]
        .into_iter()
        .find(|dir| Path::new(dir).join(format!(".s.PGSQL.{port}")).exists())
        .unwrap_or("localhost")
        .to_owned()
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-._:".contains(c))
}

fn check_scheme(scheme: &str, notices: &mut Vec<String>) -> Result<()> {
    let scheme = scheme.to_ascii_lowercase();
    if scheme.starts_with("prisma") {
        return Err(usage("a prisma+postgres:// URL leads to Prisma's proxy, not to a PostgreSQL server")
            .hint("use the direct postgresql:// URL of the database (Prisma's directUrl)"));
    }
    let (base, driver) = scheme.split_once('+').unwrap_or((&scheme, ""));
    if !["postgres", "postgresql", "postgis"].contains(&base) || !(driver.is_empty() || DRIVERS.contains(&driver)) {
        return Err(usage("the database URL does not begin with postgresql://")
            .hint("use postgresql://user:password@host:5432/database"));
    }
    if scheme != "postgres" && scheme != "postgresql" {
        notices.push(format!("the URL's scheme {scheme}:// is read as postgresql://"));
    }
    Ok(())
}

fn decode(text: &str) -> Result<String> {
    let encode_hint = "percent-encode the characters / : @ % of the password as %2F %3A %40 %25";
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b'%' {
            let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
            let byte =
                hex.filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit())).and_then(|h| u8::from_str_radix(h, 16).ok());
            match byte {
                Some(0) | None => {
                    return Err(usage("the database URL holds a % that does not begin a percent-encoded character")
                        .hint(encode_hint));
                }
                Some(b) => out.push(b),
            }
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8(out).map_err(|_| usage("the database URL is not valid UTF-8 once it is percent-decoded"))
}

/// What stands behind `scheme://`. As in libpq the first `@` before a `/` ends the user's part.
fn parse_uri(rest: &str) -> Result<Vec<(String, String)>> {
    let encode_hint = "percent-encode the characters / : @ % of the password as %2F %3A %40 %25";
    let mut out = Vec::new();
    let mut push = |name: &str, value: String| out.push((name.to_owned(), value));
    let (userinfo, rest) = match rest.find(['@', '/']) {
        Some(at) if rest.as_bytes()[at] == b'@' => (Some(&rest[..at]), &rest[at + 1..]),
        _ => (None, rest),
    };
    if let Some(userinfo) = userinfo {
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        push("user", decode(user)?);
        push("password", decode(password)?);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (hosts, tail) = rest.split_at(end);
    if hosts.contains('@') {
        return Err(usage("the database URL holds more than one @ before the database name").hint(encode_hint));
    }
    if hosts.contains(',') {
        push("host", ",".into());
        return Ok(out);
    }
    let port = if let Some(bracketed) = hosts.strip_prefix('[') {
        let (address, behind) = bracketed.split_once(']').ok_or_else(|| {
            usage("the IPv6 address in the database URL has no closing ]")
                .hint("write postgresql://user@[::1]:5432/database")
        })?;
        // libpq keeps the brackets out of host, as do we.
        if address.split('%').next().is_none_or(|a| a.parse::<std::net::Ipv6Addr>().is_err()) {
            return Err(usage("the brackets in the database URL hold no IPv6 address")
                .hint("write postgresql://user@[::1]:5432/database"));
        }
        push("host", address.to_owned());
        match behind.strip_prefix(':') {
            Some(port) => port,
            None if behind.is_empty() => "",
            None => return Err(usage("the database URL has something other than a port behind the IPv6 address")),
        }
    } else {
        let (host, port) = hosts.split_once(':').unwrap_or((hosts, ""));
        push("host", decode(host)?);
        port
    };
    push("port", decode(port)?);
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let path = path.strip_prefix('/').unwrap_or(path);
    if userinfo.is_none() && path.contains('@') {
        return Err(usage("the database URL holds an @ behind the host").hint(encode_hint));
    }
    push("dbname", decode(path.trim_end_matches('/'))?);
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(usage("a parameter of the database URL has no value")
                .hint("write ?name=value&name=value, and & in a value as %26"));
        };
        push(&decode(name)?, decode(value)?);
    }
    Ok(out)
}

/// `name = value name='quoted \' value'`, as libpq's conninfo_parse reads it.
fn parse_keywords(text: &str) -> Result<Vec<(String, String)>> {
    let cure = "use postgresql://user:password@host:5432/database, or host=… dbname=… user=… password='…'";
    let broken = || usage("the database URL is neither a postgresql:// URI nor a keyword=value string").hint(cure);
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(out);
        }
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            name.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next() != Some('=') || name.is_empty() {
            return Err(broken());
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match chars.next() {
                Some('\\') => value.extend(chars.next()),
                Some('\'') if quoted => break,
                Some(c) if !quoted && c.is_whitespace() => break,
                Some(c) => value.push(c),
                None if quoted => {
                    return Err(usage("a quoted value of the connection string has no closing '").hint(cure));
                }
                None => break,
            }
        }
        out.push((name, value));
    }
}

/// Keeps what libpq means, drops what ORMs mean, refuses the rest. Later values win, as in libpq.
fn sift(raw: Vec<(String, String)>, uri: bool, notices: &mut Vec<String>) -> Result<(Params, bool)> {
    let mut params = Params::new();
    let mut pooler = false;
    let mut dropped = Vec::new();
    let mut strict = None;
    let mut behind_password = false;
    for (i, (name, value)) in raw.into_iter().enumerate() {
        let lower = name.to_ascii_lowercase();
        let yes = matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on");
        let no = matches!(value.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off");
        match lower.as_str() {
            n if USED.contains(&n) => {
                // The second entry of a URI is the password before its @, which ends there for certain.
                behind_password |= n == "password" && !(uri && i == 1);
                params.insert(lower, value);
            }
            "database" => {
                params.insert("dbname".into(), value);
            }
            "username" => {
                params.insert("user".into(), value);
            }
            "pgbouncer" => pooler = pooler || yes,
            "ssl" | "tls" => {
                let mode = match value.as_str() {
                    _ if yes => "require",
                    _ if no => "disable",
                    mode => mode,
                };
                params.entry("sslmode".into()).or_insert_with(|| mode.to_owned());
            }
            "sslaccept" => {
                strict = Some(value == "strict");
                dropped.push(lower);
            }
            "sslidentity" => {
                return Err(usage("sslidentity names a PKCS#12 file, which PostgreSQL's programs cannot read")
                    .hint("convert it with `openssl pkcs12 -nodes` and give sslcert= and sslkey="));
            }
            "sslcrl" | "sslcrldir" => {
                return Err(usage(format!("{lower} is not supported: revocation lists are not checked"))
                    .hint(format!("leave {lower} out")));
            }
            "replication" if no => {}
            n if IGNORED.contains(&n) => {}
            n if ORM.contains(&n) => dropped.push(name),
            _ => {
                // A badly quoted password continues as if it were the next parameter's name: not to be shown then.
                let tame = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
                return Err(if tame && !behind_password {
                    usage(format!("the database URL has an unknown parameter `{name}`"))
                        .hint(format!("leave `{name}` out"))
                } else {
                    usage("the database URL has an unknown parameter behind the password")
                        .hint("quote the password, or percent-encode & in it as %26")
                });
            }
        }
    }
    // Prisma calls the server's CA `sslcert`; libpq's client certificate never comes without its key.
    if let Some(strict) = strict {
        if !params.contains_key("sslkey")
            && let Some(ca) = params.remove("sslcert")
        {
            params.entry("sslrootcert".into()).or_insert(ca);
        }
        if strict && !params.get("sslmode").is_some_and(|m| m.starts_with("verify") || m == "disable") {
            params.insert("sslmode".into(), "verify-full".into());
            params.entry("sslrootcert".into()).or_insert_with(|| "system".into());
        }
    }
    if !dropped.is_empty() {
        dropped.sort();
        dropped.dedup();
        notices.push(format!("left out of the database URL, as only the application needs it: {}", dropped.join(", ")));
    }
    Ok((params, pooler))
}

/// Asks libpq's password file. One that others may read is left alone, as libpq does.
fn from_password_file(
    path: &Path,
    host: &str,
    port: u16,
    dbname: &str,
    user: &str,
    notices: &mut Vec<String>,
) -> Option<Secret> {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::metadata(path).ok()?;
    if !meta.is_file() {
        return None;
    }
    if meta.permissions().mode() & 0o077 != 0 {
        notices.push(format!("the password file {} is ignored: others may read it (chmod 600 {0})", path.display()));
        return None;
    }
    let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
    find_password(&text, &[host, &port.to_string(), dbname, user]).map(Secret::new)
}

/// The password of the first line of a password file whose four fields are `wanted`. `*` alone matches everything,
/// a backslash takes the next character as it is.
fn find_password(text: &str, wanted: &[&str; 4]) -> Option<String> {
    text.lines().filter(|l| !l.starts_with('#')).find_map(|line| {
        let mut rest = line.trim_end_matches('\r');
        for want in wanted {
            let (field, raw, behind) = split_field(rest)?;
            if raw != "*" && field != *want {
                return None;
            }
            rest = behind?;
        }
        Some(split_field(rest)?.0).filter(|p| !p.is_empty())
    })
}

/// The text up to the next bare colon, unescaped and raw, and what stands behind the colon.
fn split_field(text: &str) -> Option<(String, &str, Option<&str>)> {
    let mut field = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' => return Some((field, &text[..at], Some(&text[at + 1..]))),
            '\\' => field.push(chars.next().map_or('\\', |(_, c)| c)),
            c => field.push(c),
        }
    }
    Some((field, text, None))
}

/// Characters that may stand bare in a URI's user, host or database.
const BARE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A value of a keyword/value connection string, in single quotes.
pub fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

impl Target {
    /// The connection string without the password: `postgresql://user@host:port/db`.
    pub fn redacted(&self) -> String {
        let user = utf8_percent_encode(&self.user, BARE);
        let db = utf8_percent_encode(&self.dbname, BARE);
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            utf8_percent_encode(&self.host, BARE).to_string()
        };
        format!("postgresql://{user}@{host}:{}/{db}", self.port)
    }

    /// The same server and user, another database.
    pub fn with_dbname(&self, dbname: &str) -> Target {
        Target { dbname: dbname.to_owned(), ..self.clone() }
    }

    /// The host's name for manifests and reports; `sha256:` and 16 hex digits of its hash when it is to be hidden.
    pub fn host_label(&self, redact: bool) -> String {
        if redact {
            format!("sha256:{}", &hex::encode(Sha256::digest(self.host.as_bytes()))[..16])
        } else {
            self.host.clone()
        }
    }

    /// True when the server is reached by a Unix socket.
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// When this address leads to a transaction pooler: the address to use in its place, in words.
    pub fn pooler(&self) -> Option<String> {
        let host = self.host.to_ascii_lowercase();
        let (label, domain) = host.split_once('.').unwrap_or((&host, ""));
        if let Some(direct) = label.strip_suffix("-pooler")
            && format!(".{domain}").contains(".neon.")
        {
            return Some(format!("use Neon's direct host {direct}.{domain}:{}", self.port));
        }
        if self.port == 6543 && host.ends_with(".pooler.supabase.com") {
            let direct = match self.user.split_once('.') {
                Some((user, project)) => {
                    format!(", or the direct connection db.{project}.supabase.co:5432 as user {user}")
                }
                None => String::new(),
            };
            return Some(format!("use Supabase's session mode, {host}:5432{direct}"));
        }
        if self.port == 6543 && host.ends_with(".supabase.co") {
            return Some(format!("use Supabase's direct port, {host}:5432"));
        }
        self.pooler_flag.then(|| {
            "use the server's direct address (in Prisma's terms: directUrl), without pgbouncer=true".to_owned()
        })
    }

    /// The environment for PostgreSQL's programs: nothing about the connection stands on their argv.
    pub fn child_env(&self) -> Vec<(String, OsString)> {
        let mut env: Vec<(String, OsString)> = Vec::new();
        let mut set = |name: &str, value: OsString| env.push((name.to_owned(), value));
        set("PGHOST", self.host.clone().into());
        set("PGPORT", self.port.to_string().into());
        set("PGUSER", self.user.clone().into());
        set("PGDATABASE", self.dbname.clone().into());
        set("PGSSLMODE", self.sslmode.name().into());
        set("PGCONNECT_TIMEOUT", self.timeout().as_secs().to_string().into());
        // No such file: libpq must not find another password than ours, and would warn of a file that is no file.
        set("PGPASSFILE", "/nonexistent/pgpass".into());
        let root = self.sslrootcert.as_deref().map(|r| match r {
            // libpq before 16 does not know `system`; the system's bundle is the same thing.
            "system" => SYSTEM_BUNDLES.iter().copied().find(|f| Path::new(f).is_file()).unwrap_or(r),
            r => r,
        });
        for (name, value) in [
            ("PGHOSTADDR", self.hostaddr.as_deref()),
            ("PGPASSWORD", self.password.as_ref().map(Secret::expose)),
            ("PGSSLROOTCERT", root),
            ("PGCHANNELBINDING", self.channel_binding.as_deref()),
            ("PGOPTIONS", self.options.as_deref()),
        ] {
            if let Some(value) = value {
                set(name, value.into());
            }
        }
        for (name, value) in [("PGSSLCERT", &self.sslcert), ("PGSSLKEY", &self.sslkey)] {
            if let Some(value) = value {
                set(name, value.clone().into());
            }
        }
        env
    }

    /// How long a connection may take to come about.
    pub(crate) fn timeout(&self) -> Duration {
        self.connect_timeout.map_or(CONNECT_TIMEOUT, Duration::from_secs)
    }

    /// Resolves the host once, so that every connection and every program reaches the same server: sets `hostaddr` to
    /// the first address that accepts a TCP connection. Fails (`Kind::Database`) when the name has no address or
    /// nobody answers. A socket, or an address given as such, is left as it is.
    pub async fn pin(self) -> Result<Target> {
        if self.is_socket() || self.hostaddr.is_some() {
            return Ok(self);
        }
        let shown = format!("{}:{}", self.host, self.port);
        let database = |message: String| Error::new(Kind::Database, message);
        let timeout = self.timeout();
        let found = match tokio::time::timeout(timeout, tokio::net::lookup_host((self.host.as_str(), self.port))).await
        {
            Ok(Ok(found)) => found.collect::<Vec<SocketAddr>>(),
            Ok(Err(e)) => {
                return Err(database(format!("the host name {} does not resolve", self.host)).because(e).hint(
                    "check the host in --database-url; inside a container, a service is reached by its service name",
                ));
            }
            Err(_) => {
                return Err(database(format!("the host name {} does not resolve within {timeout:?}", self.host))
                    .hint("check the network and its name servers"));
            }
        };
        let mut last = None;
        for address in found {
            let e = match tokio::time::timeout(timeout, tokio::net::TcpStream::connect(address)).await {
                Ok(Ok(_)) => return Ok(Target { hostaddr: Some(address.ip().to_string()), ..self }),
                Ok(Err(e)) => e,
                Err(_) => std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {timeout:?}")),
            };
            last = Some(e);
        }
        let error = database(format!("nobody answers at {shown}"));
        Err(match last {
            Some(e) => {
                let hint = unreachable_hint(&self.host, &e);
                error.because(e).hint(hint)
            }
            None => error.hint("the host name has no address"),
        })
    }
}

/// Where distributions keep the bundle of root certificates.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What to do when a connection cannot be had.
pub(crate) fn unreachable_hint(host: &str, e: &std::io::Error) -> &'static str {
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|a| a.is_loopback());
    match e.kind() {
        std::io::ErrorKind::TimedOut => {
            "check host and port, and that the database's firewall or allow-list admits this machine"
        }
        _ if local => "inside a container localhost is the container itself: name the service or the host's address",
        _ => "check host and port, and that the server listens on that address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands in every string that holds a password; no error, notice or Debug output may hold it.
    const MARK: &str = "Hunter2Mark";

    fn with(text: &str, env: &[(&str, &str)]) -> Result<(Target, Vec<String>)> {
        let env: Vec<(String, String)> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let result = parse(text, &|name| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()));
        let shown = format!("{result:?} {:?}", result.as_ref().map(|(t, _)| t.redacted()));
        assert!(!shown.contains(MARK), "{text:?} shows the password: {shown}");
        result
    }

    fn ok(text: &str) -> Target {
        with(text, &[("USER", "osuser")]).unwrap().0
    }

    fn fails(text: &str) -> String {
        let e = with(text, &[("USER", "osuser")]).unwrap_err();
        assert_eq!(e.kind(), Kind::Usage);
        e.message().to_owned()
    }

    fn password(target: &Target) -> &str {
        target.password.as_ref().map_or("", Secret::expose)
    }

    #[test]
    fn uris() {
        let t = ok(&format!("postgresql://ann:{MARK}@db.example.com:6000/shop?sslmode=verify-ca&sslrootcert=/ca.pem"));
        assert_eq!(
            (t.host.as_str(), t.port, t.user.as_str(), t.dbname.as_str()),
            ("db.example.com", 6000, "ann", "shop")
        );
        assert_eq!((password(&t), t.sslmode), (MARK, SslMode::VerifyCa));
        assert_eq!(t.redacted(), "postgresql://ann@db.example.com:6000/shop");
        let encoded = "postgres://a%40b:p%2F%3A%40%25@h/d%20b";
        let t = ok(encoded);
        assert_eq!((t.user.as_str(), password(&t), t.dbname.as_str()), ("a@b", "p/:@%", "d b"));
        assert_eq!(t.redacted(), "postgresql://a%40b@h:5432/d%20b");
        let t = ok("postgresql://u@[2001:db8::1]:6000/d");
        assert_eq!((t.host.as_str(), t.port), ("2001:db8::1", 6000));
        assert_eq!(t.redacted(), "postgresql://u@[2001:db8::1]:6000/d");
        for socket in
            ["postgresql://u@%2Frun%2Fpg/d", "postgresql:///d?host=/run/pg&user=u", "host=/run/pg user=u dbname=d"]
        {
            let t = ok(socket);
            assert_eq!((t.host.as_str(), t.user.as_str(), t.dbname.as_str()), ("/run/pg", "u", "d"), "{socket}");
        }
        // As libpq reads it: a password ends at the first @, and a ? before it is part of it.
        assert_eq!(password(&ok(&format!("postgres://u:{MARK}?x@h/d"))), format!("{MARK}?x"));
        let t = ok("postgresql://h");
        assert_eq!((t.user.as_str(), t.dbname.as_str(), t.sslmode), ("osuser", "osuser", SslMode::Prefer));
        assert_eq!(ok("postgres://u@h/d?ssl=true").sslmode, SslMode::Require);
        assert_eq!(ok("postgres://u@h/d?sslrootcert=system").sslmode, SslMode::VerifyFull);
        assert_eq!(ok("postgres://u@h/d?options=endpoint%3Dep-1").options.as_deref(), Some("endpoint=ep-1"));
        assert_eq!(ok("postgres://u@h/d?connect_timeout=0").connect_timeout, None);
        assert_eq!(ok(" postgres://u@h/d\n").host, "h");
    }

    #[test]
    fn keywords() {
        let t = ok(r"host = h port=6000 user='a b' password='a\'b\\c' dbname=d");
        assert_eq!((t.user.as_str(), password(&t), t.port), ("a b", r"a'b\c", 6000));
        let t = ok(r"host=h dbname=d\ b application_name=x keepalives_idle=3");
        assert_eq!(t.dbname, "d b");
    }

    #[test]
    fn orms() {
        let (t, notices) = with(
            "postgresql+asyncpg://u@h/d?schema=public&pgbouncer=true&connection_limit=1&prepareThreshold=0&sslmode=no-verify",
            &[],
        )
        .unwrap();
        assert!(t.pooler_flag && t.sslmode == SslMode::Require);
        assert_eq!(
            notices,
            [
                "the URL's scheme postgresql+asyncpg:// is read as postgresql://",
                "left out of the database URL, as only the application needs it: connection_limit, prepareThreshold, schema",
                "sslmode=no-verify is read as sslmode=require",
            ]
        );
        let t = ok("postgresql://u@h/d?sslaccept=strict&sslcert=/ca.pem");
        assert_eq!((t.sslmode, t.sslrootcert.as_deref(), t.sslcert), (SslMode::VerifyFull, Some("/ca.pem"), None));
        for driver in ["psycopg", "psycopg2", "pg8000"] {
            assert_eq!(ok(&format!("postgres+{driver}://u@h/d")).host, "h");
        }
    }

    #[test]
    fn refusals() {
        for (text, message) in [
            ("", "no database is named"),
            ("postgresql://", "no database is named"),
            ("postgresql://u:Hunter2Mark@", "no database is named"),
            ("Hunter2Mark", "the database URL is neither a postgresql:// URI nor a keyword=value string"),
            ("mysql://u:Hunter2Mark@h/d", "the database URL does not begin with postgresql://"),
            ("jdbc:postgresql://h/d?password=Hunter2Mark", "the database URL does not begin with postgresql://"),
            (
                "prisma+postgres://h/?api_key=Hunter2Mark",
                "a prisma+postgres:// URL leads to Prisma's proxy, not to a PostgreSQL server",
            ),
            ("postgres://u:x@Hunter2Mark@h/d", "the database URL holds more than one @ before the database name"),
            ("postgres://u:Hunter2Mark/x@h/d", "the database URL holds an @ behind the host"),
            ("postgres://u:123/Hunter2Mark@h/d", "the database URL holds an @ behind the host"),
            (
                "postgres://u:Hunter2Mark%zz@h/d",
                "the database URL holds a % that does not begin a percent-encoded character",
            ),
            (
                "postgres://u:Hunter2Mark%00@h/d",
                "the database URL holds a % that does not begin a percent-encoded character",
            ),
            ("postgres://u:Hunter2Mark%ff@h/d", "the database URL is not valid UTF-8 once it is percent-decoded"),
            ("postgres://u:Hunter2Mark@h1,h2/d", "the database URL names several hosts"),
            ("host=h1,h2 dbname=d", "the database URL names several hosts"),
            ("postgres://u@h:99999/d", "the port in the database URL is not a number from 1 to 65535"),
            ("postgres://u@[::1/d", "the IPv6 address in the database URL has no closing ]"),
            ("postgres://u:Hunter2Mark@h/d?what=1", "the database URL has an unknown parameter `what`"),
            (
                "postgres://h/d?password=a&Hunter2Mark=1",
                "the database URL has an unknown parameter behind the password",
            ),
            ("host=h password=a Hunter2Mark=1", "the database URL has an unknown parameter behind the password"),
            (
                "host=h password=a Hunter2Mark",
                "the database URL is neither a postgresql:// URI nor a keyword=value string",
            ),
            ("host=h password='Hunter2Mark", "a quoted value of the connection string has no closing '"),
            ("postgres://u@h/d?x", "a parameter of the database URL has no value"),
            ("service=prod", "connection service files (service=, PGSERVICE) are not read"),
            ("postgres://u@h/d?sslmode=Hunter2Mark", "the value of sslmode is not known"),
            (
                "postgres://u@h/d?sslmode=require&sslrootcert=system",
                "sslmode=require is too weak for sslrootcert=system",
            ),
            (
                "postgres://u@h/d?sslidentity=x.p12",
                "sslidentity names a PKCS#12 file, which PostgreSQL's programs cannot read",
            ),
            ("postgres://u@h/d?connect_timeout=soon", "connect_timeout is not a whole number of seconds"),
            ("postgres://u@h/d?channel_binding=Hunter2Mark", "the value of channel_binding is not known"),
        ] {
            assert_eq!(fails(text), message, "{text}");
        }
    }

    #[test]
    fn environment_fills_the_gaps() {
        let env = [
            ("PGHOST", "envhost"),
            ("PGHOSTADDR", "10.0.0.1"),
            ("PGPORT", "7000"),
            ("PGUSER", "envuser"),
            ("PGPASSWORD", MARK),
            ("PGDATABASE", "envdb"),
            ("PGSSLMODE", "disable"),
            ("PGCHANNELBINDING", "require"),
        ];
        let (t, _) = with("", &env).unwrap();
        assert_eq!((t.host.as_str(), t.hostaddr.as_deref(), t.port), ("envhost", Some("10.0.0.1"), 7000));
        assert_eq!((t.user.as_str(), password(&t), t.dbname.as_str()), ("envuser", MARK, "envdb"));
        assert_eq!((t.sslmode, t.channel_binding.as_deref()), (SslMode::Disable, Some("require")));
        let (t, _) = with("postgres://u:own@h/d", &env).unwrap();
        assert_eq!((t.host.as_str(), t.hostaddr, t.user.as_str()), ("h", None, "u"));
        assert_eq!(t.password, Some(Secret::new("own")));
        assert!(with("postgres://u@h/d", &[("PGSERVICE", "prod")]).is_err());
        assert!(with("", &[("PGUSER", "u")]).is_err());
    }

    #[test]
    fn password_file() {
        use std::os::unix::fs::PermissionsExt;
        let text =
            "# h:5432:d:u:comment\nother:5432:d:u:no\nh:5432:*:a\\:b:p\\:q\\\\r:tail\n*:*:*:u:any\nh:5432:d:u:late\n";
        let ask = |host: &str, user: &str| find_password(text, &[host, "5432", "d", user]);
        assert_eq!(ask("h", "a:b").as_deref(), Some("p:q\\r"));
        assert_eq!(ask("h", "u").as_deref(), Some("any"));
        assert_eq!(ask("h", "x"), None);
        assert_eq!(find_password("h:5432:d:*u:p", &["h", "5432", "d", "u"]), None);
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".pgpass");
        std::fs::write(&path, format!("h:5432:d:u:{MARK}\nlocalhost:5432:d:u:sock\n")).unwrap();
        let mode = |m| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(m)).unwrap();
        let env = [("HOME", home.path().to_str().unwrap())];
        mode(0o600);
        assert_eq!(password(&with("postgres://u@h/d", &env).unwrap().0), MARK);
        assert_eq!(password(&with("host=/tmp user=u dbname=d", &env).unwrap().0), "sock");
        mode(0o640);
        let (t, notices) = with("postgres://u@h/d", &env).unwrap();
        assert!(t.password.is_none() && notices[0].contains("is ignored"), "{notices:?}");
        mode(0o600);
        let (t, _) = with("postgres://u@h/d", &[("PGPASSFILE", path.to_str().unwrap())]).unwrap();
        assert_eq!(password(&t), MARK);
    }

    #[test]
    fn poolers() {
        let pooler = |text: &str| ok(text).pooler();
        assert_eq!(
            pooler("postgres://u@ep-a-b-1-pooler.us-east-2.aws.neon.tech/d").unwrap(),
            "use Neon's direct host ep-a-b-1.us-east-2.aws.neon.tech:5432"
        );
        assert_eq!(
            pooler("postgres://postgres.abcd@aws-0-eu.pooler.supabase.com:6543/postgres").unwrap(),
            "use Supabase's session mode, aws-0-eu.pooler.supabase.com:5432, or the direct connection \
             db.abcd.supabase.co:5432 as user postgres"
        );
        assert_eq!(
            pooler("postgres://postgres@db.abcd.supabase.co:6543/postgres").unwrap(),
            "use Supabase's direct port, db.abcd.supabase.co:5432"
        );
        assert!(pooler("postgres://u@h:6432/d?pgbouncer=true").unwrap().contains("direct address"));
        for direct in [
            "postgres://u@ep-a-b-1.us-east-2.aws.neon.tech/d",
            "postgres://u@aws-0-eu.pooler.supabase.com:5432/d",
            "postgres://u@my-pooler.example.com/d",
            "postgres://u@h:6543/d?pgbouncer=false",
        ] {
            assert_eq!(pooler(direct), None, "{direct}");
        }
    }

    #[test]
    fn labels_and_children() {
        let t = ok(&format!("postgres://u:{MARK}@h/d?sslmode=require"));
        assert_eq!(t.host_label(false), "h");
        assert_eq!(t.host_label(true), "sha256:aaa9402664f1a41f");
        let env = t.with_dbname("other").child_env();
        let get = |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.to_str().unwrap());
        assert_eq!(
            (get("PGDATABASE"), get("PGPASSWORD"), get("PGSSLMODE")),
            (Some("other"), Some(MARK), Some("require"))
        );
        assert_eq!(
            (get("PGHOST"), get("PGHOSTADDR"), get("PGPASSFILE")),
            (Some("h"), None, Some("/nonexistent/pgpass"))
        );
    }

    #[tokio::test]
    async fn pin_takes_an_address_that_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let t = ok(&format!("postgres://u@localhost:{port}/d")).pin().await.unwrap();
        assert_eq!(t.hostaddr.as_deref(), Some("127.0.0.1"));
        drop(listener);
        let e = ok(&format!("postgres://u@localhost:{port}/d")).pin().await.unwrap_err();
        assert!(e.one_line().starts_with(&format!("nobody answers at localhost:{port}: ")), "{e}");
        assert!(e.hint_text().unwrap().contains("container"), "{e:?}");
        let e = ok("postgres://u@no-such-host.invalid/d").pin().await.unwrap_err();
        assert!(e.message().contains("does not resolve"), "{e}");
    }
}
