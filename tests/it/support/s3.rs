//! A real S3 server: SeaweedFS.

use super::{Result, Watched, free_ports, program, stack};
use anyhow::{Context, bail};
use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    primitives::ByteStream,
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, sync::OnceCell};

/// The access key that may do everything.
pub const ACCESS_KEY: &str = "testaccess";
/// Its secret; nothing that a run leaves behind may hold it.
pub const SECRET_KEY: &str = "mArKeDs3cretKey12345";
/// An access key that may only read and list; its secret is [`SECRET_KEY`] too.
pub const READER_KEY: &str = "readeraccess";

/// An access key that may write too, but makes no buckets (for the first key the server makes missing ones by itself).
pub const WRITER_KEY: &str = "writeraccess";

/// An access key that may only put, by `examples/aws/put-only-policy.json` as it stands.
pub const PUT_KEY: &str = "putaccess";

/// The bucket and prefix that the policies in `examples/aws` are for.
pub const MY_BACKUPS: (&str, &str) = ("my-backups", "prod");

/// A running server.
#[derive(Debug)]
pub struct S3 {
    /// `http://127.0.0.1:port`.
    pub endpoint: String,
    /// TCP port.
    pub port: u16,
    /// TCP port of its counters, as Prometheus reads them.
    pub metrics_port: u16,
    watched: Option<Watched>,
}

/// An object as the server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Whole key.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// The shared server: started at first use, ends with the test process. Use a bucket of your own on it.
pub async fn s3() -> Result<&'static S3> {
    static SERVER: OnceCell<S3> = OnceCell::const_new();
    SERVER.get_or_try_init(S3::start).await
}

impl S3 {
    /// A server of its own, which ends when this is dropped.
    pub async fn start() -> Result<Self> {
        let weed = program(stack().join("weed"))?.canonicalize()?;
        let mut last = String::new();
        for _ in 0..3 {
            match Self::try_start(&weed).await {
                Ok(server) => return Ok(server),
                Err(e) => last = format!("{e:#}"),
            }
        }
        bail!("SeaweedFS did not start: {last}")
    }

