//! One server and database, and how to reach it.

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a connection may take to come about when `connect_timeout` does not say.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Where distributions keep the bundle of root certificates.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

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
    /// How long a server that owes an answer may send no byte before it is asked over another connection whether it still works.
    pub stall: Duration,
    /// The string said `pgbouncer=true`: a transaction pooler stands before the server.
    pub pooler_flag: bool,
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

    /// The same, given up when it has been silent for so long.
    #[must_use]
    pub fn with_stall(self, stall: Duration) -> Target {
        Target { stall, ..self }
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

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// Plain first, TLS when the server refuses that.
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

    pub(super) fn parse(name: &str) -> Option<Self> {
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

/// Characters that may stand bare in a URI's user, host or database.
const BARE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A value of a keyword/value connection string, in single quotes.
pub fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

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
