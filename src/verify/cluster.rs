//! The throwaway server: initdb, start, stop.
//!
//! `postgres` runs as a direct child (no daemon), reachable only over a Unix socket in a folder that nobody else may enter,
//! and under another uid when we are root, which it refuses. Everything lies in one folder of a [`crate::scratch::Scratch`], so that
//! a run that was killed is swept by the next one.

use super::{
    cage::{Cage, Fault},
    limits::{Guarded, Watch},
};
use crate::{
    error::{Error, Kind, Result, io},
    postgres::{
        conninfo::{STALL, SslMode, Target},
        extension::special,
        quote::{literal, quote},
        tools::Tools,
    },
    procfs::{self, Group},
    scratch::{self, SOCKET_NOTE, SOCKET_PREFIX},
    vault::manifest::{Extension, Source},
};
use rustix::process::Signal;
use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tokio_postgres::{Client, NoTls};

const MIB: u64 = 1 << 20;
/// `sockaddr_un` holds 107 bytes and a NUL; the server appends `/.s.PGSQL.5432.lock` to its folder (the lock file is no socket).
const MAX_SOCKET_PATH: usize = 107;
/// The server's niceness.
const NICE: i32 = 10;
const PORT: u16 = 5432;
const READY_WITHIN: Duration = Duration::from_secs(60);
/// An immediate shutdown ends its backends by force after 5 s.
const STOP_WITHIN: Duration = Duration::from_secs(8);
/// Sessions run these locales without any file.
const BUILT_IN_LOCALES: [&str; 4] = ["C", "POSIX", "C.UTF-8", "C.utf8"];

/// What the throwaway server is to be.
#[derive(Clone, Debug)]
pub struct ClusterOptions<'a> {
    /// PostgreSQL's programs; `initdb` and `postgres` must be there.
    pub tools: &'a Tools,
    /// A folder inside the scratch folder that does not exist yet; holds everything of the server.
    pub folder: PathBuf,
    /// Name of the bootstrap superuser: the source's own, so that what it owns restores without a change.
    pub superuser: String,
    /// `lc_monetary` of every session, as in the source: `money` prints by it.
    pub lc_monetary: String,
    /// libc locales that databases will ask for; those that the machine lacks are made by `localedef` where it is installed.
    pub locales: Vec<String>,
    /// Connections that load and build indexes at the same time.
    pub jobs: usize,
    /// Extensions of the source: the libraries of those that must be loaded at the server's start are, where they are installed.
    pub extensions: &'a [Extension],
    /// The database that the archive is restored into, for extensions that live in one database only.
    pub database: &'a str,
    /// Libraries that the source loads at its start.
    pub libraries: &'a [String],
    /// Bytes for `shared_buffers`; default 256 MiB. Never more than an eighth of the memory that is free.
    pub memory: Option<u64>,
    /// Log what a migration changes as a server in production does; without, a restore writes less.
    pub logs_wal: bool,
    /// How it is kept in.
    pub guarded: Guarded,
}

/// A running throwaway server. [`Cluster::stop`] or dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    server: Option<Child>,
    folder: PathBuf,
    socket: PathBuf,
    superuser: String,
    notes: Vec<String>,
    uncaged: Option<String>,
    watch: Option<Watch>,
}

/// Whether the server is started in its cage, or why it is not.
#[derive(Clone, Debug)]
enum Start {
    Caged,
    Bare(String),
}

/// What ends postgresql.conf, whose last word counts.
const INCLUDE: &[u8] = b"\ninclude 'savepoint.conf'\n";

/// Uid and gid that the server runs as, when they are not ours.
type RunAs = Option<(u32, u32)>;

