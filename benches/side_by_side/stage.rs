//! The servers, the programs, and the folders of a run.

use crate::{
    data,
    measure::{self, Job, Run, Servers},
    options::Options,
    support::{
        Result, is_root,
        pg::{self, Server},
        s3::{self, S3},
        scratch,
    },
};
use anyhow::{Context, bail, ensure};
use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// As people run one: everything on that keeps data safe. Locks for many tables in one dump; no autovacuum between.
const CONF: &str =
    "fsync = on\nfull_page_writes = on\nwal_level = replica\nautovacuum = off\nmax_locks_per_transaction = 2048\n";

/// Everything that a competitor needs.
pub struct Stage {
    /// What is asked for.
    pub options: Options,
    /// Runs all that is asynchronous.
    pub runtime: Runtime,
    /// The server that is backed up.
    pub source: Server,
    /// The S3 server.
    pub s3: S3,
    /// Folder of aws; `None` where there is none.
    pub aws: Option<PathBuf>,
    /// True where there is zstd.
    pub zstd: bool,
    /// Set by a signal.
    pub stop: CancellationToken,
    /// Everything temporary.
    pub scratch: tempfile::TempDir,
    target: std::cell::OnceCell<Server>,
}

/// Where a run stores: a bucket of its own and a folder of its own.
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// An empty folder.
    pub dir: PathBuf,
}

impl Stage {
    /// Starts the servers. SIGINT and SIGTERM break off whatever runs; everything is ended and removed then.
    pub fn start(options: Options) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let token = stop.clone();
        let (mut int, mut term) = {
            use tokio::signal::unix::{SignalKind, signal};
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        runtime.spawn(async move {
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
            eprintln!("bench: broken off");
            token.cancel();
        });
        let scratch = scratch()?;
        let major = if has_zstd(18)? { 18 } else { 17 };
        // The quick form shows no figures, and may meet a busy disk.
        let conf =
            if options.quick { format!("{CONF}fsync = off\n") } else { format!("{CONF}shared_buffers = 512MB\n") };
        let (source, s3) = runtime.block_on(async { tokio::try_join!(Server::start(major, &conf), S3::start()) })?;
        let (aws, zstd) = (tool("aws").and_then(|p| Some(p.parent()?.to_owned())), tool("zstd").is_some());
        let target = std::cell::OnceCell::new();
        Ok(Self { options, runtime, source, s3, aws, zstd, stop, scratch, target })
    }

    /// Waits for something asynchronous, or for the end that a signal asks for.
    pub fn wait<T>(&self, what: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(async {
            tokio::select! {
                done = what => done,
                () = self.stop.cancelled() => bail!("broken off"),
            }
        })
    }

    /// A second server, to restore into: default settings.
    pub fn target(&self) -> Result<&Server> {
        if self.target.get().is_none() {
            let fsync = if self.options.quick { "off" } else { "on" };
            let conf = format!(
                "{CONF}shared_buffers = 128MB\nmax_wal_size = 1GB\nautovacuum = on\nautovacuum_naptime = 1min\nfsync = {fsync}\n"
            );
            let server = self.wait(Server::start(self.source.major, &conf))?;
            let _ = self.target.set(server);
        }
        self.target.get().context("no server")
    }

    /// The servers whose CPU time counts.
    pub fn servers(&self, postgres: &Server) -> Servers {
        let pid = fs::read_to_string(postgres.dir.join("data/postmaster.pid")).ok();
        let pid = pid.and_then(|p| p.lines().next()?.trim().parse().ok());
        Servers { postgres: pid.unwrap_or(0), s3: self.s3.pid().unwrap_or(0) }
    }

    /// Makes a database of a set; its COPY text in bytes.
    pub fn load(&self, db: &str, set: &str, scale: f64) -> Result<u64> {
        let began = Instant::now();
        self.wait(self.source.create_db(db, "ENCODING 'UTF8' LOCALE 'C.UTF-8'"))?;
        match data::sql(set, scale) {
            Some(sql) => {
                self.wait(self.source.psql(db, &sql))?;
            }
            None => {
                let (url, size) = (self.source.url(db), data::pgbench_scale(scale).to_string());
                self.wait(self.source.tool("pgbench", &["-i", "-q", "-s", &size, &url]))?;
                self.wait(self.source.psql(db, "CHECKPOINT"))?;
            }
        }
        let script = format!("{}/pg_dump -Fp -a -d \"$URL\" | wc -c", self.source.bin.display());
        let out = self.wait(async {
            let mut command = pg::command(Path::new("/bin"), "bash");
            Ok(command.args(["-c", &script]).env("URL", self.source.url(db)).output().await?)
        })?;
        let bytes = String::from_utf8_lossy(&out.stdout).trim().parse().context("pg_dump | wc says no size")?;
        self.say(&format!(
            "made {db}: {:.1} MB of COPY text, {:.0} s",
            bytes as f64 / 1e6,
            began.elapsed().as_secs_f64()
        ));
        Ok(bytes)
    }

