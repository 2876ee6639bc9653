//! The action as a workflow runs it: the Dockerfile's images with the binary under test in them, workflows of `tests/action` run by
//! act, the real PostgreSQL and S3 servers behind it. `scripts/containers.sh` makes what is needed; where it cannot, the tests
//! say so and pass. With `SAVEPOINT_TEST_ACT_LOGS` set to a folder, what act printed is kept there.

use crate::support::{
    Result, Watched, pg,
    proxy::{Action, Proxy, Rule, Tamper, TamperingS3},
    run::{Process, descends, processes},
    s3, scratch, scratch_in, stack,
};
use anyhow::{Context, ensure};
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    process::{Child, Command},
    sync::OnceCell,
};

/// Debian's own major, which the images of the tests hold.
const MAJOR: u32 = 17;

/// The container engine with the images in it.
struct Engine {
    program: String,
    env: Vec<(String, String)>,
    /// Image of the jobs' own containers.
    base: String,
    _service: Option<Watched>,
}

/// The engine of this test process, or `None` where the machine cannot have one: the caller passes then.
async fn engine() -> Result<Option<&'static Engine>> {
    static ENGINE: OnceCell<Option<Engine>> = OnceCell::const_new();
    Ok(ENGINE.get_or_try_init(Engine::open).await?.as_ref())
}

