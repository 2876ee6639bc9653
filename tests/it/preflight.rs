//! Every refusal, met for real: exit code 1, the object and the cure are named, and nothing is left at the destination.

use crate::support::{
    Result, UNPRIVILEGED, Watched, free_ports, is_root,
    pg::{self, Server},
    run::{Ended, Savepoint},
    s3, scratch,
};
use anyhow::{Context, bail, ensure};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const MAJOR: u32 = 17;

/// Refused before anything is stored: exit code 1, each of `named` on stderr, an empty destination and temporary folder.
async fn refused(url: &str, bin: &Path, args: &[&str], named: &[&str]) -> Result<Ended> {
    let store = scratch()?;
    let ended = Savepoint::backup(url, bin)?.to_folder(store.path()).args(args.to_vec()).run().await?;
    is_refusal(ended, Some(store.path()), named)
}

fn is_refusal(ended: Ended, store: Option<&Path>, named: &[&str]) -> Result<Ended> {
    let ended = ended.expect(1)?;
    for name in named {
        ensure!(ended.stderr.contains(name), "{name:?} is not named\n{}", ended.output());
    }
    ensure!(ended.stderr.contains("hint: "), "no cure\n{}", ended.output());
    ended.left_nothing()?;
    if let Some(store) = store {
        let left: Vec<_> = fs::read_dir(store)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
        ensure!(left.is_empty(), "left at the destination: {left:?}");
    }
    Ok(ended)
}

/// Taken and proven; what was printed.
async fn proven(url: &str, bin: &Path, args: &[&str]) -> Result<Ended> {
    let store = scratch()?;
    let ended = Savepoint::backup(url, bin)?.to_folder(store.path()).args(args.to_vec()).run().await?.expect(0)?;
    ended.left_nothing()?;
    Ok(ended)
}

