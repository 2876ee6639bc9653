//! Connections to a real server with TLS: each `sslmode`, certificates of each kind, SCRAM with channel binding.

use savepoint::postgres::connect::{Session, connect, session_settings};
use savepoint::postgres::conninfo::{Target, parse};
use savepoint::{Error, error::Kind};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server with `ssl = on` of its own, stopped on drop.
pub struct Server {
    bin: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
}

/// PostgreSQL refuses root: as root everything runs as `nobody`.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn openssl(dir: &Path, args: &str) {
    run(command(Path::new("/usr/bin/openssl")).current_dir(dir).args(args.split_whitespace()));
}

/// `ca` signs `server` (SAN db.test), `old` (the same, but expired), `cn` (no SAN, CN db.test), `v1` (X.509 v1) and `client`; `other` is
/// another root, which signs `stranger`, `own` self-signed. Anybody may read `loose.key`, which is that of `client`.
fn certificates(dir: &Path) {
    for name in ["ca", "other", "own"] {
        let subject = if name == "own" { "db.test" } else { name };
        openssl(
            dir,
            &format!(
                "req -new -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={subject} -keyout {name}.key -out {name}.crt"
            ),
        );
    }
    std::fs::write(dir.join("san.ext"), "subjectAltName=DNS:db.test\n").expect("writable");
    std::fs::write(dir.join("cn.ext"), "extendedKeyUsage=serverAuth\n").expect("writable");
    for name in ["server", "old", "cn", "v1", "client", "stranger"] {
        openssl(dir, &format!("req -new -newkey rsa:2048 -nodes -subj /CN=db.test -keyout {name}.key -out {name}.csr"));
    }
    let sign = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 30";
    openssl(dir, &format!("x509 -req -in server.csr -out server.crt -extfile san.ext {sign}"));
    let past = sign.replace("-days 30", "-days -1");
    openssl(dir, &format!("x509 -req -in old.csr -out old.crt -extfile san.ext {past}"));
    openssl(dir, &format!("x509 -req -in cn.csr -out cn.crt -extfile cn.ext {sign}"));
    openssl(dir, &format!("x509 -req -in v1.csr -out v1.crt {sign}"));
    openssl(dir, &format!("x509 -req -in client.csr -out client.crt -extfile san.ext {sign}"));
    let sign = sign.replace("ca.", "other.");
    openssl(dir, &format!("x509 -req -in stranger.csr -out stranger.crt -extfile san.ext {sign}"));
    // A copy of another owner's would be root's, whose keys a group may read.
    run(command(Path::new("/usr/bin/install")).current_dir(dir).args(["-m", "0644", "client.key", "loose.key"]));
}

