//! What a dump says runs in a cage, or is refused: known-bad dumps against a real server, in the cage and, to see that they would do harm,
//! without one.

use crate::support::{
    Result,
    pg::{self, Server},
    run::{Ended, Savepoint},
    scratch,
};
use anyhow::{Context, ensure};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// A plain dump as pg_dump frames it.
fn plain(major: u32, statements: &str) -> String {
    format!(
        "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version {major}.1\n-- Dumped by pg_dump version {major}.1\n\n\
         SET statement_timeout = 0;\n{statements}\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
    )
}

/// A folder that everybody may write to, with a secret in it, and a port that listens: what must not be reached.
struct Outside {
    folder: tempfile::TempDir,
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Outside {
    fn new() -> Result<Outside> {
        let folder = scratch()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        fs::write(folder.path().join("secret"), "s3cret\n")?;
        fs::set_permissions(folder.path().join("secret"), fs::Permissions::from_mode(0o644))?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (port, connections) = (listener.local_addr()?.port(), Arc::<AtomicUsize>::default());
        // Each is closed at once: a client that waits for an answer would wait for ever.
        let count = connections.clone();
        std::thread::spawn(move || listener.incoming().for_each(|_| _ = count.fetch_add(1, Ordering::Relaxed)));
        Ok(Outside { folder, port, connections })
    }

    /// A dump that does all that is known to reach out, by a superuser.
    fn dump(&self, major: u32) -> String {
        let out = self.folder.path().display();
        let port = self.port;
        plain(
            major,
            &format!(
                "CREATE TABLE public.got (t text);
COPY public.got (t) FROM PROGRAM 'touch {out}/made-by-program; echo s3cret';
DO $$ BEGIN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''touch {out}/made-by-do'''; END $$;
COPY (SELECT 1) TO '{out}/made-by-copy';
COPY public.got FROM '{out}/secret';
COPY public.got FROM '/etc/passwd';
INSERT INTO public.got SELECT pg_read_file('{out}/secret');
INSERT INTO public.got SELECT 's3cret' WHERE length(pg_read_binary_file('/proc/self/environ', 0, 9)) > 0;
SELECT lo_from_bytea(4711, 'x');
SELECT lo_export(4711, '{out}/made-by-lo');
SELECT lo_import('{out}/secret', 4712);
INSERT INTO public.got SELECT convert_from(lo_get(4712), 'UTF8');
ALTER SYSTEM SET archive_command = 'touch {out}/made-by-archiver';
SELECT pg_reload_conf();
SELECT pg_switch_wal();
CREATE FUNCTION public.system(cstring) RETURNS int AS '/lib/x86_64-linux-gnu/libc.so.6', 'system' LANGUAGE C STRICT;
SELECT public.system('touch {out}/made-by-c');
CREATE EXTENSION dblink;
SELECT public.dblink_connect('a', 'host=127.0.0.1 port={port} user=u dbname=d connect_timeout=2');
CREATE EXTENSION postgres_fdw;
CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', dbname 'd', connect_timeout '2');
CREATE USER MAPPING FOR CURRENT_USER SERVER away OPTIONS (user 'u');
CREATE FOREIGN TABLE public.far (a int) SERVER away;
INSERT INTO public.got SELECT a::text FROM public.far;"
            ),
        )
    }

    /// What was made there.
    fn made(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())?
            .map(|f| Ok(f?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.retain(|n| n != "secret");
        names.sort();
        Ok(names)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The dump, and a check that fails when something was read.
    fn files(&self, major: u32, folder: &Path) -> Result<(PathBuf, PathBuf)> {
        let (dump, check) = (folder.join("dump.sql"), folder.join("check.sql"));
        fs::write(&dump, self.dump(major))?;
        fs::write(&check, "SELECT t FROM public.got WHERE t LIKE '%s3cret%' OR t LIKE 'root:%';")?;
        Ok((dump, check))
    }
}

fn verify(server: &Server, file: &Path, args: &[&str]) -> Result<Savepoint> {
    let bin = server.bin.display().to_string();
    Ok(Savepoint::new(["verify", &file.display().to_string(), "--pg-bin-dir", &bin, "--json"])?.args(args.to_vec()))
}

/// Runs it where Landlock is refused, as an old kernel or the filter of a container does.
async fn without_landlock(savepoint: Savepoint) -> Result<Ended> {
    let runtime = tokio::runtime::Handle::current();
    let rules = BTreeMap::from([(libc::SYS_landlock_create_ruleset, Vec::new())]);
    let refuse = SeccompAction::Errno(libc::EOPNOTSUPP.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
    let filter: BpfProgram = filter.try_into()?;
    let starting = std::thread::spawn(move || {
        let _inside = runtime.enter();
        seccompiler::apply_filter(&filter)?;
        savepoint.spawn()
    });
    starting.join().ok().context("the thread broke off")??.wait().await
}

async fn nothing_gets_out(major: u32) -> Result {
    let server = pg::server(major).await?;
    let (outside, folder) = (Outside::new()?, scratch()?);
    let (dump, check) = outside.files(major, folder.path())?;
    let check = check.display().to_string();
    let args = ["--check-sql", check.as_str(), "--require-sandbox"];
    let ended = verify(server, &dump, &args)?.run().await?.expect(3)?;
    ended.left_nothing()?;
    let told = ended.json()?;
    let result = &told["results"][0];
    ensure!(outside.made()?.is_empty() && outside.connections() == 0, "{:?}\n{told:#}", outside.made()?);
    // Each of them failed, and nothing was read; the table's own statements did not.
    ensure!(result["checks"][0]["failure"].is_null(), "{told:#}");
    let differences: Vec<&str> =
        result["differences"].as_array().context("no list")?.iter().filter_map(|d| d.as_str()).collect();
    for head in [
        "COPY public.got (t) FROM PROGRAM",
        "DO $$",
        "COPY (SELECT 1) TO '",
        "COPY public.got FROM '/etc/passwd'",
        "INSERT INTO public.got SELECT pg_read_file",
        "INSERT INTO public.got SELECT 's3cret'",
        "SELECT lo_export",
        "SELECT lo_import",
        "INSERT INTO public.got SELECT convert_from",
        "CREATE FUNCTION public.system",
        "SELECT public.dblink_connect",
        "INSERT INTO public.got SELECT a::text",
    ] {
        ensure!(differences.iter().any(|d| d.contains(head)), "{head} did not fail: {told:#}");
    }
    ensure!(!differences.iter().any(|d| d.contains("CREATE TABLE") || d.contains("CREATE EXTENSION")), "{told:#}");
    let warnings = told["results"][0]["warnings"].to_string();
    ensure!(warnings.contains("reaches out of the database") && !warnings.contains("without a sandbox"), "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_dump_says_gets_out_of_the_cage_16() -> Result {
    nothing_gets_out(16).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_dump_says_gets_out_of_the_cage_17() -> Result {
    nothing_gets_out(17).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_dump_says_gets_out_of_the_cage_18() -> Result {
    nothing_gets_out(18).await
}

/// The same dump where there is no cage: refused; with `--trust-file` it does everything that the cage keeps it from.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_cage_such_a_dump_is_refused_or_does_its_harm() -> Result {
    let server = pg::server(17).await?;
    let (outside, folder) = (Outside::new()?, scratch()?);
    let (dump, check) = outside.files(17, folder.path())?;
    let refused = without_landlock(verify(server, &dump, &[])?).await?.expect(1)?;
    refused.left_nothing()?;
    let text = refused.output();
    ensure!(text.contains("runs without a sandbox: Landlock: this kernel does not have it"), "{text}");
    ensure!(text.contains("it reaches out of the database") && text.contains("--trust-file"), "{text}");
    ensure!(outside.made()?.is_empty() && outside.connections() == 0, "{text}");

    let check = check.display().to_string();
    let trusting = verify(server, &dump, &["--trust-file", "--check-sql", &check])?;
    let told = without_landlock(trusting).await?.expect(3)?;
    told.left_nothing()?;
    let made = ["made-by-copy", "made-by-do", "made-by-lo", "made-by-program"];
    ensure!(outside.made()? == made, "{:?}\n{}", outside.made()?, told.output());
    ensure!(outside.connections() >= 2, "{}", told.output());
    let told = told.json()?;
    ensure!(told["results"][0]["checks"][0]["failure"].to_string().contains("s3cret"), "{told:#}");
    ensure!(told["results"][0]["warnings"].to_string().contains("without a sandbox"), "{told:#}");

    // An ordinary dump is drilled there, too, unless the cage is asked for.
    let good = folder.path().join("good.sql");
    fs::write(&good, plain(17, "CREATE TABLE public.t (a int);"))?;
    let told = without_landlock(verify(server, &good, &[])?).await?.expect(0)?.json()?;
    ensure!(told["results"][0]["warnings"].to_string().contains("without a sandbox"), "{told:#}");
    let refused = without_landlock(verify(server, &good, &["--require-sandbox"])?).await?.expect(1)?;
    ensure!(refused.output().contains("has no sandbox here: Landlock"), "{}", refused.output());
    ensure!(refused.output().contains("leave require-sandbox out"), "{}", refused.output());
    let told = verify(server, &good, &["--require-sandbox"])?.run().await?.expect(0)?.json()?;
    ensure!(!told["results"][0]["warnings"].to_string().contains("sandbox"), "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_uses_up_too_much_is_ended() -> Result {
    let server = pg::server(17).await?;
    let folder = scratch()?;
    let endless = "DO $$ BEGIN LOOP END LOOP; END $$;";
    let large =
        "CREATE TABLE public.t AS SELECT pg_catalog.repeat('x', 2000) FROM pg_catalog.generate_series(1, 100000000);";
    let greedy =
        "CREATE TABLE public.t AS SELECT pg_catalog.array_agg(g) AS a FROM pg_catalog.generate_series(1, 60000000) g;";
    for (statement, limits, name) in [
        (endless, "time=3s", "limit of time and was ended"),
        (endless, "cpu=1s", "limit of cpu and was ended"),
        (large, "disk=200MB", "limit of disk and was ended"),
        (greedy, "memory=300MB", "limit of memory and was ended"),
    ] {
        let file = folder.path().join("dump.sql");
        fs::write(&file, plain(17, statement))?;
        let begun = Instant::now();
        let ended = verify(server, &file, &["--drill-limits", limits])?.run().await?.expect(3)?;
        ended.left_nothing()?;
        let text = ended.output();
        ensure!(text.contains(name) && text.contains("--drill-limits"), "{limits}: {text}");
        ensure!(begun.elapsed() < Duration::from_secs(60), "{limits} took {:?}", begun.elapsed());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backups_proof_that_passes_a_limit_fails_and_the_backup_stays() -> Result {
    let server = pg::server(17).await?;
    server.create_db("limited", "").await?;
    // Long enough for one look at it.
    let slow = "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN $1; END $$;
        CREATE TABLE t AS SELECT g FROM generate_series(1, 80) g; CREATE INDEX ON t (public.slow(g))";
    server.psql("limited", slow).await?;
    let store = scratch()?;
    let backup = Savepoint::backup(&server.url("limited"), &server.bin)?.to_folder(store.path());
    let ended = backup.args(["--drill-limits", "disk=1MB"]).run().await?.expect(3)?;
    ended.left_nothing()?;
    let text = ended.output();
    ensure!(text.contains("limit of disk and was ended") && text.contains("the backup is stored"), "{text}");
    Ok(())
}

/// `savepoint restore FILE` into a new database of this server.
fn restore(server: &Server, file: &Path, db: &str, args: &[&str]) -> Result<Savepoint> {
    let bin = server.bin.display().to_string();
    let run = Savepoint::new(["restore", &file.display().to_string(), "--pg-bin-dir", &bin, "--create", db])?;
    Ok(run.args(args.to_vec()).env("SAVEPOINT_TO", &server.url("postgres")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_is_not_reached_through() -> Result {
    let server = pg::server(17).await?;
    let (outside, folder) = (Outside::new()?, scratch()?);
    let (dump, _) = outside.files(17, folder.path())?;
    let is_there = async |db: &str| -> Result<bool> {
        Ok(!server.psql("postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{db}'")).await?.is_empty())
    };
    let dry = restore(server, &dump, "foreign", &["--dry-run"])?.run().await?.expect(0)?.output();
    ensure!(dry.contains("reaches out of the database") && dry.contains("line 10: it runs a program"), "{dry}");
    let refused = restore(server, &dump, "foreign", &[])?.run().await?.expect(1)?;
    let text = refused.output();
    ensure!(text.contains("a DO block, whose statements cannot be told") && text.contains("--trust-file"), "{text}");
    ensure!(outside.made()?.is_empty() && outside.connections() == 0 && !is_there("foreign").await?, "{text}");

    // What would run on this machine is never taken, whoever trusts the file.
    let made = folder.path().join("made");
    for command in [
        "\\! touch FILE",
        "\\copy public.t from program 'touch FILE'",
        "\\o |touch FILE",
        "\\i FILE",
        "SELECT 1 \\g |touch FILE",
    ] {
        let command = command.replace("FILE", &made.display().to_string());
        let file = folder.path().join("command.sql");
        fs::write(&file, plain(17, &format!("CREATE TABLE public.t (a text);\n{command}\n")))?;
        let refused = restore(server, &file, "foreign", &["--trust-file"])?.run().await?.expect(1)?;
        ensure!(refused.output().contains("command to psql"), "{command}: {}", refused.output());
        ensure!(!made.exists() && !is_there("foreign").await?, "{command}");
    }
    let marked = folder.path().join("marked.sql");
    let marks = "\\restrict a1B2\n\nCREATE TABLE public.t (a text);\n\n\\unrestrict a1B2\n";
    fs::write(&marked, plain(17, marks))?;
    restore(server, &marked, "marked", &[])?.run().await?.expect(0)?;
    server.drop_db("marked").await?;
    Ok(())
}

/// What pg_dump itself writes of a function in C is shown and refused; of an ordinary database with extensions it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_users_own_function_in_c_asks_for_trust_and_extensions_do_not() -> Result {
    let server = pg::server(17).await?;
    let folder = scratch()?;
    server.create_db("extended", "").await?;
    let sql =
        "CREATE EXTENSION dblink; CREATE EXTENSION hstore; CREATE EXTENSION postgres_fdw; CREATE EXTENSION pg_trgm;
        CREATE TABLE t (a int, h hstore); INSERT INTO t VALUES (1, 'a=>1'); CREATE VIEW v AS SELECT * FROM t;
        CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'h'); SELECT lo_from_bytea(0, 'x');
        GRANT EXECUTE ON FUNCTION pg_read_file(text) TO pg_monitor";
    server.psql("extended", sql).await?;
    let dump = async |name: &str, format: &str| -> Result<PathBuf> {
        let (path, socket) = (folder.path().join(name), server.socket("extended"));
        let file = path.display().to_string();
        server.tool("pg_dump", &["-f", file.as_str(), format, "-d", socket.as_str()]).await?;
        Ok(path)
    };
    for (name, format) in [("a.sql", "-Fp"), ("a.dump", "-Fc")] {
        let file = dump(name, format).await?;
        restore(server, &file, "restored", &[])?.run().await?.expect(0)?;
        server.drop_db("restored").await?;
    }
    let own = "CREATE FUNCTION mine(text) RETURNS text AS '$libdir/dblink', 'dblink_connect' LANGUAGE C STRICT";
    server.psql("extended", own).await?;
    for (name, format, place) in [("b.sql", "-Fp", "line "), ("b.dump", "-Fc", "FUNCTION public.mine(text): ")] {
        let file = dump(name, format).await?;
        let text = restore(server, &file, "restored", &[])?.run().await?.expect(1)?.output();
        ensure!(text.contains(place) && text.contains("a function in C, of the library $libdir/dblink"), "{text}");
        restore(server, &file, "restored", &["--trust-file"])?.run().await?.expect(0)?;
        server.drop_db("restored").await?;
    }
    Ok(())
}