impl Cluster {
    /// Makes and starts a server and waits until it answers. Errors (`Kind::Throwaway`) hold the last lines of its log; nothing
    /// is left behind then.
    pub async fn create(options: ClusterOptions<'_>) -> Result<Cluster> {
        let missing = |program: &str| {
            Error::new(Kind::Tool, format!("{} holds no {program}", options.tools.dir.display()))
                .hint(format!("install the server package, such as postgresql-{}", options.tools.major))
        };
        let initdb = options.tools.initdb.as_deref().ok_or_else(|| missing("initdb"))?;
        let postgres = options.tools.postgres.as_deref().ok_or_else(|| missing("postgres"))?;
        let run_as = run_as();
        let folder = options.folder.clone();
        let mut cluster = Cluster {
            server: None,
            socket: folder.join("s"),
            folder: folder.clone(),
            superuser: options.superuser.clone(),
            notes: Vec::new(),
            uncaged: None,
            watch: None,
        };
        // From here on dropping `cluster` cleans up.
        fs::create_dir(&folder).map_err(io(format!("the folder {} cannot be made", folder.display())))?;
        own(&folder, run_as)?;
        cluster.make_socket_folder(run_as)?;
        let mut env =
            Environment { run_as, folder: &folder, libraries: options.tools.dir.join("../lib"), locpath: None };
        let wanted: Vec<&str> = options.locales.iter().chain([&options.lc_monetary]).map(String::as_str).collect();
        env.locpath = make_locales(&wanted, &env, &folder.join("locale")).await;

        let data = folder.join("data");
        let mut command = env.command(initdb);
        command.arg("-D").arg(&data).args(["-U", &options.superuser, "-A", "trust", "-E", "UTF8", "--locale=C"]);
        command.arg("--no-sync");
        if options.tools.major >= 18 {
            command.arg("--no-data-checksums");
        }
        // In no cage: it starts its servers through a shell, and nothing of a dump has come near it.
        let output = run(command).await?;
        if !output.status.success() {
            let why = tail(&output.stderr);
            let error = Error::new(
                Kind::Throwaway,
                format!("initdb of the throwaway server failed ({}): {why}", output.status),
            );
            return Err(if why.contains("ermission denied") {
                error.hint("the server's user must be able to enter the scratch folder: --scratch-dir moves it")
            } else {
                error
            });
        }
        let client = cluster.come_up(&options, postgres, &env).await?;
        cluster.set_lc_monetary(&client, &options.lc_monetary).await?;
        if let Some(pid) = cluster.pid() {
            cluster.watch = Watch::begin(&options.guarded, pid, &folder)?;
        }
        Ok(cluster)
    }

    /// Starts the server as well as this machine can: in its cage and with all libraries, or with fewer of either. Nothing of a dump is in
    /// it yet, so no dump can choose.
    async fn come_up(
        &mut self,
        options: &ClusterOptions<'_>,
        postgres: &Path,
        env: &Environment<'_>,
    ) -> Result<Client> {
        // A library of the source may want settings, a key or a licence that are not here; the proof need not have it.
        let libraries: &[bool] =
            if preloaded(options, true) == preloaded(options, false) { &[false] } else { &[true, false] };
        let mut failed = None;
        let mut start = Start::Caged;
        loop {
            for more in libraries {
                match self.start(options, postgres, env, *more, &start).await {
                    Ok(client) => {
                        self.uncaged = match start {
                            Start::Caged => None,
                            Start::Bare(why) => Some(why),
                        };
                        return Ok(client);
                    }
                    Err(Unstarted::NoCage(why)) => {
                        failed = None;
                        start = Start::Bare(why);
                        break;
                    }
                    Err(Unstarted::Failed(e)) => failed = Some(e),
                }
                self.end();
            }
            // The programs may lie where the cage does not let them read what they need.
            start = match (&start, failed.take()) {
                (Start::Bare(_), Some(e)) => return Err(e),
                (Start::Caged, Some(e)) => Start::Bare(format!("it does not start in one ({})", e.one_line())),
                _ => start,
            };
            if let (Start::Bare(why), true) = (&start, options.guarded.require_sandbox) {
                return Err(Error::new(Kind::Throwaway, format!("the throwaway server has no sandbox here: {why}"))
                    .hint("use Linux 5.13 or later with Landlock and seccomp allowed, or leave require-sandbox out"));
            }
        }
    }

