//! Real servers for stores that are no S3: Google Cloud Storage's stand-in, Azurite, an SSH server and Apache's WebDAV.

use super::{Result, Watched, free_ports, is_root, program, stack};
use anyhow::{Context, bail};
use savepoint::{
    Destination,
    store::{self, Env, Given},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, sync::OnceCell};

/// The password of the WebDAV server; nothing that a run leaves behind may hold it.
pub const DAV_PASSWORD: &str = "mArKeDs3cretDav12345";
/// As `htpasswd -s` writes it.
const DAV_HASH: &str = "{SHA}WyDrvkBJQakDNlREX5po3so3LYE=";
/// The key of the Azure account.
pub const AZURE_KEY: &str = "bUFyS2VEczNjcmV0QXp1cmUxMjM0NWJVRnlTMlZFY3pOamNtVjA=";
const AZURE_ACCOUNT: &str = "savepointtest";

/// A server and how it is reached.
#[derive(Debug)]
pub struct Remote {
    /// The address, to which a prefix may be added.
    pub base: String,
    /// TCP port.
    pub port: u16,
    /// Variables that a run needs.
    pub env: Vec<(&'static str, String)>,
    /// Its folder: what it stores, and its log.
    pub dir: PathBuf,
    _watched: Watched,
}

impl Remote {
    /// A place of the caller's own.
    pub fn address(&self) -> String {
        format!("{}/{}", self.base, uuid::Uuid::new_v4().simple())
    }

    /// The place of an address of this server, with other variables in front of its own, which waits for a short time only.
    pub fn impatient(&self, address: &str, other: &[(&str, &str)]) -> savepoint::Result<Destination> {
        let env = |name: &str| {
            let other = other.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            other.or_else(|| self.variable(name))
        };
        let stall = Duration::from_secs(8);
        store::destination(&Given { stall, ..Given::plain(address, Env(&env)) }).map(|(place, _)| place)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.env.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone())
    }

    /// Opens a place.
    pub async fn open(&self, address: &str) -> Result<Arc<dyn store::Store>> {
        let env = |name: &str| self.variable(name);
        Ok(store::open(&store::destination(&Given::plain(address, Env(&env)))?.0).await?)
    }
}

