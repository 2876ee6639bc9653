//! Mail, taken by a real SMTP server and read back from its Maildir.

use crate::support::{
    Result, Watched, free_ports,
    pg::{self, Server},
    run::{Ended, Savepoint},
    scratch, tls,
};
use anyhow::{Context, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

const PASSWORD: &str = "mArKeDs3cretMail";

/// A mail server, with a certificate of an authority of its own.
struct Smtp {
    port: u16,
    dir: PathBuf,
    _watched: Watched,
}

impl Smtp {
    async fn start(mode: &str) -> Result<Self> {
        let (dir, [port]) = (scratch()?.keep(), free_ports()?);
        tls::certificates(&dir)?;
        let script = r#"/usr/bin/python3 "$2" "$3" "$4" "$dir/server.crt" "$dir/server.key" "$dir/mail" & server=$!"#;
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/smtp.py");
        let args = [program.display().to_string(), port.to_string(), mode.to_owned()];
        let watched = Watched::start(script, r#"kill -9 "$server""#, &dir, &args)?;
        let end = Instant::now() + Duration::from_secs(60);
        while let Err(e) = TcpStream::connect(("127.0.0.1", port)).await {
            ensure!(Instant::now() < end, "{e}: {}", fs::read_to_string(dir.join("log")).unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { port, dir, _watched: watched })
    }

    /// What lies in the Maildir, as text.
    fn mails(&self) -> Result<Vec<String>> {
        let new = self.dir.join("mail/new");
        let entries = if new.is_dir() { fs::read_dir(new)?.collect::<std::io::Result<Vec<_>>>()? } else { Vec::new() };
        Ok(entries.into_iter().map(|entry| fs::read_to_string(entry.path())).collect::<std::io::Result<_>>()?)
    }

    fn ca(&self) -> String {
        self.dir.join("ca.crt").display().to_string()
    }
}

async fn run(server: &Server, verb: &str, options: &[&str], secrets: &[(&str, &str)]) -> Result<Ended> {
    let store = scratch()?;
    let run = Savepoint::new([verb, "--pg-bin-dir", &server.bin.display().to_string()])?.to_folder(store.path());
    let run = run.env("SAVEPOINT_DATABASE_URL", &server.url("it mail")).args(options.to_vec());
    secrets.iter().fold(run, |run, (name, value)| run.env(name, value)).run().await
}

/// The parts of a multipart/alternative, decoded by Python's own parser: subject, addresses, text, HTML.
async fn parsed(mail: &str) -> Result<serde_json::Value> {
    let code = "import email, email.policy, json, sys; m = email.message_from_string(sys.stdin.read(), policy=email.policy.default); \
        print(json.dumps({'subject': m['subject'], 'to': m['to'], 'from': m['from'], 'auto': m['auto-submitted'], \
        'text': m.get_body(('plain',)).get_content(), 'html': m.get_body(('html',)).get_content()}))";
    let dir = scratch()?;
    fs::write(dir.path().join("mail"), mail)?;
    let out = tokio::process::Command::new("/usr/bin/python3")
        .args(["-c", code])
        .stdin(fs::File::open(dir.path().join("mail"))?)
        .output()
        .await?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(serde_json::from_slice(&out.stdout)?)
}

#[tokio::test]
async fn a_backup_is_mailed() -> Result {
    let server = pg::server(17).await?;
    server.create_db("it mail", "").await?;
    server.psql("it mail", "CREATE TABLE t AS SELECT g FROM generate_series(1, 1234) g").await?;
    let to = ["--mail-to", "ops@example.com, \"The Boss\" <boss@example.com>", "--mail-from", "backups@example.com"];
    for (mode, scheme) in [("starttls", "smtp"), ("tls", "smtps")] {
        let smtp = Smtp::start(mode).await?;
        let url = format!("{scheme}://backup:{PASSWORD}@127.0.0.1:{}", smtp.port);
        let (ca, secrets) = (smtp.ca(), [("SAVEPOINT_SMTP_URL", url.as_str())]);
        let with_ca = [&to[..], &["--ca-file", &ca]].concat();
        let check = run(server, "check", &with_ca, &secrets).await?.expect(0)?;
        ensure!(
            check.output().contains("the mail server lets us in") && smtp.mails()?.is_empty(),
            "{}",
            check.output()
        );
        run(server, "backup", &with_ca, &secrets).await?.expect(0)?;
        let mails = smtp.mails()?;
        ensure!(mails.len() == 1, "{mode}: {mails:?}");
        let mail = parsed(&mails[0]).await?;
        let field = |name: &str| mail[name].as_str().map(str::to_owned).context("a text");
        ensure!(field("subject")?.ends_with("it mail: backup stored and proven"), "{mail}");
        ensure!(field("to")?.contains("ops@example.com") && field("to")?.contains("boss@example.com"), "{mail}");
        ensure!(field("from")? == "backups@example.com" && field("auto")? == "auto-generated", "{mail}");
        for part in ["text", "html"] {
            let text = field(part)?;
            ensure!(text.contains("1,234 rows") && text.contains("passed, all equal"), "{part}: {text}");
        }

        // A server that nobody vouches for, and one that does not let us in: a warning that says why, and never the password.
        let unknown = run(server, "backup", &to, &secrets).await?.expect(0)?;
        ensure!(unknown.output().contains("ca-file"), "{}", unknown.output());
        let wrong = url.replace(PASSWORD, "mArKeDs3cretWrong");
        let refused = run(server, "backup", &with_ca, &[("SAVEPOINT_SMTP_URL", &wrong)]).await?.expect(0)?;
        ensure!(refused.output().contains("535"), "{}", refused.output());
        for ended in [unknown, refused] {
            ensure!(
                ended.output().contains("the mail server") && !ended.output().contains("mArKeDs3cret"),
                "{}",
                ended.output()
            );
        }
        ensure!(smtp.mails()?.len() == 1);
    }
    no_mail_goes_without_tls_unasked(server).await
}

/// Without TLS only if that is asked for.
async fn no_mail_goes_without_tls_unasked(server: &Server) -> Result {
    let smtp = Smtp::start("none").await?;
    let to = ["--mail-to", "ops@example.com", "--post"];
    let url = format!("smtp://127.0.0.1:{}", smtp.port);
    let secrets = [("SAVEPOINT_SMTP_URL", url.as_str())];
    let check = run(server, "check", &to, &secrets).await?;
    ensure!(check.output().to_lowercase().contains("starttls") && smtp.mails()?.is_empty(), "{}", check.output());
    let check = run(server, "check", &to, &[("SAVEPOINT_SMTP_URL", &format!("{url}?tls=none"))]).await?;
    ensure!(check.output().contains("mail sent") && smtp.mails()?.len() == 1, "{}", check.output());
    Ok(())
}