/// A real PgBouncer before a server.
async fn pgbouncer(server: &Server, mode: &str, pool: u32) -> Result<(Watched, u16)> {
    let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"].map(PathBuf::from);
    let program = program.iter().find(|p| p.exists()).context("pgbouncer is missing; apt-get install pgbouncer")?;
    let [port] = free_ports()?;
    let dir = tempfile::Builder::new().prefix("sp-bouncer-").tempdir()?.keep();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
    fs::write(dir.join("users"), "\"postgres\" \"\"\n")?;
    fs::write(
        dir.join("pgbouncer.ini"),
        format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\ndefault_pool_size = {pool}\n",
            server.port,
            dir.join("users").display()
        ),
    )?;
    let drop_to = match is_root() {
        true => format!("setpriv --reuid={UNPRIVILEGED} --regid={UNPRIVILEGED} --clear-groups"),
        false => String::new(),
    };
    let script = format!(r#"{drop_to} "$2" "$dir/pgbouncer.ini" & server=$!"#);
    let watched = Watched::start(&script, r#"kill -9 "$server""#, &dir, &[program.display().to_string()])?;
    let end = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
        ensure!(Instant::now() < end, "pgbouncer did not start: {}", log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok((watched, port))
}

#[tokio::test]
async fn transaction_pooler() -> Result {
    let server = pg::server(MAJOR).await?;
    server.create_db("it_pool", "").await?;
    server.psql("it_pool", "CREATE TABLE t AS SELECT generate_series(1, 1000) AS id").await?;
    let files = scratch()?;
    let dump = &files.path().join("t.sql").display().to_string();
    server.tool("pg_dump", &["-f", dump, "-d", &server.socket("it_pool")]).await?;
    // All but what a pooler keeps for each of its clients.
    let settings = "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name NOT IN \
        ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings')";
    for (pool, mode) in [(20, "transaction"), (20, "transaction\nserver_round_robin = 1"), (1, "transaction")] {
        let (_bouncer, port) = pgbouncer(server, mode, pool).await?;
        let url = server.url_at(port, "postgres", "it_pool");
        let ask = async |sql: &str| {
            pg::psql(&server.bin, &url, sql).await.map(|o| String::from_utf8_lossy(&o).trim().to_owned())
        };
        if pool > 1 {
            // An application has been here: several processes stand idle.
            futures_util::try_join!(
                ask("SELECT pg_sleep(0.3)"),
                ask("SELECT pg_sleep(0.3)"),
                ask("SELECT pg_sleep(0.3)")
            )?;
        }
        refused(&url, &server.bin, &[], &["transaction pooler", "connect to PostgreSQL directly"])
            .await
            .with_context(|| format!("pool of {pool}, {mode}"))?;
        if pool > 1 {
            // As the server of the proof, and as the target of a restore.
            let direct = server.url("it_pool");
            let named = ["verify-url: ", "transaction pooler", "connect to PostgreSQL directly"];
            refused(&direct, &server.bin, &["--verify-url", &url], &named).await?;
            let restore = ["restore", dump, "--to", &url, "--pg-bin-dir", &server.bin.display().to_string()];
            is_refusal(Savepoint::new(restore)?.run().await?, None, &named[1..])?;
        }
        // What we set on the way would be met by whoever is given the process next.
        for _ in 0..4 {
            let left = ask(settings).await?;
            ensure!(left.is_empty(), "left behind in the pool of {pool}, {mode}: {left}");
        }
    }
    let (_bouncer, port) = pgbouncer(server, "session", 20).await?;
    proven(&server.url_at(port, "postgres", "it_pool"), &server.bin, &[]).await.context("session mode")?;
    Ok(())
}

/// Told by the address alone: the hosts cannot be reached from a test, and nobody tries.
#[tokio::test]
async fn pooler_address() -> Result {
    let server = pg::server(MAJOR).await?;
    let bin = &server.bin;
    for (url, cure) in [
        ("postgresql://u:p@ep-cool-1-pooler.eu-central-1.aws.neon.tech/d", "ep-cool-1.eu-central-1.aws.neon.tech:5432"),
        ("postgresql://postgres.abc:p@aws-0-eu.pooler.supabase.com:6543/d", "aws-0-eu.pooler.supabase.com:5432"),
        ("postgresql://postgres:p@db.abc.supabase.co:6543/d", "db.abc.supabase.co:5432"),
        (&format!("{}?pgbouncer=true", server.url("postgres")), "without pgbouncer=true"),
    ] {
        let began = Instant::now();
        let ended = refused(url, bin, &[], &["is a transaction pooler", cure]).await.context(url.to_owned())?;
        ensure!(began.elapsed() < Duration::from_secs(5), "it tried to connect\n{}", ended.output());
        ensure!(!ended.output().contains("cannot resolve"), "{}", ended.output());
    }
    Ok(())
}

#[tokio::test]
async fn standby_with_wrong_snapshots() -> Result {
    let primary = Server::start(MAJOR, "").await?;
    primary.create_db("it_standby", "").await?;
    let standby = primary.standby().await?;
    let version = primary.psql("postgres", "SHOW server_version").await?;
    refused(
        &standby.url("it_standby"),
        &standby.bin,
        &[],
        &[&format!("PostgreSQL {version} exports snapshots with wrong rows"), "connect to the primary", "17.12"],
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn missing_privileges() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_privileges";
    server.create_db(db, "").await?;
    let setup = "CREATE ROLE it_reader LOGIN; CREATE SCHEMA app; CREATE TABLE app.ok (id int); \
        INSERT INTO app.ok SELECT generate_series(1, 10); GRANT USAGE ON SCHEMA app TO it_reader; \
        GRANT SELECT ON app.ok TO it_reader";
    server.psql(db, setup).await?;
    let url = server.url_at(server.port, "it_reader", db);
    let bin = &server.bin;
    proven(&url, bin, &[]).await.context("with all privileges")?;
    // Each: what takes the privilege away, what is named, what gives it back.
    for (take, named, give) in [
        (
            "CREATE TABLE app.\"secret Table\" AS SELECT 1 AS id",
            ["role it_reader may not read app.secret Table", "GRANT SELECT ON ALL TABLES IN SCHEMA \"app\""],
            "GRANT SELECT ON ALL TABLES IN SCHEMA app TO it_reader",
        ),
        (
            "CREATE SCHEMA closed; CREATE TABLE closed.t AS SELECT 1 AS id; GRANT SELECT ON closed.t TO it_reader",
            ["may not read closed.t", "GRANT USAGE ON SCHEMA \"closed\" TO \"it_reader\""],
            "GRANT USAGE ON SCHEMA closed TO it_reader",
        ),
        (
            "CREATE SEQUENCE app.numbers",
            ["may not read sequence app.numbers", "GRANT SELECT ON ALL SEQUENCES"],
            "GRANT SELECT ON ALL SEQUENCES IN SCHEMA app TO it_reader",
        ),
        (
            "SELECT lo_from_bytea(4711, 'large')",
            ["may not read 1 large object", "GRANT SELECT ON LARGE OBJECT"],
            "GRANT SELECT ON LARGE OBJECT 4711 TO it_reader",
        ),
        (
            "ALTER TABLE app.ok ENABLE ROW LEVEL SECURITY; CREATE POLICY odd ON app.ok USING (id % 2 = 1)",
            ["would hide rows of app.ok from role it_reader", "ALTER ROLE \"it_reader\" BYPASSRLS"],
            "ALTER ROLE it_reader BYPASSRLS",
        ),
    ] {
        server.psql(db, take).await?;
        refused(&url, bin, &[], &named).await.with_context(|| take.to_owned())?;
        server.psql(db, give).await?;
        proven(&url, bin, &[]).await.with_context(|| format!("after the cure: {give}"))?;
    }
    // A schema that is left out needs no privilege.
    server.psql(db, "REVOKE USAGE ON SCHEMA closed FROM it_reader").await?;
    proven(&url, bin, &["--exclude-schemas", "closed"]).await?;
    Ok(())
}

#[tokio::test]
async fn too_few_connections() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_connections";
    server.create_db(db, "").await?;
    server.psql(db, "CREATE ROLE it_few LOGIN; GRANT pg_read_all_data TO it_few; CREATE TABLE t AS SELECT 1").await?;
    let url = server.url_at(server.port, "it_few", db);
    let bin = &server.bin;
    for (unlimited, limit) in [
        ("ALTER ROLE it_few CONNECTION LIMIT -1", "ALTER ROLE it_few CONNECTION LIMIT"),
        ("ALTER DATABASE it_connections CONNECTION LIMIT -1", "ALTER DATABASE it_connections CONNECTION LIMIT"),
    ] {
        server.psql(db, &format!("{limit} 0")).await?;
        refused(&url, bin, &[], &["too many connections", "CONNECTION LIMIT"])
            .await
            .with_context(|| format!("{limit} 0"))?;
        // Enough for fewer jobs than wanted: said, and done with those.
        for (few, said) in [
            (1, "room for a single one: pg_dump takes all rows by itself"),
            (2, "room for two: one reads all rows beside pg_dump"),
            (3, "room for 1 of 4 jobs"),
            (4, "room for 2 of 4 jobs"),
        ] {
            server.psql(db, &format!("{limit} {few}")).await?;
            let ended = proven(&url, bin, &[]).await.with_context(|| format!("{limit} {few}"))?;
            ensure!(ended.output().contains(said), "{limit} {few}: not {said:?}\n{}", ended.output());
        }
        server.psql(db, unlimited).await?;
    }
    Ok(())
}

/// An installation of PostgreSQL without the tests' own extension.
fn without_probe(bin: &Path, to: &Path) -> Result<PathBuf> {
    let out = Command::new("bash")
        .args(["-c", r#"tar -C "$1/.." --exclude='savepoint_probe*' --exclude='.tmp*' -cf - . | tar -xC "$2""#, "-"])
        .args([bin, to])
        .output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(to.join("bin"))
}

/// Databases and roles of a server.
async fn inventory(server: &Server) -> Result<String> {
    server.psql("postgres", "SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles ORDER BY 1").await
}

#[tokio::test]
async fn extension_that_the_throwaway_server_lacks() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_extension";
    server.create_db(db, "").await?;
    let setup = "CREATE SCHEMA probe; CREATE EXTENSION savepoint_probe; CREATE ROLE it_only_here; \
        CREATE TABLE owned AS SELECT generate_series(1, 100) AS id; ALTER TABLE owned OWNER TO it_only_here; \
        INSERT INTO probe.settings VALUES ('mine', 'x')";
    server.psql(db, setup).await?;
    let installation = scratch()?;
    let bin = without_probe(&server.bin, installation.path())?;
    let url = server.url(db);
    refused(&url, &bin, &[], &["lacks extension savepoint_probe", "verify-url"]).await?;
    // The same on a server that has it: proven there, and nothing of ours stays.
    let other = Server::start(MAJOR, "").await?;
    let before = inventory(&other).await?;
    let ended = proven(&url, &bin, &["--verify-url", &other.url("postgres")]).await?;
    ensure!(ended.output().contains("verify-url"), "{}", ended.output());
    ensure!(inventory(&other).await? == before, "left behind: {}", inventory(&other).await?);
    // A server of another major cannot show what this one would do.
    let wrong = pg::server(16).await?;
    let version = wrong.psql("postgres", "SHOW server_version").await?;
    let named = [&format!("verify-url runs PostgreSQL {version}"), "point verify-url at a server of PostgreSQL 17"];
    refused(&url, &bin, &["--verify-url", &wrong.url("postgres")], &named).await?;
    Ok(())
}

#[tokio::test]
async fn rows_that_lie_on_other_nodes() -> Result {
    let server = pg::server(MAJOR).await?;
    server.create_db("it_citus", "").await?;
    server.psql("it_citus", "CREATE EXTENSION citus; CREATE TABLE t AS SELECT 1 AS id").await?;
    let named = ["extension citus: the rows of distributed tables lie on other nodes", "back up each node"];
    refused(&server.url("it_citus"), &server.bin, &[], &named).await?;
    Ok(())
}

/// A role that does not exist is told as such; quotes that came with the URL are named; too few open files are counted.
#[tokio::test]
async fn small_mistakes_are_named() -> Result {
    let server = pg::server(MAJOR).await?;
    server.create_db("it_small", "").await?;
    server.psql("it_small", "CREATE TABLE t AS SELECT 1 AS id").await?;
    let url = server.url_at(server.port, "nobody_of_that_name", "it_small");
    refused(&url, &server.bin, &[], &["role \"nobody_of_that_name\" does not exist", "check the user first"]).await?;
    for quote in ['"', '\''] {
        let url = format!("{quote}{}{quote}", server.url("it_small"));
        let ended = Savepoint::backup(&url, &server.bin)?.to_folder(scratch()?.path()).run().await?.expect(2)?;
        ensure!(
            ended.stderr.contains("begins with a quote") && ended.stderr.contains("take away the quotes"),
            "{}",
            ended.output()
        );
    }
    let store = scratch()?;
    let limited = Savepoint::backup(&server.url("it_small"), &server.bin)?.to_folder(store.path());
    let ended = limited.under(&["bash", "-c", "ulimit -n 100; exec \"$@\"", "-"]).run().await?;
    is_refusal(ended, Some(store.path()), &["100 files may be open at a time", "need 192", "ulimit -n 192"])?;
    // A soft limit is raised by itself.
    let soft = Savepoint::backup(&server.url("it_small"), &server.bin)?.to_folder(store.path());
    let ended = soft.under(&["bash", "-c", "ulimit -S -n 100; exec \"$@\"", "-"]).run().await?.expect(0)?;
    ensure!(
        !ended.stdout.contains("larger") && !ended.stdout.contains("smaller"),
        "a ratio of one row\n{}",
        ended.output()
    );
    Ok(())
}

/// Each trouble of the source is a warning of `check` and a line of the summary, and stops nothing.
#[tokio::test]
async fn the_health_of_the_source_is_told() -> Result {
    let server = pg::server(MAJOR).await?;
    server.create_db("it_ill", "").await?;
    let sql =
        "CREATE TABLE t AS SELECT g % 5 AS id FROM generate_series(1, 10) g; CREATE TABLE ok (id int PRIMARY KEY);
        ALTER TABLE t ADD CONSTRAINT wanting FOREIGN KEY (id) REFERENCES ok NOT VALID";
    server.psql("it_ill", sql).await?;
    ensure!(server.psql("it_ill", "CREATE UNIQUE INDEX CONCURRENTLY broken ON t (id)").await.is_err());
    let (store, url) = (scratch()?, server.url("it_ill"));
    let check = Savepoint::new(["check", "--pg-bin-dir", &server.bin.display().to_string()])?.to_folder(store.path());
    let check = check.env("SAVEPOINT_DATABASE_URL", &url).run().await?.expect(0)?;
    let backup = Savepoint::backup(&url, &server.bin)?.to_folder(&store.path().join("store"));
    let json = backup.args(["--json"]).run().await?.expect(0)?.json()?;
    let notices = json["notices"].to_string();
    for line in
        ["data checksums are off", "1 invalid index (public.broken)", "1 constraint NOT VALID (public.t: wanting)"]
    {
        ensure!(check.stdout.contains(line), "check does not say {line}\n{}", check.output());
        ensure!(notices.matches(line).count() == 1, "the report does not say {line} once\n{notices}");
    }
    Ok(())
}

#[tokio::test]
async fn terminated_while_it_restores_elsewhere() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_elsewhere";
    server.create_db(db, "").await?;
    server.psql_file(db, "big.sql").await?;
    server.psql(db, "CREATE ROLE it_elsewhere; ALTER TABLE big OWNER TO it_elsewhere").await?;
    let other = Server::start(MAJOR, "").await?;
    let before = inventory(&other).await?;
    let store = scratch()?;
    let run = Savepoint::backup(&server.url(db), &server.bin)?
        .to_folder(store.path())
        .args(["--verify-url", &other.url("postgres")])
        .spawn()?;
    let restoring = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%FROM%' AND state = 'active'";
    let end = Instant::now() + Duration::from_secs(60);
    while other.psql("postgres", restoring).await? == "0" {
        ensure!(Instant::now() < end, "it never restored");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(inventory(&other).await? != before, "it restores into a database of its own");
    run.signal(rustix::process::Signal::TERM)?;
    let ended = run.wait().await?;
    ensure!(ended.code.is_some_and(|c| c != 0), "{}", ended.output());
    ended.left_nothing()?;
    ensure!(inventory(&other).await? == before, "left behind: {}\n{}", inventory(&other).await?, ended.output());
    Ok(())
}

#[tokio::test]
async fn destination_that_cannot_be_written() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_destination";
    server.create_db(db, "").await?;
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    let url = server.url(db);
    let ended = Savepoint::backup(&url, &server.bin)?
        .to_s3(&s3.endpoint, &bucket, "x")
        .env("AWS_ACCESS_KEY_ID", s3::READER_KEY)
        .run()
        .await?;
    is_refusal(ended, None, &[&bucket, "s3:PutObject"]).context("a key that may only read")?;
    let ended = Savepoint::backup(&url, &server.bin)?
        .to_s3(&s3.endpoint, &bucket, "x")
        .env("AWS_SECRET_ACCESS_KEY", "not-the-secret")
        .run()
        .await?;
    is_refusal(ended, None, &[&bucket]).context("a wrong secret")?;
    ensure!(s3.list(&bucket).await?.is_empty() && s3.uploads(&bucket).await?.is_empty());
    let ended = Savepoint::backup(&url, &server.bin)?
        .to_s3(&s3.endpoint, "it-no-such-bucket", "x")
        .env("AWS_ACCESS_KEY_ID", s3::WRITER_KEY)
        .run()
        .await?;
    is_refusal(ended, None, &["it-no-such-bucket"]).context("a bucket that is not there")?;

    let dir = scratch()?;
    fs::write(dir.path().join("file"), "")?;
    let ended = Savepoint::backup(&url, &server.bin)?.to_folder(&dir.path().join("file/backups")).run().await?;
    is_refusal(ended, None, &["file/backups"]).context("a folder in a file")?;
    if is_root() {
        let dir = scratch()?;
        let _mounted = Mounted::tmpfs(dir.path(), "ro,size=1m")?;
        let ended = Savepoint::backup(&url, &server.bin)?.to_folder(dir.path()).run().await?;
        is_refusal(ended, Some(dir.path()), &[&dir.path().display().to_string()]).context("read-only")?;
    } else {
        let dir = scratch()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555))?;
        let ended = Savepoint::backup(&url, &server.bin)?.to_folder(dir.path()).run().await?;
        is_refusal(ended, Some(dir.path()), &[&dir.path().display().to_string()]).context("unwritable")?;
    }
    Ok(())
}