impl Engine {
    async fn open() -> Result<Option<Self>> {
        let home = stack().join("containers");
        let Ok(text) = fs::read_to_string(home.join("env")) else {
            let why = fs::read_to_string(home.join("skipped"));
            let why = why.context("the test stack has no containers; run scripts/containers.sh")?;
            // Not by a macro: the test harness keeps what those print by a test that passes.
            writeln!(std::io::stderr(), "\nSKIPPED: the tests of the action: {}", why.trim())?;
            return Ok(None);
        };
        let value = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
        let program = value("engine").context("containers/env names no engine")?.to_owned();
        let base = value("base").context("containers/env names no base")?.to_owned();
        let settings = text.lines().filter_map(|l| l.split_once('=')).filter(|(k, _)| k.contains('_'));
        let mut env: Vec<_> = settings.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let mut service = None;
        if program == "podman" {
            // act speaks to an engine by its socket.
            let dir = tempfile::Builder::new().prefix("sp-engine-").tempdir()?.keep();
            let script = format!(
                r#"{} system service --time 0 "unix://$dir/socket" & server=$!
for _ in $(seq 100); do [ -S "$dir/socket" ] && break; sleep 0.1; done"#,
                in_shell(&program, &env)
            );
            service = Some(Watched::start(&script, r#"kill "$server""#, &dir, &[])?);
            env.push(("DOCKER_HOST".to_owned(), format!("unix://{}", dir.join("socket").display())));
        }
        let engine = Self { program, env, base, _service: service };
        for tag in ["slim", "full"] {
            engine.image(tag).await?;
        }
        Ok(Some(engine))
    }

    /// An image of the Dockerfile, its own binary replaced by that under test: no compiler has to run in a container.
    async fn image(&self, tag: &str) -> Result {
        let dir = scratch()?;
        let binary = dir.path().join("savepoint");
        // A third of the size without its debug information.
        let strip = Command::new("strip").arg("-o").arg(&binary).arg(env!("CARGO_BIN_EXE_savepoint")).status().await;
        if !strip.is_ok_and(|s| s.success()) {
            fs::copy(env!("CARGO_BIN_EXE_savepoint"), &binary)?;
        }
        let text = format!("FROM localhost/savepoint-test:{tag}-runtime\nCOPY savepoint /usr/local/bin/savepoint\n");
        fs::write(dir.path().join("Dockerfile"), text)?;
        let dir = dir.path().display().to_string();
        let name = image_name(tag);
        self.run(&["build", "--quiet", "--pull=false", "--label", "savepoint-test=1", "-t", &name, &dir]).await?;
        if self.run(&["run", "--rm", &name, "--version"]).await.is_err() {
            // This machine's C library is newer than the image's: it has to be compiled there.
            let root = env!("CARGO_MANIFEST_DIR");
            let options = ["build", "--build-arg", "PG_SOURCE=debian", "--label", "savepoint-test=1", "--target", tag];
            self.run(&[&options[..], &["-t", &name, root]].concat()).await?;
        }
        // What the name stood for until now.
        self.run(&["image", "prune", "--force", "--filter", "label=savepoint-test=1"]).await?;
        Ok(())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).envs(self.env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs the engine's program; its stdout.
    async fn run(&self, args: &[&str]) -> Result<String> {
        let out = self.command(args).output().await.with_context(|| self.program.clone())?;
        ensure!(out.status.success(), "{} {args:?}: {}", self.program, String::from_utf8_lossy(&out.stderr));
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    /// Starts a container on the machine's own network, in front. It ends with the test, whatever becomes of that.
    fn start(&self, name: &str, options: &[&str], image: &str, args: &[&str]) -> Result<Container<'_>> {
        let remove = format!(r#"{} rm --force {name}; kill -9 "$server""#, in_shell(&self.program, &self.env));
        let guard = Watched::start("sleep infinity & server=$!", &remove, &scratch()?.keep(), &[])?;
        let run = ["run", "--rm", "--network", "host", "--name", name];
        let child = self
            .command(&[&run, options, &[image], args].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| self.program.clone())?;
        Ok(Container { engine: self, name: name.to_owned(), child, _guard: guard })
    }

    /// Runs a workflow of `tests/action`, with the two AWS keys as its secrets.
    async fn act(&self, workflow: &str, tag: &str, vars: &[(&str, &str)], keys: (&str, &str)) -> Result<Run> {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/action").join(workflow))?;
        let secrets = [("AWS_ACCESS_KEY_ID", keys.0), ("AWS_SECRET_ACCESS_KEY", keys.1)];
        self.workflow("push", workflow, &text, tag, vars, &secrets).await
    }

    /// Runs a workflow in a repository that holds it, and action.yml with an image that is there.
    async fn workflow(
        &self,
        event: &str,
        name: &str,
        text: &str,
        tag: &str,
        vars: &[(&str, &str)],
        secrets: &[(&str, &str)],
    ) -> Result<Run> {
        // The job's container has the folder at the same place, and a /dev/shm of its own.
        let (root, dir) = (Path::new(env!("CARGO_MANIFEST_DIR")), scratch_in(Path::new("/tmp"))?);
        let repository = dir.path().join("app");
        fs::create_dir_all(repository.join(".github/workflows"))?;
        let file = format!(".github/workflows/{name}");
        fs::write(repository.join(&file), text)?;
        let action = fs::read_to_string(root.join("action.yml"))?;
        let lines = action.lines().map(|line| match line.trim_start().strip_prefix("image: ") {
            Some(_) => format!("  image: docker://{}", image_name(tag)),
            None => line.to_owned(),
        });
        fs::write(repository.join("action.yml"), lines.collect::<Vec<_>>().join("\n"))?;
        // By files: other tests look for passwords in all command lines.
        let lines = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| format!("{k}='{v}'\n")).collect::<String>();
        fs::write(dir.path().join("vars"), lines(vars))?;
        fs::write(dir.path().join("secrets"), lines(secrets))?;
        let git = "git init -q && git add -A && git -c user.name=test -c user.email=test@example.com commit -qm app";
        let mut made = Command::new("sh");
        made.arg("-c").arg(git).current_dir(&repository).env("HOME", dir.path());
        ensure!(made.status().await?.success(), "git made no repository");

        let mut act = Command::new(stack().join("containers/act").canonicalize()?);
        act.args([event, "--json", "--workflows", &file, "--pull=false", "--rm", "--no-cache-server"])
            .args(["--network", "host", "--container-daemon-socket", "-", "--concurrent-jobs", "2"])
            .args(["--platform", &format!("ubuntu-latest={}", self.base)])
            .args(["--var-file", "../vars", "--secret-file", "../secrets"])
            .current_dir(&repository)
            .env_clear()
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", dir.path())
            .kill_on_drop(true);
        let out = tokio::time::timeout(Duration::from_secs(600), act.output()).await.context("act did not end")??;
        Run::new(name, out)
    }

    /// Runs a workflow of `examples`, pointed at the test's servers; `migrate` takes the place of the migration's command.
    async fn example(&self, event: &str, name: &str, place: &Example<'_>, migrate: &str) -> Result<Run> {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name))?;
        let mut out = String::new();
        let mut skipping = false;
        for line in text.lines() {
            let word = line.trim_start();
            // A role of AWS is not to be had here: the keys stand in the environment of the steps.
            if word.starts_with("- name: Get the role") {
                skipping = true;
                out += "      - uses: actions/checkout@v7\n";
                continue;
            }
            skipping = skipping && !word.starts_with("- ");
            if skipping {
                continue;
            }
            let indent = &line[..line.len() - word.len()];
            out += &match word {
                "runs-on: ubuntu-24.04" => format!("{indent}runs-on: ubuntu-latest"),
                "uses: your-org/savepoint@v1" => format!("{indent}uses: ./"),
                "destination: s3://my-backups/prod" => {
                    format!("{indent}destination: s3://{}/prod\n{indent}s3-endpoint: {}", place.bucket, place.endpoint)
                }
                "run: npm ci && npx prisma migrate deploy" => format!("{indent}shell: bash\n{indent}run: {migrate}"),
                _ if word.starts_with("confirm: ") => format!("{indent}confirm: {}", place.database),
                _ => line.to_owned(),
            };
            out.push('\n');
        }
        // Below `jobs`, so that steps without keys of their own have them.
        let keys = format!(
            "env:\n  AWS_ACCESS_KEY_ID: {}\n  AWS_SECRET_ACCESS_KEY: ${{{{ secrets.AWS_SECRET_ACCESS_KEY }}}}\n",
            s3::ACCESS_KEY
        );
        let out = out.replace("permissions: {}\n", &format!("permissions: {{}}\n\n{keys}"));
        let secrets = [
            ("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", s3::SECRET_KEY),
            ("DATABASE_URL", place.url),
            ("ADMIN_URL", place.url),
        ];
        self.workflow(event, name, &out, "slim", &[], &secrets).await
    }
}

/// What an example works on.
struct Example<'a> {
    url: &'a str,
    database: &'a str,
    bucket: &'a str,
    endpoint: &'a str,
}

/// A program with its settings, as the beginning of a shell command.
fn in_shell(program: &str, env: &[(String, String)]) -> String {
    let settings: String = env.iter().map(|(k, v)| format!("{k}='{v}' ")).collect();
    format!("{settings}{program}")
}

fn image_name(tag: &str) -> String {
    format!("localhost/savepoint-test:{tag}")
}

/// A container that runs.
struct Container<'a> {
    engine: &'a Engine,
    name: String,
    child: Child,
    _guard: Watched,
}

impl Container<'_> {
    /// The process id of its first process, seen from outside; waits until it is there.
    async fn pid(&self) -> Result<u32> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let pid = self.engine.run(&["inspect", "--format", "{{.State.Pid}}", &self.name]).await;
            if let Ok(pid) = pid.unwrap_or_default().parse()
                && pid > 0
            {
                return Ok(pid);
            }
            ensure!(Instant::now() < end, "the container {} did not start", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn wait(self) -> Result<Output> {
        Ok(tokio::time::timeout(Duration::from_secs(120), self.child.wait_with_output()).await??)
    }
}

/// What act said, line by line.
struct Run {
    lines: Vec<Value>,
    code: Option<i32>,
}

impl Run {
    fn new(workflow: &str, out: Output) -> Result<Self> {
        let text = String::from_utf8_lossy(&out.stdout);
        let lines: Vec<Value> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
        ensure!(!lines.is_empty(), "act did nothing: {text}{}", String::from_utf8_lossy(&out.stderr));
        let run = Self { lines, code: out.status.code() };
        if let Some(dir) = std::env::var_os("SAVEPOINT_TEST_ACT_LOGS") {
            fs::create_dir_all(&dir)?;
            fs::write(PathBuf::from(dir).join(workflow).with_extension("log"), run.log())?;
        }
        Ok(run)
    }

