//! libpq connection strings: what they say, without ever showing the password.

use crate::secret::Secret;
use std::path::PathBuf;

/// One server and database, resolved from a URI or keyword string, the `PG*` variables and `.pgpass`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name, or a folder of a Unix socket (begins with `/`).
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