/// A mounted file system, which goes when this is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(dir: &'a Path, options: &str) -> Result<Self> {
        let out = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir).output()?;
        ensure!(out.status.success(), "cannot mount a tmpfs: {}", String::from_utf8_lossy(&out.stderr));
        Ok(Self(dir))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn too_little_space() -> Result {
    if !is_root() {
        eprintln!("SKIPPED too_little_space: only root can mount a small file system; run the tests as root");
        return Ok(());
    }
    let server = pg::server(MAJOR).await?;
    let db = "it_space";
    server.create_db(db, "").await?;
    let small = scratch()?;
    let _mounted = Mounted::tmpfs(small.path(), "size=100m,mode=755")?;
    let dir = small.path().display().to_string();
    refused(&server.url(db), &server.bin, &["--scratch-dir", &dir], &[&dir, "MiB free", "scratch-dir"]).await?;
    ensure!(fs::read_dir(small.path())?.next().is_none(), "left in the scratch folder");
    // The destination has a limit of its own.
    let full = scratch()?;
    let _full = Mounted::tmpfs(full.path(), "size=10m,mode=755")?;
    let ended = Savepoint::backup(&server.url(db), &server.bin)?.to_folder(full.path()).run().await?;
    is_refusal(ended, Some(full.path()), &[&full.path().display().to_string(), "64 MiB", "free some space"])?;
    Ok(())
}