    /// Fills a database by statements.
    pub fn fill(&self, db: &str, sql: &str) -> Result {
        self.wait(self.source.create_db(db, "ENCODING 'UTF8' LOCALE 'C.UTF-8'"))?;
        self.wait(self.source.psql(db, sql))?;
        Ok(())
    }

    /// Tells a person how far it is.
    pub fn say(&self, text: &str) {
        if !self.options.test {
            eprintln!("bench: {text}");
        }
    }

    /// A place for one run. The bucket has been written to: making a server's first files is nobody's cost.
    pub fn place(&self) -> Result<Place> {
        let bucket = self.wait(async {
            let bucket = self.s3.bucket().await?;
            self.s3.put(&bucket, "warm", b"x".to_vec()).await?;
            self.s3.delete(&bucket, "warm").await?;
            Ok(bucket)
        })?;
        let dir = self.scratch.path().join(&bucket);
        fs::create_dir(&dir)?;
        // savepoint's throwaway server runs as another user when this is root.
        if is_root() {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Place { bucket, dir })
    }

    /// Removes a place with all that is in it.
    pub fn clear(&self, place: &Place) -> Result {
        fs::remove_dir_all(&place.dir)?;
        // SeaweedFS removes a bucket with its content, and at once frees the disk.
        self.wait(async {
            self.s3.client().delete_bucket().bucket(&place.bucket).send().await.context("the bucket stays")?;
            Ok(())
        })
    }

    /// Variables of every competitor: where the programs and the S3 server are.
    pub fn env(&self, endpoint: &str) -> Vec<(String, String)> {
        let aws = self.aws.as_ref().map_or(String::new(), |p| format!("{}:", p.display()));
        let path = format!("{}:{aws}/usr/local/bin:/usr/bin:/bin", self.source.bin.display());
        let set = [
            ("PATH", path.as_str()),
            ("HOME", &self.scratch.path().display().to_string()),
            ("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", s3::SECRET_KEY),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
        set.into()
    }

    /// Runs a job that stores into a place (a bucket or, without upload, its folder), and measures it.
    pub fn measure(&self, job: &Job, place: &Place, servers: Servers) -> Result<Run> {
        let before = self.requests(&place.bucket);
        let mut run = measure::run(job, servers, &self.scratch.path().join("log"), &self.stop)?;
        run.requests = before.and_then(|b| Some(self.requests(&place.bucket)? - b));
        let objects = self.wait(self.s3.list(&place.bucket))?;
        run.stored = objects.iter().map(|o| o.size).sum();
        if objects.is_empty() {
            run.stored = fs::metadata(place.dir.join("file")).map_or(0, |m| m.len());
        }
        Ok(run)
    }

    /// As [`Stage::measure`], in a place that is made before and removed after.
    pub fn measure_fresh(&self, job: impl FnOnce(&Place) -> Job) -> Result<Run> {
        let place = self.place()?;
        let run = self.measure(&job(&place), &place, self.servers(&self.source));
        let cleared = self.clear(&place);
        let run = run?;
        cleared?;
        ensure!(run.stored > 0, "it ended well, but stored nothing");
        Ok(run)
    }

    /// Requests to a bucket so far, by the S3 server's own count.
    fn requests(&self, bucket: &str) -> Option<u64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.s3.metrics_port);
        let text = self.wait(async { Ok(reqwest::get(url).await?.text().await?) }).ok()?;
        let label = format!("bucket=\"{bucket}\"");
        let counts = text.lines().filter(|l| l.starts_with("SeaweedFS_s3_request_total{") && l.contains(&label));
        Some(counts.filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64)
    }

    /// True once a signal asked for the end.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Round trip times of the distance part.
    pub fn round_trips(&self) -> Vec<Duration> {
        let all: &[u64] = if self.options.quick { &[5] } else { &[20, 80] };
        all.iter().map(|&ms| Duration::from_millis(ms)).collect()
    }
}

/// Whether this major's pg_dump was built with zstd.
fn has_zstd(major: u32) -> Result<bool> {
    let bin = crate::support::program(crate::support::stack().join(format!("pg/{major}/bin")))?;
    // Without it, it says so before it connects.
    let out = std::process::Command::new(bin.join("pg_dump"))
        .args(["-Fc", "--compress=zstd:3", "-h", "/nonexistent", "-f", "/dev/null"])
        .env("LD_LIBRARY_PATH", bin.join("../lib"))
        .output()?;
    Ok(!String::from_utf8_lossy(&out.stderr).contains("not supported by this build"))
}

/// A program: of `target/bench-tools` (see scripts/bench.sh), else of PATH.
fn tool(name: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::iter::once(own).chain(std::env::split_paths(&path));
    folders.find_map(|f| {
        let program = f.join(name);
        // A version manager's placeholder is on PATH too, and needs its own surroundings.
        let works = program.is_file()
            && std::process::Command::new(&program)
                .arg("--version")
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .output()
                .is_ok_and(|o| o.status.success());
        works.then_some(program)
    })
}