    async fn try_start(weed: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("sp-s3-").tempdir()?.keep();
        fs::create_dir(dir.join("data"))?;
        let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/aws/put-only-policy.json");
        let policy = serde_json::to_string(&fs::read_to_string(policy)?)?;
        fs::write(
            dir.join("s3.json"),
            format!(
                r#"{{"identities": [
  {{"name": "admin", "credentials": [{{"accessKey": "{ACCESS_KEY}", "secretKey": "{SECRET_KEY}"}}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"]}},
  {{"name": "reader", "credentials": [{{"accessKey": "{READER_KEY}", "secretKey": "{SECRET_KEY}"}}],
    "actions": ["Read", "List"]}},
  {{"name": "writer", "credentials": [{{"accessKey": "{WRITER_KEY}", "secretKey": "{SECRET_KEY}"}}],
    "actions": ["Read", "Write", "List"]}},
  {{"name": "putter", "credentials": [{{"accessKey": "{PUT_KEY}", "secretKey": "{SECRET_KEY}"}}],
    "policyNames": ["PutOnly"]}}],
 "policies": [{{"name": "PutOnly", "content": {policy}}}]}}"#
            ),
        )?;
        let ports: [u16; 9] = free_ports()?;
        // Every gRPC port is named: by default they lie 10,000 above, which is past the end for high ports.
        let script = r#"export WEED_S3_SSE_KEY=test-sse-passphrase HOME="$dir"
"$2" -logtostderr server -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false \
  -master.volumeSizeLimitMB=64 -volume.max=20000 -filer -s3 -s3.config="$dir/s3.json" -s3.port.iceberg=0 -s3.port.lance=0 \
  -s3.port="$3" -s3.port.grpc="$4" -master.port="$5" -master.port.grpc="$6" -volume.port="$7" -volume.port.grpc="$8" \
  -filer.port="$9" -filer.port.grpc="${10}" \
  -metricsPort="${11}" & server=$!"#;
        let args: Vec<String> =
            std::iter::once(weed.display().to_string()).chain(ports.iter().map(u16::to_string)).collect();
        // On TERM the volume server would wait for 10 s.
        let watched = Watched::start(script, r#"kill -9 "$server""#, &dir, &args)?;
        let endpoint = format!("http://127.0.0.1:{}", ports[0]);
        let server = Self { endpoint, port: ports[0], metrics_port: ports[8], watched: Some(watched) };
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            // It listens before its parts have found each other; a bucket and an object show that they have.
            let ready = async {
                TcpStream::connect(("127.0.0.1", server.port)).await?;
                let bucket = server.bucket().await?;
                server.put(&bucket, "probe", b"x".to_vec()).await
            };
            match ready.await {
                Ok(()) => return Ok(server),
                Err(e) if Instant::now() > end => {
                    bail!("{e:#}\n{}", fs::read_to_string(dir.join("log")).unwrap_or_default())
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Kills the server as a crash would.
    pub fn kill(&mut self) {
        self.watched = None;
    }

    /// The server's process id, to stop it for a while.
    pub fn pid(&self) -> Option<u32> {
        self.watched.as_ref().map(|w| w.pid)
    }

    /// A plain client. Each test needs its own: its connections belong to the test's runtime.
    pub fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"))
            .region(Region::new("us-east-1"))
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .build();
        Client::from_conf(config)
    }

    /// Makes a fresh bucket.
    pub async fn bucket(&self) -> Result<String> {
        let name = format!("b-{}", uuid::Uuid::new_v4());
        self.client().create_bucket().bucket(&name).send().await?;
        Ok(name)
    }

    /// Makes a fresh bucket with object lock.
    pub async fn locking_bucket(&self) -> Result<String> {
        let name = format!("l-{}", uuid::Uuid::new_v4());
        self.client().create_bucket().bucket(&name).object_lock_enabled_for_bucket(true).send().await?;
        Ok(name)
    }

    /// The bucket of [`MY_BACKUPS`], with object lock.
    pub async fn my_backups(&self) -> Result {
        static MADE: OnceCell<()> = OnceCell::const_new();
        let made = MADE.get_or_try_init(|| async {
            let make = self.client().create_bucket().bucket(MY_BACKUPS.0).object_lock_enabled_for_bucket(true);
            make.send().await.map(drop)
        });
        made.await?;
        Ok(())
    }

    /// Every object of a bucket, in order of its key.
    pub async fn list(&self, bucket: &str) -> Result<Vec<Object>> {
        let mut pages = self.client().list_objects_v2().bucket(bucket).into_paginator().send();
        let mut objects = Vec::new();
        while let Some(page) = pages.next().await {
            for object in page?.contents() {
                objects.push(Object {
                    key: object.key().context("an object without a key")?.to_owned(),
                    size: object.size().unwrap_or(0).try_into()?,
                });
            }
        }
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    /// Unfinished multipart uploads of a bucket, by key.
    pub async fn uploads(&self, bucket: &str) -> Result<Vec<String>> {
        let out = self.client().list_multipart_uploads().bucket(bucket).send().await?;
        Ok(out.uploads().iter().filter_map(|u| u.key().map(str::to_owned)).collect())
    }

    /// Reads an object.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Vec<u8>> {
        let out = self.client().get_object().bucket(bucket).key(key).send().await.with_context(|| key.to_owned())?;
        Ok(out.body.collect().await?.to_vec())
    }

    /// Writes an object, replacing one that is there.
    pub async fn put(&self, bucket: &str, key: &str, body: Vec<u8>) -> Result {
        self.client().put_object().bucket(bucket).key(key).body(ByteStream::from(body)).send().await?;
        Ok(())
    }

    /// Removes an object.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result {
        self.client().delete_object().bucket(bucket).key(key).send().await?;
        Ok(())
    }

    /// Downloads everything under `prefix` into `dir`, keys without the prefix as paths.
    pub async fn download(&self, bucket: &str, prefix: &str, dir: &Path) -> Result {
        for object in self.list(bucket).await?.iter().filter(|o| o.key.starts_with(prefix)) {
            let path = dir.join(object.key[prefix.len()..].trim_start_matches('/'));
            fs::create_dir_all(path.parent().context("a key without a name")?)?;
            fs::write(path, self.get(bucket, &object.key).await?)?;
        }
        Ok(())
    }
}

/// An S3 gateway that knows neither conditional writes nor the SDK's newer checksums. Ends when it is dropped.
#[derive(Debug)]
pub struct OldClone {
    /// `http://127.0.0.1:port`.
    pub endpoint: String,
    _watched: Watched,
}

/// Starts JuiceFS's gateway with the same keys.
pub async fn old_clone() -> Result<OldClone> {
    let juicefs = program(stack().join("juicefs"))?.canonicalize()?;
    let dir = tempfile::Builder::new().prefix("sp-s3-old-").tempdir()?.keep();
    let [port] = free_ports()?;
    let script = format!(
        r#"export HOME="$dir" MINIO_ROOT_USER={ACCESS_KEY} MINIO_ROOT_PASSWORD={SECRET_KEY}
"$2" format --storage file --bucket "$dir/data/" "sqlite3://$dir/meta.db" old
"$2" gateway "sqlite3://$dir/meta.db" "127.0.0.1:$3" --multi-buckets --no-usage-report --cache-dir "$dir/cache" & server=$!"#
    );
    let args = [juicefs.display().to_string(), port.to_string()];
    let watched = Watched::start(&script, r#"kill -9 "$server""#, &dir, &args)?;
    let server = OldClone { endpoint: format!("http://127.0.0.1:{port}"), _watched: watched };
    let end = Instant::now() + Duration::from_secs(60);
    while let Err(e) = TcpStream::connect(("127.0.0.1", port)).await {
        if Instant::now() > end {
            bail!("JuiceFS did not start: {e}\n{}", fs::read_to_string(dir.join("log")).unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(server)
}