    /// Everything, as act prints it to a person.
    fn log(&self) -> String {
        let line = |l: &Value| format!("[{}] {}\n", text(l, "jobID"), text(l, "msg").trim_end());
        self.lines.iter().map(line).collect()
    }

    fn of<'a>(&'a self, job: &'a str, step: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |l| text(l, "jobID") == job && text(l, "step") == step)
    }

    /// `success` or `failure`; empty for a step that never began.
    fn result(&self, job: &str, step: &str) -> String {
        self.of(job, step).map(|l| text(l, "stepResult")).find(|r| !r.is_empty()).unwrap_or_default().to_owned()
    }

    /// What a step printed.
    fn printed(&self, job: &str, step: &str) -> String {
        self.of(job, step).filter(|l| l["raw_output"] == true).map(|l| text(l, "msg")).collect()
    }

    /// What act made of the workflow commands, the outputs and the summary file of a step.
    fn said(&self, job: &str, step: &str) -> String {
        self.of(job, step).filter(|l| l["raw_output"] != true).map(|l| format!("{}\n", text(l, "msg").trim())).collect()
    }

    /// The step's summary file.
    fn summary(&self, job: &str) -> Result<String> {
        let found = self.of(job, "Back up").find_map(|l| text(l, "msg").trim().strip_prefix("⚙  Summary - "));
        Ok(found.with_context(|| format!("no summary in {job}\n{}", self.log()))?.to_owned())
    }