async fn listens(port: u16, dir: &Path) -> Result {
    let end = Instant::now() + Duration::from_secs(60);
    while let Err(e) = TcpStream::connect(("127.0.0.1", port)).await {
        if Instant::now() > end {
            bail!("it does not listen: {e}\n{}", fs::read_to_string(dir.join("log")).unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn folder(prefix: &str) -> Result<PathBuf> {
    let dir = tempfile::Builder::new().prefix(prefix).tempdir()?.keep();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
    Ok(dir)
}

/// What stands in for Google Cloud Storage. The shared server, as all here: started at first use, ends with the test process.
pub async fn gcs() -> Result<&'static Remote> {
    static SERVER: OnceCell<Remote> = OnceCell::const_new();
    SERVER.get_or_try_init(start_gcs).await
}

async fn start_gcs() -> Result<Remote> {
    let server = program(stack().join("fake-gcs-server"))?.canonicalize()?;
    let (dir, [port]) = (folder("sp-gcs-")?, free_ports()?);
    fs::create_dir_all(dir.join("data/backups"))?;
    let script = r#""$2" -scheme http -host 127.0.0.1 -port "$3" -public-host "127.0.0.1:$3" -external-url "http://127.0.0.1:$3" \
  -backend filesystem -filesystem-root "$dir/data" -log-level error & server=$!"#;
    let args = [server.display().to_string(), port.to_string()];
    let watched = Watched::start(script, r#"kill -9 "$server""#, &dir, &args)?;
    listens(port, &dir).await?;
    let env = vec![("STORAGE_EMULATOR_HOST", format!("127.0.0.1:{port}"))];
    Ok(Remote { base: "gs://backups".into(), port, env, dir, _watched: watched })
}

/// Azurite, Microsoft's own stand-in for Azure Blob Storage.
pub async fn azure() -> Result<&'static Remote> {
    static SERVER: OnceCell<Remote> = OnceCell::const_new();
    SERVER.get_or_try_init(start_azure).await
}

async fn start_azure() -> Result<Remote> {
    let azurite = program(stack().join("azurite/node_modules/azurite/dist/src/blob/main.js"))?.canonicalize()?;
    let (dir, [port]) = (folder("sp-azure-")?, free_ports()?);
    let script = format!(
        r#"export AZURITE_ACCOUNTS="{AZURE_ACCOUNT}:{AZURE_KEY}" HOME="$dir"
node "$2" --blobHost 127.0.0.1 --blobPort "$3" --location "$dir" --silent --disableTelemetry --skipApiVersionCheck & server=$!"#
    );
    let args = [azurite.display().to_string(), port.to_string()];
    let watched = Watched::start(&script, r#"kill -9 "$server""#, &dir, &args)?;
    listens(port, &dir).await?;
    // No program at hand makes a container: one request, signed as Azure wants it.
    let made = Command::new("node")
        .args(["-e", MAKE_CONTAINER, AZURE_ACCOUNT, AZURE_KEY, &port.to_string(), "backups"])
        .status()
        .context("node: run scripts/test-stack.sh")?;
    anyhow::ensure!(made.success(), "the container could not be made");
    let env = vec![
        ("AZURE_STORAGE_ACCOUNT", AZURE_ACCOUNT.to_owned()),
        ("AZURE_STORAGE_KEY", AZURE_KEY.to_owned()),
        ("AZURE_STORAGE_ENDPOINT", format!("http://127.0.0.1:{port}/{AZURE_ACCOUNT}")),
    ];
    Ok(Remote { base: "azblob://backups".into(), port, env, dir, _watched: watched })
}

const MAKE_CONTAINER: &str = r#"
const [account, key, port, name] = process.argv.slice(1);
const date = new Date().toUTCString(), version = "2021-08-06";
const signed = ["PUT", ...Array(11).fill(""), `x-ms-date:${date}`, `x-ms-version:${version}`,
  `/${account}/${account}/${name}`, "restype:container"].join("\n");
const signature = require("crypto").createHmac("sha256", Buffer.from(key, "base64")).update(signed).digest("base64");
const headers = { "x-ms-date": date, "x-ms-version": version, "content-length": 0, authorization: `SharedKey ${account}:${signature}` };
const options = { host: "127.0.0.1", port, method: "PUT", path: `/${account}/${name}?restype=container`, headers };
require("http").request(options, (r) => process.exit(r.statusCode === 201 ? 0 : 1)).on("error", () => process.exit(1)).end();
"#;

/// OpenSSH's server with SFTP, and a key of its own.
pub async fn sftp() -> Result<&'static Remote> {
    static SERVER: OnceCell<Remote> = OnceCell::const_new();
    SERVER.get_or_try_init(start_sftp).await
}

async fn start_sftp() -> Result<Remote> {
    let sshd = program("/usr/sbin/sshd".into())?;
    let (dir, [port]) = (folder("sp-sftp-")?, free_ports()?);
    fs::create_dir(dir.join("data"))?;
    for name in ["host", "user", "stranger"] {
        let file = dir.join(name).display().to_string();
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &file]).status()?;
        anyhow::ensure!(made.success(), "ssh-keygen failed");
    }
    fs::copy(dir.join("user.pub"), dir.join("authorized"))?;
    let host = fs::read_to_string(dir.join("host.pub"))?;
    let known = format!("[127.0.0.1]:{port} {}", host.trim());
    fs::write(dir.join("known"), format!("{known}\n"))?;
    let at = dir.display();
    fs::write(
        dir.join("sshd_config"),
        format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile none\nAuthorizedKeysFile {at}/authorized\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             Subsystem sftp internal-sftp\nLogLevel VERBOSE\n"
        ),
    )?;
    let root = if is_root() { "mkdir -p /run/sshd;" } else { "" };
    let script = format!(r#"{root} "$2" -D -e -f "$dir/sshd_config" & server=$!"#);
    let watched = Watched::start(&script, r#"kill "$server""#, &dir, &[sshd.display().to_string()])?;
    listens(port, &dir).await?;
    let user = String::from_utf8(Command::new("id").arg("-un").output()?.stdout)?;
    let env = vec![
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("SAVEPOINT_SFTP_KEY", dir.join("user").display().to_string()),
        ("SAVEPOINT_SFTP_KNOWN_HOSTS", known),
    ];
    let base = format!("sftp://{}@127.0.0.1:{port}{at}/data", user.trim());
    Ok(Remote { base, port, env, dir, _watched: watched })
}

/// Apache with WebDAV.
pub async fn webdav() -> Result<&'static Remote> {
    static SERVER: OnceCell<Remote> = OnceCell::const_new();
    SERVER.get_or_try_init(start_webdav).await
}

async fn start_webdav() -> Result<Remote> {
    let apache = program("/usr/sbin/apache2".into())?;
    let (dir, [port]) = (folder("sp-dav-")?, free_ports()?);
    for name in ["data", "data/dav", "locks"] {
        fs::create_dir(dir.join(name))?;
        if is_root() {
            std::os::unix::fs::chown(dir.join(name), Some(super::UNPRIVILEGED), Some(super::UNPRIVILEGED))?;
        }
    }
    fs::write(dir.join("users"), format!("backup:{DAV_HASH}\n"))?;
    let modules = ["mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "dav", "dav_fs"];
    let modules = modules.map(|m| format!("LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n")).concat();
    let user = if is_root() { "User #65534\nGroup #65534\n" } else { "" };
    let at = dir.display();
    fs::write(
        dir.join("apache.conf"),
        format!(
            "{modules}{user}ServerRoot {at}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {at}/pid\nErrorLog {at}/error\n\
             DocumentRoot {at}/data\nDavLockDB {at}/locks/db\nLimitXMLRequestBody 0\n<Directory {at}/data>\nDav On\nAuthType Basic\n\
             AuthName backups\nAuthUserFile {at}/users\nRequire valid-user\n</Directory>\n"
        ),
    )?;
    let script = r#""$2" -f "$dir/apache.conf" -DFOREGROUND & server=$!"#;
    let watched = Watched::start(script, r#"kill "$server""#, &dir, &[apache.display().to_string()])?;
    listens(port, &dir).await?;
    let env = vec![("WEBDAV_USERNAME", "backup".to_owned()), ("WEBDAV_PASSWORD", DAV_PASSWORD.to_owned())];
    Ok(Remote { base: format!("webdav://127.0.0.1:{port}/dav"), port, env, dir, _watched: watched })
}
