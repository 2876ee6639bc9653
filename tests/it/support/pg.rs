//! Real PostgreSQL servers.

use super::{Result, UNPRIVILEGED, Watched, free_ports, is_root, program, stack};
use anyhow::{Context, bail, ensure};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt, process::Command, sync::OnceCell};

/// The password of the role `marked`, the only one that has to give one. Nothing that a run leaves behind may hold it.
pub const MARKED_PASSWORD: &str = "mArKeD/p@ss:w0rd%41&x";

/// A running server: superuser `postgres`, trust for everyone but `marked` (over TCP).
#[derive(Debug)]
pub struct Server {
    /// Major version.
    pub major: u32,
    /// Folder of the programs.
    pub bin: PathBuf,
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// Folder of the socket and the data.
    pub dir: PathBuf,
    watched: Option<Watched>,
}

/// The shared server of a major: started at first use, ends with the test process. Use a database of your own on it.
pub async fn server(major: u32) -> Result<&'static Server> {
    static SERVERS: [OnceCell<Server>; 5] = [const { OnceCell::const_new() }; 5];
    let cell = SERVERS.get(major.wrapping_sub(14) as usize).context("no such major in the test stack")?;
    cell.get_or_try_init(|| Server::start(major, "")).await
}

impl Server {
    /// A server of its own, which ends when this is dropped. `conf`: lines for postgresql.conf.
    pub async fn start(major: u32, conf: &str) -> Result<Self> {
        let bin = program(stack().join(format!("pg/{major}/bin")))?.canonicalize()?;
        install_probe_extension(&bin)?;
        Self::start_by(major, &bin, conf, None).await
    }

    /// A standby of this server, by pg_basebackup.
    pub async fn standby(&self) -> Result<Self> {
        Self::start_by(self.major, &self.bin, "", Some(self)).await
    }

    /// A server of Debian's packages (`17deb`, with extensions) or of a major that only Debian has (`19`); `None` where
    /// `scripts/debian-postgres.sh` could not have it and said so.
    pub async fn debian(name: &str, conf: &str) -> Result<Option<Self>> {
        let skipped = stack().join("debian/skipped");
        if skipped.exists() {
            eprintln!("SKIPPED: {}", fs::read_to_string(skipped)?.trim());
            return Ok(None);
        }
        let bin = program(stack().join(format!("pg/{name}/bin")))?.canonicalize()?;
        install_probe_extension(&bin)?;
        let major = name.trim_end_matches("deb").parse()?;
        Self::start_by(major, &bin, conf, None).await.map(Some)
    }

    async fn start_by(major: u32, bin: &Path, conf: &str, primary: Option<&Server>) -> Result<Self> {
        // Another process may take the port between the question and the start.
        let mut last = String::new();
        for _ in 0..5 {
            let [port] = free_ports()?;
            match Self::try_start(major, bin, port, conf, primary).await {
                Ok(server) => return Ok(server),
                Err(e) => last = format!("{e:#}"),
            }
        }
        bail!("PostgreSQL {major} did not start: {last}")
    }