    /// The outputs as the step `Read the outputs` saw them.
    fn outputs(&self, job: &str) -> Result<BTreeMap<String, String>> {
        serde_json::from_str(&self.printed(job, "Read the outputs")).with_context(|| self.log())
    }
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_default()
}

/// A database whose owner has to give a password; its address.
async fn source(server: &pg::Server, db: &str) -> Result<String> {
    server.create_db(db, "").await?;
    let sql = format!(
        "DO $$ BEGIN CREATE ROLE marked LOGIN SUPERUSER PASSWORD '{}'; EXCEPTION WHEN duplicate_object OR unique_violation \
         THEN NULL; END $$; CREATE TABLE one AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 5000) g; \
         CREATE TABLE two AS SELECT * FROM one LIMIT 700; CREATE INDEX ON one (t); CREATE VIEW v AS SELECT * FROM one",
        pg::MARKED_PASSWORD
    );
    server.psql(db, &sql).await?;
    Ok(server.url_at(server.port, &format!("marked:{}", pg::encode(pg::MARKED_PASSWORD)), db))
}

fn no_password_in(run: &Run) -> Result {
    for secret in [pg::MARKED_PASSWORD, &pg::encode(pg::MARKED_PASSWORD), s3::SECRET_KEY] {
        let found = run.lines.iter().find(|l| text(l, "msg").contains(secret));
        ensure!(found.is_none(), "a password in the log: {found:?}");
    }
    Ok(())
}