    /// Starts the server. `more`: with the libraries that the source loads, not only those that its extensions need.
    async fn start(
        &mut self,
        options: &ClusterOptions<'_>,
        postgres: &Path,
        env: &Environment<'_>,
        more: bool,
        start: &Start,
    ) -> Result<Client, Unstarted> {
        let (data, log) = (self.folder.join("data"), self.folder.join("log"));
        let (config, own) = (data.join("postgresql.conf"), data.join("savepoint.conf"));
        let settings = settings(options, more, &self.socket, free_memory(), scratch::free_space(&self.folder)?);
        fs::write(&own, settings).map_err(io(own.display()))?;
        let mut text = fs::read(&config).map_err(io(config.display()))?;
        if !text.ends_with(INCLUDE) {
            text.extend(INCLUDE);
            fs::write(&config, text).map_err(io(config.display()))?;
        }
        let out = fs::File::create(&log).map_err(io(log.display()))?;
        let err = out.try_clone().map_err(io(log.display()))?;
        let mut command = env.command(postgres);
        command.arg("-D").arg(&data).stdout(out).stderr(err);
        let cage = Cage { program: postgres, own: vec![&self.folder, &self.socket] };
        let spawned = match start {
            Start::Caged => cage.spawn(&mut command),
            Start::Bare(_) => command.spawn().map_err(Fault::Program),
        };
        let server = spawned.map_err(|fault| match fault {
            Fault::NoCage(why) => Unstarted::NoCage(why),
            Fault::Program(e) => Unstarted::Failed(
                Error::new(Kind::Throwaway, format!("the throwaway server ({}) cannot be started", postgres.display()))
                    .because(e),
            ),
        })?;
        // What it is asked for beside the dump must not keep the source's snapshot open for longer. Its own processes inherit this.
        let pid = rustix::process::Pid::from_raw(server.id().cast_signed());
        let _ = rustix::process::setpriority_process(pid, NICE);
        self.server = Some(server);
        Ok(self.wait_until_ready(&log).await?)
    }

    /// How a database of this server is reached.
    pub fn target(&self, dbname: &str) -> Target {
        Target {
            host: self.socket.to_string_lossy().into_owned(),
            hostaddr: None,
            port: PORT,
            user: self.superuser.clone(),
            password: None,
            dbname: dbname.to_owned(),
            sslmode: SslMode::Disable,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            channel_binding: None,
            options: None,
            connect_timeout: Some(READY_WITHIN.as_secs()),
            stall: STALL,
            pooler_flag: false,
        }
    }

    /// What a proof on this server leaves unproven, in words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Why it runs without a cage, when it does.
    pub fn uncaged(&self) -> Option<&str> {
        self.uncaged.as_deref()
    }

    /// The limit that it has passed, for which it was ended.
    pub fn passed(&self) -> Option<Error> {
        self.watch.as_ref().and_then(Watch::passed)
    }

    /// That its disk was full, when its log says so.
    pub fn ran_out_of_disk(&self) -> Option<Error> {
        let log = fs::read(self.folder.join("log")).ok()?;
        let line = String::from_utf8_lossy(&log).lines().find(|line| line.contains(DISK_IS_FULL))?.trim().to_owned();
        let at = self.folder.display();
        Some(
            Error::new(Kind::Throwaway, format!("the disk of the throwaway server ({at}) is full: {line}"))
                .hint("name a larger disk with scratch-dir, or a server with verify-url"),
        )
    }

    /// Bytes of its log.
    pub fn log_length(&self) -> u64 {
        fs::metadata(self.folder.join("log")).map_or(0, |log| log.len())
    }

    /// The errors in its log behind so many bytes, without time and process.
    pub fn errors_behind(&self, length: u64) -> Vec<String> {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let new = log.get(usize::try_from(length).unwrap_or(usize::MAX)..).unwrap_or_default();
        let error = |line: &str| ["ERROR:  ", "FATAL:  "].iter().find_map(|at| Some(line.split_once(at)?.1.to_owned()));
        String::from_utf8_lossy(new).lines().filter_map(error).collect()
    }

    /// The file of its socket.
    pub fn socket_file(&self) -> PathBuf {
        self.socket.join(format!(".s.PGSQL.{PORT}"))
    }

    /// Lets nobody in any more without a password. Takes effect when the server next reads its configuration.
    pub fn ask_for_passwords(&self) -> Result<()> {
        let rules = self.folder.join("data/pg_hba.conf");
        fs::write(&rules, "local all all scram-sha-256\n").map_err(io(rules.display()))
    }