#[tokio::test]
async fn programs_and_options_that_do_not_fit() -> Result {
    let (old, new) = (pg::server(14).await?, pg::server(15).await?);
    old.create_db("it_fit", "").await?;
    new.create_db("it_fit", "").await?;
    new.psql("it_fit", "CREATE TABLE one AS SELECT 1 AS id").await?;
    // No other folder has programs: not in PATH, and PostgreSQL 14 is in no distribution that the tests run on.
    if Path::new("/usr/lib/postgresql/14/bin/pg_dump").exists() {
        bail!("PostgreSQL 14 is installed on this machine: the test cannot see what happens without it");
    }
    let store = scratch()?;
    let run = Savepoint::backup(&old.url("it_fit"), &new.bin)?.to_folder(store.path()).env("PATH", "/nonexistent");
    is_refusal(run.run().await?, Some(store.path()), &["pg_dump is 15.", "apt-get install postgresql-14"])?;
    let run = Savepoint::backup(&old.url("it_fit"), &new.bin)?.to_folder(store.path()).args(["--verify", "none"]);
    let run = run.env("PATH", "/nonexistent");
    is_refusal(run.run().await?, Some(store.path()), &["apt-get install postgresql-client-14"])?;
    let named = ["pg_restore of PostgreSQL 15 cannot read zstd", "gzip"];
    refused(&new.url("it_fit"), &new.bin, &["--compression", "zstd:3"], &named).await?;
    // Strict names, as for pg_dump: a pattern that matches nothing is a mistake.
    for option in ["--tables", "--schemas"] {
        refused(&new.url("it_fit"), &new.bin, &[option, "nosuch*"], &["nosuch*"]).await.context(option)?;
    }
    refused(&new.url("it_fit"), &new.bin, &["--tables", "public.nosuch*"], &["public.nosuch*"]).await?;
    Ok(())
}