    async fn try_start(major: u32, bin: &Path, port: u16, conf: &str, primary: Option<&Server>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("sp-pg-").tempdir()?.keep();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        let conf = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nfsync = off\n\
             full_page_writes = off\nshared_buffers = 32MB\nmax_connections = 60\nmax_prepared_transactions = 2\n\
             wal_level = logical\nmax_wal_size = 2GB\nautovacuum_naptime = 5s\n{conf}\n",
            dir.display()
        );
        fs::write(dir.join("extra.conf"), conf)?;
        fs::write(
            dir.join("hba.conf"),
            "local all all trust\nlocal replication all trust\nhost all marked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n",
        )?;
        let drop_to = if is_root() {
            chown(&dir, Some(UNPRIVILEGED), Some(UNPRIVILEGED))?;
            format!("setpriv --reuid={UNPRIVILEGED} --regid={UNPRIVILEGED} --clear-groups")
        } else {
            String::new()
        };
        let make = match primary {
            None => r#""$2/initdb" -D "$dir/data" -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8"#.to_owned(),
            Some(p) => format!(
                r#""$2/pg_basebackup" -h '{}' -p {} -U postgres -D "$dir/data" -R -c fast"#,
                p.dir.display(),
                p.port
            ),
        };
        // postgres_fdw and dblink find libpq only by LD_LIBRARY_PATH.
        let script = format!(
            r#"export LD_LIBRARY_PATH="$2/../lib" HOME=/tmp LC_ALL=C
{drop_to} {make} || exit 1
cat "$dir/extra.conf" >>"$dir/data/postgresql.conf"; cat "$dir/hba.conf" >"$dir/data/pg_hba.conf"
{drop_to} "$2/postgres" -D "$dir/data" & server=$!"#
        );
        let watched = Watched::start(&script, r#"kill -QUIT "$server""#, &dir, &[bin.display().to_string()])?;
        let server = Self { major, bin: bin.to_owned(), port, dir, watched: Some(watched) };
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match server.psql("postgres", "SELECT 1").await {
                Ok(_) => return Ok(server),
                Err(e) if Instant::now() > end || !server.is_running() => {
                    bail!("{e:#}\n{}", fs::read_to_string(server.dir.join("log")).unwrap_or_default())
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// True while the server's main process is there.
    pub fn is_running(&self) -> bool {
        self.watched.as_ref().is_some_and(|w| {
            // A process that has ended but was not yet waited for still has a folder there.
            fs::read_to_string(format!("/proc/{}/stat", w.pid)).is_ok_and(|s| !s.contains(") Z "))
        })
    }

    /// The process id of its main process.
    pub fn pid(&self) -> Option<u32> {
        self.watched.as_ref().map(|w| w.pid)
    }

    /// Ends the server at once.
    pub fn stop(&mut self) {
        self.watched = None;
    }

    /// The address of a database over TCP, as `postgres`.
    pub fn url(&self, db: &str) -> String {
        self.url_at(self.port, "postgres", db)
    }

    /// As [`Server::url`], through another port (a proxy's) or as another user (`user` or `user:password`, encoded).
    pub fn url_at(&self, port: u16, user: &str, db: &str) -> String {
        format!("postgresql://{user}@127.0.0.1:{port}/{}", encode(db))
    }

    /// The connection string of a database over the socket.
    pub fn socket(&self, db: &str) -> String {
        format!("host={} port={} user=postgres dbname='{db}'", self.dir.display(), self.port)
    }

    /// Makes an empty database; `options` as in CREATE DATABASE, such as `ENCODING 'LATIN1' LOCALE 'C'`.
    pub async fn create_db(&self, name: &str, options: &str) -> Result {
        self.psql("postgres", &format!("CREATE DATABASE {} TEMPLATE template0 {options}", quote(name))).await?;
        Ok(())
    }

    /// Drops a database, whoever is connected.
    pub async fn drop_db(&self, name: &str) -> Result {
        self.psql("postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote(name))).await?;
        Ok(())
    }

    /// Runs SQL by the real psql, stopping at the first error; what it prints (unaligned, without headers).
    pub async fn psql(&self, db: &str, sql: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&psql(&self.bin, &self.socket(db), sql).await?).trim_end().to_owned())
    }

    /// Runs a file of `tests/it/sql`.
    pub async fn psql_file(&self, db: &str, name: &str) -> Result<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sql").join(name);
        let sql = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        self.psql(db, &sql).await.with_context(|| name.to_owned())
    }

    /// Makes a database with everything awkward that this major knows.
    pub async fn awkward(&self, db: &str) -> Result {
        self.create_db(db, "ENCODING 'UTF8' LOCALE 'C.UTF-8'").await?;
        self.psql_file(db, "awkward.sql").await?;
        for major in 16..=self.major {
            self.psql_file(db, &format!("awkward_{major}.sql")).await?;
        }
        Ok(())
    }

    /// Runs a program of this server's own version; its stdout.
    pub async fn tool(&self, name: &str, args: &[&str]) -> Result<Vec<u8>> {
        let out = command(&self.bin, name).args(args).output().await?;
        ensure!(out.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(out.stdout)
    }

    /// Dumps a database by plain `pg_dump -Fd` into a folder that is not there yet.
    pub async fn pg_dump(&self, db: &str, dir: &Path) -> Result {
        self.tool("pg_dump", &["-Fd", "-f", &dir.display().to_string(), "-d", &self.socket(db)]).await?;
        Ok(())
    }

    /// Restores an archive by plain `pg_restore -j2`; any error fails.
    pub async fn pg_restore(&self, db: &str, dir: &Path) -> Result {
        // As docs/format.md says, but beside the archive: what is stored stays as it is.
        let unpacked = super::scratch()?;
        let unpack =
            "cp -r \"$0/.\" . && for pack in ./pack-*.tar*; do if [ -e \"$pack\" ]; then tar -xf \"$pack\"; fi; done";
        let mut shell = Command::new("bash");
        let out = shell.args(["-ec", unpack]).arg(dir).current_dir(unpacked.path()).output().await?;
        ensure!(out.status.success(), "unpacking: {}", String::from_utf8_lossy(&out.stderr));
        let dir = unpacked.path();
        self.tool("pg_restore", &["-j2", "--exit-on-error", "-d", &self.socket(db), &dir.display().to_string()])
            .await?;
        Ok(())
    }
}

/// Runs SQL against any connection string; raw stdout. The password, if any, must not stand in `conninfo`.
pub async fn psql(bin: &Path, conninfo: &str, sql: impl Into<Vec<u8>>) -> Result<Vec<u8>> {
    let mut child = command(bin, "psql")
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", conninfo])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let sql = sql.into();
    // psql may end before it has read everything; what it says then is the error.
    let feed = tokio::spawn(async move { stdin.write_all(&sql).await });
    let out = child.wait_with_output().await?;
    let _ = feed.await;
    ensure!(out.status.success(), "psql: {}", String::from_utf8_lossy(&out.stderr));
    Ok(out.stdout)
}

/// A program with nothing but what it needs in its environment.
pub fn command(bin: &Path, name: &str) -> Command {
    let mut command = Command::new(bin.join(name));
    command
        .env_clear()
        .env("LD_LIBRARY_PATH", bin.join("../lib"))
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nonexistent");
    command.kill_on_drop(true);
    command
}

/// An identifier in double quotes.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Percent-encoded for a URI.
pub fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// None of the contrib extensions has configuration tables; this one is the tests' own.
fn install_probe_extension(bin: &Path) -> Result {
    // As its makers lay it, and as Debian does.
    let debian =
        bin.join("../../../../share/postgresql").join(bin.parent().and_then(Path::file_name).unwrap_or_default());
    let dir = [bin.join("../share/extension"), debian.join("extension")].into_iter().find(|dir| dir.is_dir());
    let dir = dir.context("no folder of extensions")?;
    for (name, text) in [
        ("savepoint_probe.control", include_str!("../sql/extension/savepoint_probe.control")),
        ("savepoint_probe--1.0.sql", include_str!("../sql/extension/savepoint_probe--1.0.sql")),
        // Citus itself is not to be had here: its name is all that is asked about.
        ("citus.control", "comment = 'stands in for Citus'\ndefault_version = '1.0'\n"),
        ("citus--1.0.sql", "SELECT 1;\n"),
    ] {
        let path = dir.join(name);
        if fs::read_to_string(&path).is_ok_and(|t| t == text) {
            continue;
        }
        // Whole or not at all: another test process may be reading it.
        let part = tempfile::NamedTempFile::new_in(&dir)?;
        fs::write(part.path(), text)?;
        fs::set_permissions(part.path(), fs::Permissions::from_mode(0o644))?;
        part.persist(path)?;
    }
    Ok(())
}