impl Server {
    pub fn start() -> Server {
        let root = crate::support::stack().join("pg");
        let bin = ["17", "18", "16", "15", "14"].map(|m| root.join(m).join("bin")).into_iter().find(|b| b.is_dir());
        let bin = bin.expect("scripts/test-stack.sh has fetched PostgreSQL");
        let dir = tempfile::tempdir().expect("a temporary folder");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).expect("root may chown");
        }
        let data = dir.path().join("data");
        certificates(dir.path());
        std::fs::write(dir.path().join("pw"), "Hunter2Mark").expect("writable");
        run(command(&bin.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-U", "ann", "--auth=scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C", "--pwfile"])
            .arg(dir.path().join("pw")));
        let at = "127.0.0.1/32";
        let hba = format!(
            "hostssl certs all {at} scram-sha-256 clientcert=verify-ca\nhostssl trusted all {at} trust\nhostssl unencrypted all {at} reject\n\
             hostssl all all {at} scram-sha-256\nhostnossl plain,both,unencrypted ann {at} scram-sha-256\n"
        );
        std::fs::write(data.join("pg_hba.conf"), hba).expect("writable");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let server = Server { bin, dir, port };
        server.start_with("server");
        server
    }

    /// With this certificate; with an empty name without TLS.
    fn start_with(&self, cert: &str) {
        let at = self.dir.path().display();
        let tls = match cert {
            "" => "-c ssl=off".to_owned(),
            _ => format!(
                "-c ssl=on -c ssl_cert_file={at}/{cert}.crt -c ssl_key_file={at}/{cert}.key -c ssl_ca_file={at}/ca.crt"
            ),
        };
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={at} -c fsync=off {tls}",
            self.port
        );
        run(self.pg_ctl().args(["-w", "-l"]).arg(self.dir.path().join("log")).args(["-o", &options, "start"]));
    }

    fn pg_ctl(&self) -> Command {
        let mut command = command(&self.bin.join("pg_ctl"));
        command.arg("-D").arg(self.dir.path().join("data")).stdout(std::process::Stdio::null());
        command
    }

    pub fn restart_with(&self, cert: &str) {
        run(self.pg_ctl().args(["-m", "immediate", "stop"]));
        self.start_with(cert);
    }

    /// `DIR` in the parameters stands for the folder of the certificates.
    pub fn url(&self, host: &str, parameters: &str) -> String {
        self.url_of("postgres", host, parameters)
    }

    /// The same for another database, each of which has its own rules in pg_hba.conf.
    pub fn url_of(&self, db: &str, host: &str, parameters: &str) -> String {
        let parameters = parameters.replace("DIR", &self.dir.path().display().to_string());
        format!("postgresql://ann:Hunter2Mark@{host}:{}/{db}?hostaddr=127.0.0.1&{parameters}", self.port)
    }

    /// The folder of the certificates.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A program of the server's own version.
    pub fn program(&self, name: &str) -> Command {
        let mut program = command(&self.bin.join(name));
        program.env_clear().env("LD_LIBRARY_PATH", self.bin.join("../lib")).env("HOME", "/nonexistent");
        program
    }

    pub fn target(&self, host: &str, parameters: &str) -> Target {
        parse(&self.url(host, parameters), &|_| None).expect("a good URL").0
    }

    async fn try_at(&self, host: &str, parameters: &str) -> Result<Session, Error> {
        connect(&self.target(host, parameters), "savepoint-test").await
    }

    async fn works(&self, host: &str, parameters: &str) {
        let session = self.try_at(host, parameters).await.unwrap_or_else(|e| panic!("{host} {parameters}: {e:?}"));
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let tls: bool = session.query_one(sql, &[]).await.expect("an answer").get(0);
        assert!(tls, "{host} {parameters}: not encrypted");
    }

    async fn fails(&self, host: &str, parameters: &str, with: &str) {
        let e = self.try_at(host, parameters).await.expect_err(parameters);
        let shown = format!("{e:?}");
        assert!(shown.contains(with), "{host} {parameters}: {shown}");
        assert!(!shown.contains("Hunter2Mark"), "{shown}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.pg_ctl().args(["-m", "immediate", "stop"]).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_modes_mean_what_libpq_means() {
    let server = Server::start();
    let s = &server;
    s.works("db.test", "sslmode=prefer").await;
    s.works("anything", "sslmode=require").await;
    s.works("anything", "sslmode=require&channel_binding=require").await;
    s.works("127.0.0.1", "sslmode=require&channel_binding=require").await;
    s.works("wrong.test", "sslmode=verify-ca&sslrootcert=DIR/ca.crt&channel_binding=require").await;
    s.works("wrong.test", "sslmode=require&sslrootcert=DIR/ca.crt").await;
    s.works("db.test", "sslmode=verify-full&sslrootcert=DIR/ca.crt&channel_binding=require").await;
    s.fails("wrong.test", "sslmode=verify-full&sslrootcert=DIR/ca.crt", "not made out to wrong.test").await;
    s.fails("127.0.0.1", "sslmode=verify-full&sslrootcert=DIR/ca.crt", "not made out to 127.0.0.1").await;
    for mode in ["require", "verify-ca", "verify-full"] {
        s.fails("db.test", &format!("sslmode={mode}&sslrootcert=DIR/other.crt"), "not signed by these roots").await;
    }
    s.fails("db.test", "sslmode=verify-full&sslrootcert=system", "not signed by these roots").await;
    s.fails("db.test", "sslmode=verify-full", "sslrootcert=system").await;
    s.fails("db.test", "sslmode=verify-full&sslrootcert=DIR/absent.crt", "cannot be read").await;
    // No pg_hba.conf line admits an unencrypted connection to this database.
    s.fails("db.test", "sslmode=disable", "pg_hba.conf").await;
    s.fails("db.test", "sslmode=disable&channel_binding=require", "pg_hba.conf").await;

    s.restart_with("cn");
    s.works("db.test", "sslmode=verify-full&sslrootcert=DIR/ca.crt").await;
    s.fails("wrong.test", "sslmode=verify-full&sslrootcert=DIR/ca.crt", "not made out to wrong.test").await;
    s.restart_with("v1");
    s.works("db.test", "sslmode=require&channel_binding=require").await;
    s.fails("db.test", "sslmode=verify-ca&sslrootcert=DIR/ca.crt", "hint").await;
    s.restart_with("own");
    s.works("db.test", "sslmode=verify-full&sslrootcert=DIR/own.crt").await;
    s.works("wrong.test", "sslmode=verify-ca&sslrootcert=DIR/own.crt").await;
    s.fails("wrong.test", "sslmode=verify-full&sslrootcert=DIR/own.crt", "not made out to wrong.test").await;
    s.fails("db.test", "sslmode=verify-full&sslrootcert=DIR/ca.crt", "rror").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_say_what_the_server_said() {
    let server = Server::start();
    let mut target = server.target("db.test", "sslmode=require");
    target.dbname = "absent".into();
    let e = connect(&target, "savepoint-test").await.expect_err("no such database");
    assert!(e.message().contains("database \"absent\" does not exist (SQLSTATE 3D000)"), "{e}");
    let mut target = server.target("db.test", "sslmode=require");
    target.password = Some("wrong".into());
    let e = connect(&target, "savepoint-test").await.expect_err("wrong password");
    assert!(e.message().contains("28P01") && e.hint_text().is_some_and(|h| h.contains("password")), "{e:?}");
    target.password = None;
    let e = connect(&target, "savepoint-test").await.expect_err("no password");
    assert!(e.message().contains("asks for a password"), "{e}");
    let mut target = server.target("db.test", "sslmode=require");
    target.port = 1;
    let e = connect(&target, "savepoint-test").await.expect_err("nobody listens");
    assert!(e.one_line().contains("refused"), "{e}");

    let target = server.target("db.test", "sslmode=require");
    let victim = connect(&target, "savepoint-victim").await.expect("a connection");
    victim.batch_execute(&session_settings(17)).await.expect("settings");
    let shown: String = victim.query_one("SHOW search_path", &[]).await.expect("an answer").get(0);
    assert_eq!(shown, "");
    let shown: String = victim.query_one("SHOW TimeZone", &[]).await.expect("an answer").get(0);
    assert_eq!(shown, "UTC");
    let e = victim.explain("reading", victim.query("SELECT 1/0", &[]).await.expect_err("division"));
    assert_eq!((e.kind(), e.message()), (Kind::Database, "reading: division by zero (SQLSTATE 22012)"));

    let pid = victim.backend_pid().await.expect("a pid");
    let killer = connect(&target, "savepoint-killer").await.expect("a connection");
    killer.query("SELECT pg_terminate_backend($1)", &[&pid]).await.expect("allowed");
    // The server's last words reach an idle connection before anyone asks it anything.
    for _ in 0..100 {
        if victim.is_closed() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let e = victim.explain("reading", victim.query("SELECT 1", &[]).await.expect_err("gone"));
    assert!(e.message().contains("terminating connection due to administrator command"), "{e}");
}