#[tokio::test]
async fn migration_runs_behind_a_proven_backup() -> Result {
    let Some(engine) = engine().await? else { return Ok(()) };
    let (server, s3) = (pg::server(MAJOR).await?, s3::s3().await?);
    let url = source(server, "it_action_green").await?;
    let second = pg::Server::start(MAJOR, "log_statement = 'ddl'").await?;
    let bucket = s3.bucket().await?;
    let vars = [
        ("DATABASE_URL", url.as_str()),
        ("PASSWORD", pg::MARKED_PASSWORD),
        ("BUCKET", &bucket),
        ("S3_ENDPOINT", &s3.endpoint),
        ("VERIFY_URL", &second.url("postgres")),
    ];
    let run = engine.act("green.yml", "slim", &vars, (s3::ACCESS_KEY, s3::SECRET_KEY)).await?;
    ensure!(run.code == Some(0), "{}", run.log());
    no_password_in(&run)?;
    ensure!(run.printed("deploy", "Print what is masked").ends_with("password ***\n"), "{}", run.log());

    let outputs = run.outputs("deploy")?;
    let action = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("action.yml"))?;
    let action = Yaml::load_from_str(&action)?;
    let named = action[0]["outputs"].as_mapping().context("outputs")?;
    let named: BTreeSet<&str> = named.keys().filter_map(Yaml::as_str).collect();
    // Other verbs have outputs of their own.
    ensure!(outputs.keys().all(|name| named.contains(name.as_str())), "{outputs:?} but {named:?}");
    ensure!(outputs["verified"] == "true" && outputs["tables"] == "2" && outputs["rows"] == "5700", "{outputs:?}");
    ensure!(outputs["postgres-version"].starts_with("17."), "{outputs:?}");
    ensure!(outputs["restore-command"].contains("pg_restore -d \"$TARGET\""), "{outputs:?}");
    let migrated = run.printed("deploy", "Migrate");
    ensure!(migrated == format!("migrated after {}\n", outputs["backup-id"]), "{migrated}");

    // What they say is so, and what was left empty is as without.
    let key = outputs["manifest-uri"].strip_prefix(&format!("s3://{bucket}/")).context("manifest-uri")?;
    ensure!(outputs["manifest-uri"] == format!("{}manifest.json", outputs["uri"]), "{outputs:?}");
    let manifest: Value = serde_json::from_slice(&s3.get(&bucket, key).await?)?;
    ensure!(manifest["id"] == outputs["backup-id"].as_str() && manifest["kind"] == "snapshot", "{manifest:#}");
    for (total, output) in [("bytes", "bytes"), ("stored_bytes", "stored-bytes")] {
        ensure!(manifest["totals"][total].as_u64() == Some(outputs[output].parse()?), "{output}: {manifest:#}");
    }
    let summary = run.summary("deploy")?;
    ensure!(summary.contains("## ✅") && summary.contains(&outputs["backup-id"]), "{summary}");
    ensure!(summary.contains("zstd") && summary.contains("2 tables with 5,700 rows"), "{summary}");
    ensure!(summary.contains("(built-in)"), "{summary}");
    ensure!(!run.said("deploy", "Back up").contains("::error"), "{}", run.log());

    let outputs = run.outputs("verify-url")?;
    ensure!(outputs["verified"] == "true", "{outputs:?}");
    let made = fs::read_to_string(second.dir.join("log"))?;
    ensure!(made.contains("CREATE DATABASE") && made.contains("CREATE TABLE public.two"), "not proven there: {made}");
    let left =
        second.psql("postgres", "SELECT datname FROM pg_database WHERE datname !~ '^(postgres|template.)$'").await?;
    ensure!(left.is_empty(), "left on the second server: {left}");
    Ok(())
}

#[tokio::test]
async fn migration_does_not_run_behind_a_failure() -> Result {
    let Some(engine) = engine().await? else { return Ok(()) };
    let (server, s3) = (pg::server(MAJOR).await?, s3::s3().await?);
    let url = source(server, "it_action_gates").await?;
    let bucket = s3.bucket().await?;
    let data = |key: &str| key.contains("/archive/") && key.ends_with(".dat.zst");
    let bad = TamperingS3::start(s3, &bucket, Tamper::Flip(None), data).await?;
    // SeaweedFS answers as to a bucket without permission, this one as AWS does.
    let other = s3::old_clone().await?;
    let vars = [
        ("DATABASE_URL", url.as_str()),
        ("WRONG_URL", &url.replace("marked:", "marked:x")),
        ("BUCKET", &bucket),
        ("MISSING_BUCKET", "no-such-bucket"),
        ("S3_ENDPOINT", &s3.endpoint),
        ("OTHER_S3_ENDPOINT", &other.endpoint),
        ("BAD_S3_ENDPOINT", &bad.endpoint),
    ];
    let run = engine.act("gates.yml", "slim", &vars, (s3::ACCESS_KEY, s3::SECRET_KEY)).await?;
    ensure!(run.code == Some(1), "{}", run.log());
    no_password_in(&run)?;
    for (job, code, annotation, shown) in [
        ("password", 1, "password authentication failed for user", "password authentication failed for user"),
        ("bucket", 1, "hint: create the bucket no-such-bucket", "NoSuchBucket"),
        ("proof", 3, "its proof failed", "stored, but its proof failed"),
    ] {
        let said = run.said(job, "Back up");
        ensure!(run.result(job, "Back up") == "failure", "{job}: {said}");
        ensure!(said.contains(&format!("exit with `FAILURE`: {code}\n")), "{job}: another exit code\n{said}");
        let error = said.lines().find(|l| l.contains("::error title=")).with_context(|| format!("{job}: {said}"))?;
        ensure!(error.contains(annotation), "{job}: {error}");
        let summary = run.summary(job)?;
        ensure!(summary.contains("## ❌") && summary.contains(shown), "{job}: {summary}");
        ensure!(run.outputs(job)?["verified"] == "false", "{job}: {:?}", run.outputs(job)?);
        ensure!(run.result(job, "Migrate").is_empty(), "{job}: the migration ran\n{}", run.log());
        ensure!(run.printed(job, "Migrate").is_empty(), "{job}: the migration ran\n{}", run.log());
    }
    ensure!(!bad.served().is_empty(), "the proof read nothing back");
    // The damaged one is stored, with the record of its failed proof; the other two left nothing.
    let objects = s3.list(&bucket).await?;
    ensure!(objects.iter().all(|o| o.key.starts_with("proof/")), "{objects:?}");
    ensure!(objects.iter().any(|o| o.key.contains("/proofs/")), "{objects:?}");
    Ok(())
}