    /// The server's process id.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Ends the server at once (nothing in it is worth a checkpoint) and removes its folder.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(server) = self.server.as_mut() {
            procfs::signal(server.id(), Signal::QUIT);
            let deadline = Instant::now() + STOP_WITHIN;
            while !has_ended(server) && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        self.end();
        self.remove_folders()
    }

    /// Ends what is left of the server; bounded by [`STOP_WITHIN`].
    fn end(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        if has_ended(&mut server) {
            return;
        }
        procfs::signal(server.id(), Signal::QUIT);
        let deadline = Instant::now() + STOP_WITHIN;
        while !has_ended(&mut server) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !has_ended(&mut server) {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    fn remove_folders(&self) -> Result<()> {
        let mut result = Ok(());
        for folder in [&self.socket, &self.folder] {
            match fs::remove_dir_all(folder) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    result = Err(io(format!("the folder {} cannot be removed", folder.display()))(e));
                }
                _ => {}
            }
        }
        result
    }

    /// The socket's folder: in the server's own, or a short one under `/tmp` where that path is too long for a socket.
    fn make_socket_folder(&mut self, run_as: RunAs) -> Result<()> {
        let length = |p: &Path| p.join(format!(".s.PGSQL.{PORT}")).as_os_str().len();
        if length(&self.socket) <= MAX_SOCKET_PATH {
            fs::create_dir(&self.socket).map_err(io(self.socket.display()))?;
        } else {
            let short = tempfile::Builder::new().prefix(SOCKET_PREFIX).tempdir_in("/tmp");
            self.socket = short.map_err(io("a short folder for the throwaway server's socket under /tmp"))?.keep();
            let note = self.folder.join(SOCKET_NOTE);
            fs::write(&note, self.socket.as_os_str().as_encoded_bytes()).map_err(io(note.display()))?;
        }
        own(&self.socket, run_as)
    }

    async fn wait_until_ready(&mut self, log: &Path) -> Result<Client> {
        let failed = |why: String| {
            let log = fs::read(log).unwrap_or_default();
            Error::new(Kind::Throwaway, format!("the throwaway server {why}: {}", tail(&log)))
        };
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(server) = self.server.as_mut()
                && let Ok(Some(status)) = server.try_wait()
            {
                return Err(failed(format!("did not start ({status})")));
            }
            let why = match self.connect("postgres").await {
                Ok(client) => return Ok(client),
                Err(e) => e,
            };
            if Instant::now() > deadline {
                return Err(failed(format!("does not answer after {} s", READY_WITHIN.as_secs())).because(why));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A session of the superuser; its connection is driven by a task that ends with the client.
    async fn connect(&self, dbname: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.socket).port(PORT).user(&self.superuser).dbname(dbname);
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Set by SQL once the server runs: a name that it does not know would keep it from starting.
    async fn set_lc_monetary(&mut self, client: &Client, name: &str) -> Result<()> {
        if name.is_empty() || name == "C" {
            return Ok(());
        }
        let sql = format!("ALTER SYSTEM SET lc_monetary = {}", literal(name));
        let failed = |e| Error::new(Kind::Throwaway, "the throwaway server refuses to set lc_monetary").because(e);
        match client.batch_execute(&sql).await {
            Ok(()) => client.batch_execute("SELECT pg_reload_conf()").await.map_err(failed),
            Err(e) if e.as_db_error().is_some() => {
                self.notes.push(format!(
                    "lc_monetary {name} cannot be had on this machine: values of type money print differently"
                ));
                Ok(())
            }
            Err(e) => Err(failed(e)),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
        // Nothing is left to tell; the scratch folder around it goes next.
        let _ = self.remove_folders();
    }
}

/// The statement that makes an empty database with the source's encoding and locale.
pub fn create_database_sql(source: &Source, name: &str) -> String {
    let mut sql = format!("CREATE DATABASE {} TEMPLATE template0 ENCODING {}", quote(name), literal(&source.encoding));
    if source.major >= 15 {
        let _ = write!(sql, " LOCALE_PROVIDER {}", literal(&source.locale_provider));
    }
    let _ = write!(sql, " LC_COLLATE {} LC_CTYPE {}", literal(&source.collate), literal(&source.ctype));
    match (source.locale_provider.as_str(), &source.locale) {
        ("icu", Some(locale)) => _ = write!(sql, " ICU_LOCALE {}", literal(locale)),
        ("builtin", Some(locale)) => _ = write!(sql, " BUILTIN_LOCALE {}", literal(locale)),
        _ => {}
    }
    sql
}

/// Makes an empty database as in the source. Where this server cannot give it the source's locale, it gets the nearest
/// one; the returned notes say what that leaves unproven.
pub async fn create_database(client: &Client, source: &Source, name: &str) -> Result<Vec<String>> {
    let libc = |collate: &str, ctype: &str| Source {
        locale_provider: "libc".to_owned(),
        collate: collate.to_owned(),
        ctype: ctype.to_owned(),
        locale: None,
        ..source.clone()
    };
    let mut tries = vec![source.clone(), libc(&source.collate, &source.ctype)];
    if source.encoding == "UTF8" {
        tries.push(libc("C.UTF-8", "C.UTF-8"));
    }
    tries.push(libc("C", "C"));
    tries.dedup();
    let mut refused = None;
    for (n, attempt) in tries.iter().enumerate() {
        match client.batch_execute(&create_database_sql(attempt, name)).await {
            Ok(()) if n == 0 => return Ok(Vec::new()),
            Ok(()) => {
                let why = refused.as_ref().map(tokio_postgres::Error::to_string).unwrap_or_default();
                return Ok(vec![format!(
                    "the throwaway server cannot give the database its locale {} ({why}): {} is used, so what rests on the order of \
                     text (unique indexes, range partitions, CHECK constraints) is proven for that order only",
                    locale(source),
                    locale(attempt),
                )]);
            }
            Err(e) => {
                // Only a locale that is unknown here is worth another try.
                let db = e.as_db_error().map(|e| e.message().to_owned());
                let of_locale =
                    db.as_deref().is_some_and(|m| ["locale", "ICU", "encoding"].iter().any(|w| m.contains(w)));
                if !of_locale {
                    return Err(
                        Error::new(Kind::Throwaway, format!("the throwaway database {name} cannot be made")).because(e)
                    );
                }
                refused.get_or_insert(e);
            }
        }
    }
    let e = Error::new(Kind::Throwaway, format!("the throwaway database {name} cannot be made with any locale"));
    Err(match refused {
        Some(cause) => e.because(cause),
        None => e,
    })
}

fn locale(source: &Source) -> String {
    let name = source.locale.as_deref().unwrap_or(&source.collate);
    format!("{name} ({})", source.locale_provider)
}

/// Why the server is not up.
enum Unstarted {
    /// There is no cage for it.
    NoCage(String),
    /// It would not run.
    Failed(Error),
}

impl From<Error> for Unstarted {
    fn from(e: Error) -> Self {
        Unstarted::Failed(e)
    }
}

/// What every child of the server's family gets: another uid, a clean environment, a working folder that it may enter.
struct Environment<'a> {
    run_as: RunAs,
    folder: &'a Path,
    libraries: PathBuf,
    locpath: Option<PathBuf>,
}

impl Environment<'_> {
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.folder).env("TZ", "UTC").env("LC_ALL", "C");
        // initdb and localedef look up other programs.
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        if self.libraries.is_dir() {
            // Installations that were moved have some extensions that do not find libpq.
            command.env("LD_LIBRARY_PATH", &self.libraries);
        }
        if let Some(locpath) = &self.locpath {
            command.env("LOCPATH", locpath);
        }
        // A group of its own: an interrupt typed at the terminal is ours to act on, not the server's.
        command.current_dir(self.folder).stdin(Stdio::null()).process_group(0);
        if let Some((uid, gid)) = self.run_as {
            command.uid(uid).gid(gid);
        }
        command
    }
}

