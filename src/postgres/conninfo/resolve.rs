//! From parameters to a target: the environment and the home folder fill what the string leaves open.

use super::{
    params::Params,
    passfile::from_password_file,
    target::{SslMode, Target},
    wrong::{ENCODE, URL, usage},
};
use crate::{clock::STALL, error::Result, secret::Secret};
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

/// The socket folder of Debian's or the upstream build when one holds the port's socket, else `localhost`.
fn default_host(port: u16) -> String {
    ["/var/run/postgresql", "/tmp"]
        .into_iter()
        .find(|dir| Path::new(dir).join(format!(".s.PGSQL.{port}")).exists())
        .unwrap_or("localhost")
        .to_owned()
}

/// Fills what the string leaves open from the `PG*` variables. `given`: there is a string.
pub(super) fn fill(params: &mut Params, given: bool, env: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    if params.contains_key("service") || env("PGSERVICE").is_some() {
        return Err(usage("connection service files (service=, PGSERVICE) are not read")
            .hint(format!("give the host, user and database themselves: {URL}")));
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
        if name == "hostaddr" && params.contains_key("host") && given {
            continue;
        }
        if !params.contains_key(name)
            && let Some(value) = env(variable)
        {
            params.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

/// Makes a target of parameters.
pub(super) struct Resolver<'a> {
    pub params: Params,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// What the user should know.
    pub notices: &'a mut Vec<String>,
}

/// Where the server is.
struct Place {
    host: String,
    hostaddr: Option<String>,
    port: u16,
    /// The name that the password file knows it by.
    known_as: String,
}

/// How TLS is used, and the files that it takes.
struct Tls {
    sslmode: SslMode,
    sslrootcert: Option<String>,
    sslcert: Option<PathBuf>,
    sslkey: Option<PathBuf>,
}

impl Resolver<'_> {
    /// The target.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`], without a piece of the string.
    pub fn target(mut self, pooler_flag: bool) -> Result<Target> {
        let Place { host, hostaddr, port, known_as } = self.place()?;
        let user = self.take("user").or_else(|| (self.env)("USER")).or_else(|| (self.env)("LOGNAME"));
        let user = user.ok_or_else(|| usage("the database URL names no user").hint(format!("write {URL}")))?;
        let dbname = self.take("dbname").unwrap_or_else(|| user.clone());
        let Tls { sslmode, sslrootcert, sslcert, sslkey } = self.tls()?;
        let channel_binding = self.channel_binding()?;
        let connect_timeout = self.connect_timeout()?;
        let password = self.password(&known_as, port, &dbname, &user);
        for value in [&host, &user, &dbname] {
            if value.contains('\0') {
                return Err(usage("the database URL holds a zero byte"));
            }
        }
        Ok(Target {
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
            options: self.take("options"),
            connect_timeout,
            stall: STALL,
            pooler_flag,
        })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.params.remove(name)
    }

    fn home(&self) -> Option<PathBuf> {
        (self.env)("HOME").map(PathBuf::from)
    }

    fn place(&mut self) -> Result<Place> {
        let (host, hostaddr) = (self.take("host"), self.take("hostaddr"));
        if host.is_none() && hostaddr.is_none() && !self.params.contains_key("dbname") {
            return Err(usage("no database is named").hint(format!("set --database-url (or DATABASE_URL) to {URL}")));
        }
        let port = self.take("port");
        if [&host, &hostaddr, &port].iter().any(|v| v.as_ref().is_some_and(|v| v.contains(','))) {
            return Err(usage("the database URL names several hosts")
                .hint("name the one server that the backup is to be taken from"));
        }
        let port =
            match port {
                None => 5432,
                Some(p) => p.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(|| {
                    usage("the port in the database URL is not a number from 1 to 65535").hint(ENCODE)
                })?,
            };
        if let Some(addr) = &hostaddr
            && addr.parse::<IpAddr>().is_err()
        {
            return Err(usage("hostaddr is not a numeric IP address").hint("name the server with host= in place of it"));
        }
        // An unencoded @ in the password moves its end into the host: such a host must not be shown or looked up.
        if host.as_deref().is_some_and(|h| h.contains('@')) {
            return Err(usage("the host in the database URL holds an @").hint(ENCODE));
        }
        let known_as = match (&host, &hostaddr) {
            // libpq looks the default socket folder up under `localhost`.
            (Some(host), _) if host == "/var/run/postgresql" || host == "/tmp" => "localhost".to_owned(),
            (Some(host), _) => host.clone(),
            (None, addr) => addr.clone().unwrap_or_else(|| "localhost".to_owned()),
        };
        let host = host.or_else(|| hostaddr.clone()).unwrap_or_else(|| default_host(port));
        Ok(Place { host, hostaddr, port, known_as })
    }

    fn tls(&mut self) -> Result<Tls> {
        let rootcert = self.take("sslrootcert");
        let sslmode = self.sslmode(rootcert.as_deref())?;
        let home = self.home();
        let in_home = |name: &str| home.as_ref().map(|h| h.join(".postgresql").join(name)).filter(|p| p.is_file());
        let sslrootcert = match rootcert {
            // Children run without this variable, and libpq before 16 does not know `system`.
            Some(r) if r == "system" => {
                Some((self.env)("SSL_CERT_FILE").filter(|f| Path::new(f).is_file()).unwrap_or(r))
            }
            Some(r) => Some(r),
            None if sslmode != SslMode::Disable => in_home("root.crt").map(|p| p.to_string_lossy().into_owned()),
            None => None,
        };
        let sslcert = self.take("sslcert").map(PathBuf::from).or_else(|| in_home("postgresql.crt"));
        let sslkey = self.take("sslkey").map(PathBuf::from).or_else(|| in_home("postgresql.key"));
        let unused = sslcert.is_none() || sslmode == SslMode::Disable;
        let (sslcert, sslkey) = if unused { (None, None) } else { (sslcert, sslkey) };
        Ok(Tls { sslmode, sslrootcert, sslcert, sslkey })
    }

    fn sslmode(&mut self, rootcert: Option<&str>) -> Result<SslMode> {
        let sslmode = match self.take("sslmode").as_deref() {
            None if rootcert == Some("system") => SslMode::VerifyFull,
            None => SslMode::Prefer,
            Some("no-verify") => {
                self.notices.push("sslmode=no-verify is read as sslmode=require".into());
                SslMode::Require
            }
            Some(name) => SslMode::parse(name).ok_or_else(|| {
                usage("the value of sslmode is not known")
                    .hint("use one of disable, allow, prefer, require, verify-ca, verify-full")
            })?,
        };
        if rootcert == Some("system") && sslmode != SslMode::VerifyFull {
            return Err(usage(format!("sslmode={} is too weak for sslrootcert=system", sslmode.name()))
                .hint("use sslmode=verify-full"));
        }
        Ok(sslmode)
    }

    fn channel_binding(&mut self) -> Result<Option<String>> {
        let channel_binding = self.take("channel_binding");
        if channel_binding.as_deref().is_some_and(|c| !["disable", "prefer", "require"].contains(&c)) {
            return Err(usage("the value of channel_binding is not known").hint("use one of disable, prefer, require"));
        }
        Ok(channel_binding)
    }

    fn connect_timeout(&mut self) -> Result<Option<u64>> {
        let Some(text) = self.take("connect_timeout") else { return Ok(None) };
        let seconds = text
            .parse::<i64>()
            .map_err(|_| usage("connect_timeout is not a whole number of seconds").hint("use connect_timeout=15"))?;
        // Zero and less mean "for ever" to libpq; a backup in CI is better off with our own default.
        Ok(u64::try_from(seconds).ok().filter(|t| *t > 0))
    }

    fn password(&mut self, known_as: &str, port: u16, dbname: &str, user: &str) -> Option<Secret> {
        let (password, file) = (self.take("password"), self.take("passfile"));
        if let Some(password) = password {
            return Some(Secret::new(password));
        }
        let path = file.map(PathBuf::from).or_else(|| self.home().map(|h| h.join(".pgpass")))?;
        from_password_file(&path, known_as, port, dbname, user, self.notices)
    }
}