/// pgvector and PostGIS, tables and indexes, on the server that the full image itself holds.
#[tokio::test]
async fn full_image_proves_extensions() -> Result {
    let Some(engine) = engine().await? else { return Ok(()) };
    let [port] = crate::support::free_ports()?;
    let name = format!("savepoint-test-source-{}", std::process::id());
    let script = format!(
        "cd /tmp && bin=$(echo /usr/lib/postgresql/*/bin) && $bin/initdb -D data -A trust --no-sync -E UTF8 --locale=C.UTF-8 >&2 && \
         exec $bin/postgres -D data -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp -c fsync=off \
         -c shared_preload_libraries=pg_cron,pgaudit,pg_stat_statements,pg_stat_kcache -c cron.database_name=app"
    );
    let options = ["--user", "postgres", "--entrypoint", "/bin/sh"];
    let container = engine.start(&name, &options, &image_name("full"), &["-c", &script])?;
    let bin = stack().join(format!("pg/{MAJOR}/bin"));
    let conninfo = |db: &str| format!("host=127.0.0.1 port={port} user=postgres dbname={db}");
    let end = Instant::now() + Duration::from_secs(60);
    while let Err(e) = pg::psql(&bin, &conninfo("postgres"), "CREATE DATABASE app").await {
        ensure!(Instant::now() < end, "the server in the container did not start: {e:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let sql = "CREATE EXTENSION vector; CREATE EXTENSION postgis; CREATE EXTENSION hypopg; CREATE EXTENSION pg_repack;
        CREATE EXTENSION pg_cron; CREATE EXTENSION pgaudit; CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_stat_kcache;
        SELECT cron.schedule('hourly', '0 * * * *', 'VACUUM');
        CREATE TABLE items (id int PRIMARY KEY, embedding vector(3), place geometry(Point, 4326), area geography);
        INSERT INTO items SELECT g, ARRAY[g, g % 7, 1]::vector, ST_SetSRID(ST_MakePoint(g % 90, g % 45), 4326),
          ST_Buffer(ST_MakePoint(g % 90, g % 45)::geography, 100) FROM generate_series(1, 1000) g;
        CREATE INDEX items_near ON items USING hnsw (embedding vector_l2_ops);
        CREATE INDEX items_lists ON items USING ivfflat (embedding vector_cosine_ops) WITH (lists = 10);
        CREATE INDEX items_place ON items USING gist (place); CREATE INDEX items_area ON items USING gist (area);
        INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) VALUES (990001, 'own', 1, '', '')";
    pg::psql(&bin, &conninfo("app"), sql).await?;
    let url = format!("postgresql://postgres@127.0.0.1:{port}/app");
    let run = engine.act("extensions.yml", "full", &[("DATABASE_URL", &url)], ("", "")).await;
    engine.run(&["kill", &name]).await?;
    container.wait().await?;
    let run = run?;
    ensure!(run.code == Some(0), "{}", run.log());
    let outputs = run.outputs("full")?;
    // With the row of spatial_ref_sys and the job of pg_cron.
    ensure!(outputs["verified"] == "true" && outputs["rows"] == "1002", "{outputs:?}\n{}", run.log());
    ensure!(run.printed("full", "Look at the backup").lines().count() == 2, "{}", run.log());
    Ok(())
}

/// As a cancelled job does it: INT, then TERM, to the container's first process.
#[tokio::test]
async fn signals_end_the_container() -> Result {
    let Some(engine) = engine().await? else { return Ok(()) };
    let (server, s3) = (pg::server(MAJOR).await?, s3::s3().await?);
    server.create_db("it_action_signals", "").await?;
    server.psql_file("it_action_signals", "big.sql").await?;
    for signal in ["TERM", "INT", "KILL"] {
        let bucket = s3.bucket().await?;
        // It stalls where rows flow: the signal comes in the middle.
        let stall = Rule { connection: None, after: 8 << 20, action: Action::Stall };
        let proxy = Proxy::start(server.port, vec![stall]).await?;
        let url = server.url_at(proxy.port, "postgres", "it_action_signals");
        let destination = format!("s3://{bucket}/x");
        let env = [
            format!("INPUT_DATABASE-URL={url}"),
            format!("INPUT_DESTINATION={destination}"),
            format!("INPUT_S3-ENDPOINT={}", s3.endpoint),
            format!("AWS_ACCESS_KEY_ID={}", s3::ACCESS_KEY),
        ];
        let mut options: Vec<&str> = env.iter().flat_map(|e| ["--env", e]).collect();
        let dir = scratch()?;
        let file = dir.path().join("env");
        fs::write(&file, format!("AWS_SECRET_ACCESS_KEY={}\n", s3::SECRET_KEY))?;
        let file = file.display().to_string();
        options.extend(["--env-file", &file]);
        let name = format!("savepoint-test-{signal}-{}", std::process::id()).to_lowercase();
        let container = engine.start(&name, &options, &image_name("slim"), &["action"])?;
        let first = container.pid().await?;
        let end = Instant::now() + Duration::from_secs(60);
        // One worker waits for ever, others have stored something: only then does an empty bucket say anything.
        while proxy.fired() == 0 || (s3.list(&bucket).await?.is_empty() && s3.uploads(&bucket).await?.is_empty()) {
            ensure!(Instant::now() < end, "nothing was stored\n{:?}", container.wait().await?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        // A process that lost its parent becomes the first process's child.
        let orphan = ["exec", &name, "/bin/sh", "-c", "sleep 0.3 & exit 0"];
        engine.run(&orphan).await?;
        let zombies = |all: &[Process]| -> Vec<Process> {
            all.iter().filter(|p| p.zombie && descends(all, p.pid, first)).cloned().collect()
        };
        let begun = Instant::now();
        let mut left = vec![];
        while begun.elapsed() < Duration::from_secs(1) || (!left.is_empty() && begun.elapsed() < Duration::from_secs(5))
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
            left = zombies(&processes());
        }
        ensure!(left.is_empty(), "not reaped: {left:?}");

        if signal == "KILL" {
            // To all but the first process, as when memory runs out. The answer is lost with the container.
            let _ = engine.run(&["exec", &name, "/bin/sh", "-c", "kill -9 -1"]).await;
        } else {
            engine.run(&["kill", "--signal", signal, &name]).await?;
        }
        // The engine then removes the container's files, which is not ours to hurry.
        let begun = Instant::now();
        while processes().iter().any(|p| p.pid == first && !p.zombie) && begun.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = begun.elapsed();
        let out = container.wait().await?;
        let said = [out.stdout, out.stderr].map(|s| String::from_utf8_lossy(&s).into_owned()).concat();
        let code = if signal == "KILL" { 128 + 9 } else { 1 };
        ensure!(out.status.code() == Some(code), "{signal}: {:?}\n{said}", out.status);
        // A runner waits for ten seconds in all.
        ensure!(took < Duration::from_secs(10), "{signal}: it took {took:?} to end\n{said}");
        if signal == "KILL" {
            continue;
        }
        ensure!(said.contains("interrupted") && said.contains("::error title="), "{signal}: {said}");
        let (left, uploads) = (s3.list(&bucket).await?, s3.uploads(&bucket).await?);
        ensure!(left.is_empty() && uploads.is_empty(), "{signal}: left in the bucket: {left:?} {uploads:?}");
    }
    Ok(())
}

/// The first two examples, as they stand but for addresses and the migration's command.
#[tokio::test]
async fn examples_run() -> Result {
    let Some(engine) = engine().await? else { return Ok(()) };
    let (server, s3) = (pg::server(MAJOR).await?, s3::s3().await?);
    let (database, bucket) = ("it_action_examples", s3.bucket().await?);
    let url = source(server, database).await?;
    let place = Example { url: &url, database, bucket: &bucket, endpoint: &s3.endpoint };
    let run = engine.example("push", "pre-deploy-prisma.yml", &place, "echo migrated").await?;
    ensure!(run.code == Some(0), "{}", run.log());
    ensure!(run.printed("deploy", "Migrate") == "migrated\n", "{}", run.log());
    no_password_in(&run)?;
    let run = engine.example("workflow_dispatch", "nightly.yml", &place, "").await?;
    ensure!(run.code == Some(0), "{}", run.log());
    let stored = s3.list(&bucket).await?;
    ensure!(stored.iter().filter(|o| o.key.ends_with("manifest.json")).count() == 2, "{stored:?}");

    // The gate holds.
    let wrong = url.replace("marked:", "marked:not-");
    let run =
        engine.example("push", "pre-deploy-prisma.yml", &Example { url: &wrong, ..place }, "echo migrated").await?;
    ensure!(run.code == Some(1) && run.printed("deploy", "Migrate").is_empty(), "{}", run.log());
    ensure!(run.log().contains("password authentication failed"), "{}", run.log());
    Ok(())
}

/// A migration that breaks the database and fails is rolled back by the workflow, and the broken database is kept.
#[tokio::test]
async fn failed_migration_is_rolled_back() -> Result {
    let Some(engine) = engine().await? else { return Ok(()) };
    let (server, s3) = (pg::server(MAJOR).await?, s3::s3().await?);
    let (database, bucket) = ("it_action_rollback", s3.bucket().await?);
    let url = source(server, database).await?;
    let place = Example { url: &url, database, bucket: &bucket, endpoint: &s3.endpoint };
    // The job's container has no psql: the test breaks the database when the step asks it to.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let migrate = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && read -r done <&3 && exit 1");
    let breaking = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await?;
        server.psql(database, "DROP VIEW v; DROP TABLE two; UPDATE one SET t = 'broken'").await?;
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"done\n").await?;
        Ok::<(), anyhow::Error>(())
    });
    let run = engine.example("push", "roll-back.yml", &place, &migrate).await;
    // A step that never ran will not ask any more.
    breaking.abort();
    let run = run?;
    breaking.await.with_context(|| format!("the migration did not run\n{}", run.log()))??;
    // The job is red, for the migration failed, and the database is as before.
    ensure!(run.code == Some(1), "{}", run.log());
    ensure!(
        run.result("deploy", "Migrate") == "failure" && run.result("deploy", "Roll back") == "success",
        "{}",
        run.log()
    );
    no_password_in(&run)?;
    let facts = "SELECT (SELECT count(*) FROM two) || ' ' || (SELECT count(*) FROM v) || ' ' || (SELECT count(*) FROM one WHERE t = 'broken')";
    ensure!(server.psql(database, facts).await?.trim() == "700 5000 0", "{}", run.log());
    let kept =
        server.psql("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'it_action_rollback_%'").await?;
    let kept = kept.trim();
    ensure!(
        !kept.is_empty() && server.psql(kept, "SELECT count(*) FROM one WHERE t = 'broken'").await?.trim() == "5000",
        "{kept}"
    );
    Ok(())
}