async fn run(command: Command) -> Result<Output> {
    let what = format!("{} cannot be started", command.get_program().to_string_lossy());
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|e| Error::new(Kind::Throwaway, &what).because(e))?;
    // Should this be broken off: initdb has children of its own, which work in a folder that is to go.
    let group = Group::of(child.id());
    let output = child.wait_with_output().await.map_err(|e| Error::new(Kind::Throwaway, what).because(e));
    group.ended();
    output
}

/// Makes those libc locales that the machine lacks, where it can, and returns the folder for LOCPATH. What fails here shows when
/// a database asks for the locale.
async fn make_locales(wanted: &[&str], env: &Environment<'_>, folder: &Path) -> Option<PathBuf> {
    let harmless = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b));
    let wanted: std::collections::BTreeSet<&str> =
        wanted.iter().copied().filter(|n| harmless(n) && !BUILT_IN_LOCALES.contains(n)).collect();
    let installed = run({
        let mut list = env.command("locale");
        list.arg("-a");
        list
    });
    let known: Vec<String> = match installed.await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).lines().map(normal_locale).collect(),
        Err(_) => Vec::new(),
    };
    if wanted.iter().all(|n| known.contains(&normal_locale(n))) {
        return None;
    }
    fs::create_dir(folder).ok()?;
    own(folder, env.run_as).ok()?;
    let mut made = false;
    // All of them: with LOCPATH set glibc no longer looks into the machine's own locale archive.
    for name in wanted {
        let (base, modifier) = name.split_once('@').map_or((name, String::new()), |(b, m)| (b, format!("@{m}")));
        let (language, charmap) = base.split_once('.').unwrap_or((base, "ISO-8859-1"));
        let mut command = env.command("localedef");
        command
            .args(["-c", "-i", &format!("{language}{modifier}"), "-f", &charmap_name(charmap)])
            .arg(folder.join(name));
        let output = run(command).await;
        // Warnings, too, give a non-zero exit status: the result counts.
        made |= output.is_ok() && folder.join(name).join("LC_COLLATE").exists();
    }
    made.then(|| folder.to_path_buf())
}

/// `en_US.UTF-8` and `en_US.utf8` are one: glibc compares code sets by their lower-case letters and digits.
fn normal_locale(name: &str) -> String {
    match name.split_once('.') {
        None => name.to_owned(),
        Some((language, rest)) => {
            let (codeset, modifier) = rest.split_once('@').map_or((rest, None), |(c, m)| (c, Some(m)));
            let codeset: String = codeset.chars().filter(char::is_ascii_alphanumeric).collect();
            let modifier = modifier.map(|m| format!("@{m}")).unwrap_or_default();
            format!("{language}.{}{modifier}", codeset.to_lowercase())
        }
    }
}

/// The charmap file's name for a code set as a locale's name writes it.
fn charmap_name(codeset: &str) -> String {
    let plain: String = codeset.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    match plain.strip_prefix("iso8859") {
        Some(part) => format!("ISO-8859-{part}"),
        None if plain == "utf8" => "UTF-8".to_owned(),
        None => codeset.to_uppercase(),
    }
}

/// postgresql.conf: no network, speed before safety (a crash costs a throwaway copy), nothing that acts on its own.
fn settings(options: &ClusterOptions<'_>, more: bool, socket: &Path, memory: u64, disk: u64) -> String {
    let share = (memory / 8).max(16 * MIB);
    let jobs = options.jobs.max(1) as u64;
    let buffers = options.memory.unwrap_or(256 * MIB).clamp(16 * MIB, share) / MIB;
    let maintenance = (128 * MIB).min(share / jobs).max(8 * MIB) / MIB;
    let level = if options.logs_wal { "replica" } else { "minimal" };
    // WAL is only ever written here, never read; it must not fill a small disk.
    let wal = (disk / 8 / MIB).clamp(256, 16 * 1024);
    let mut text = format!(
        "\n# throwaway server\n\
         listen_addresses = ''\n\
         port = {PORT}\n\
         unix_socket_directories = {}\n\
         unix_socket_permissions = 0700\n\
         max_connections = 50\n\
         max_locks_per_transaction = 2048\n\
         shared_buffers = {buffers}MB\n\
         maintenance_work_mem = {maintenance}MB\n\
         dynamic_shared_memory_type = mmap\n\
         huge_pages = off\n\
         fsync = off\n\
         full_page_writes = off\n\
         synchronous_commit = off\n\
         wal_level = {level}\n\
         max_wal_senders = 0\n\
         max_wal_size = {wal}MB\n\
         checkpoint_timeout = 1h\n\
         autovacuum = off\n\
         jit = off\n\
         max_logical_replication_workers = 0\n\
         logging_collector = off\n\
         log_destination = 'stderr'\n\
         log_checkpoints = off\n\
         session_preload_libraries = ''\n\
         shared_preload_libraries = ''\n\
         timezone = 'UTC'\n",
        literal_in_config(&socket.to_string_lossy()),
    );
    if options.tools.major >= 17 {
        // They are restored and compared, but must not run.
        text.push_str("event_triggers = off\n");
    }
    let libraries = preloaded(options, more);
    if !libraries.is_empty() {
        // With no background worker nothing of theirs runs here: no job of the source's is started on its copy.
        text.push_str(&format!(
            "shared_preload_libraries = '{}'\nmax_worker_processes = 0\ncron.database_name = {}\ncron.launch_active_jobs = off\n\
             timescaledb.telemetry_level = off\n",
            libraries.join(","),
            literal_in_config(options.database)
        ));
    }
    text
}

/// Bytes of memory that are free for us.
fn free_memory() -> u64 {
    procfs::memory("MemAvailable:").unwrap_or_else(|| procfs::within_limits(1024 * MIB))
}

/// Root cannot run the server: it gets the uid of `postgres`, else that of `nobody`.
fn run_as() -> RunAs {
    rustix::process::geteuid().is_root().then(|| {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        passwd
            .lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                (fields.next()? == "postgres").then_some(())?;
                Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
            })
            .unwrap_or((65534, 65534))
    })
}

/// Hands a folder to the server's user; nobody else may enter.
fn own(folder: &Path, run_as: RunAs) -> Result<()> {
    let failed = || format!("the folder {} cannot be given to the server's user", folder.display());
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(io(failed()))?;
    match run_as {
        Some((uid, gid)) => chown(folder, Some(uid), Some(gid)).map_err(io(failed())),
        None => Ok(()),
    }
}

/// What the C library says of `ENOSPC`; the server runs with `LC_ALL=C`.
const DISK_IS_FULL: &str = "No space left on device";

/// Also true when somebody else (a reaper of orphans) has waited for it.
fn has_ended(server: &mut Child) -> bool {
    !matches!(server.try_wait(), Ok(None))
}

/// The last lines of a log, for an error message.
fn tail(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    match lines.len() {
        0 => "it said nothing".to_owned(),
        n => lines[n.saturating_sub(5)..].join("; "),
    }
}

/// A string in postgresql.conf: backslashes are escapes there.
/// Preloaded, Apache AGE refuses to let any other extension be created until it is there itself, and it needs no preloading.
const UNWANTED: [&str; 1] = ["age"];

/// Libraries that are loaded at the server's start: those without which an extension cannot be created, and with `more` those that the
/// source loads, as far as they lie here.
fn preloaded(options: &ClusterOptions<'_>, more: bool) -> Vec<String> {
    let bin = &options.tools.dir;
    // Beside the programs, as PostgreSQL itself, Debian and others lay them.
    let installed = |library: &String| {
        let is_name = library.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        is_name && ["../lib", "../lib/postgresql"].iter().any(|d| bin.join(d).join(format!("{library}.so")).exists())
    };
    let known = options.extensions.iter().filter_map(|e| special(&e.name)).flat_map(|s| s.preload);
    let of_source = options.libraries.iter().filter(|_| more).map(|l| l.trim_start_matches("$libdir/"));
    let of_source = of_source.filter(|l| !UNWANTED.contains(l));
    let mut all: Vec<String> = Vec::new();
    for library in of_source.chain(known.copied()).map(str::to_owned).filter(installed) {
        if !all.contains(&library) {
            all.push(library);
        }
    }
    // It insists on being the first.
    all.sort_by_key(|library| library != "timescaledb" && library != "citus");
    all
}

fn literal_in_config(text: &str) -> String {
    literal(&text.replace('\\', "\\\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_locales_and_charmaps() {
        assert_eq!(normal_locale("de_DE.ISO-8859-15@euro"), "de_DE.iso885915@euro");
        assert_eq!(normal_locale("en_US.UTF-8"), normal_locale("en_US.utf8"));
        assert_eq!(charmap_name("iso88591"), "ISO-8859-1");
        assert_eq!(charmap_name("utf8"), "UTF-8");
        assert_eq!(charmap_name("koi8-r"), "KOI8-R");
    }

    #[test]
    fn the_log_of_a_dead_server_is_cut_to_its_end() {
        assert_eq!(tail(b"a\nb\nc\nd\ne\n\nf\n"), "b; c; d; e; f");
        assert_eq!(tail(b"\n"), "it said nothing");
    }
}
