//! TLS in front of servers that have none, and of PostgreSQL where somebody stands between: with certificates that openssl makes.

use super::Result;
use anyhow::{Context, ensure};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{path::Path, process::Command, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What stands behind.
#[derive(Clone, Copy, Debug)]
pub enum Behind {
    /// A port without TLS.
    Bare(u16),
    /// PostgreSQL, spoken to by TLS of its own. Its certificate is made out to `db.test`; the root is `ca.crt` beside ours.
    Postgres(u16),
}

/// Ends TLS, and hands on what comes. Ends when it is dropped.
#[derive(Debug)]
pub struct Terminator {
    /// Its port on 127.0.0.1.
    pub port: u16,
    task: AbortHandle,
}

impl Terminator {
    /// Starts to listen, with this certificate and key (PEM).
    pub async fn start(certificate: &Path, key: &Path, behind: Behind) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)?.collect::<std::result::Result<_, _>>()?;
        let ours = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
        let mut roots = RootCertStore::empty();
        if let Behind::Postgres(_) = behind {
            roots.add(CertificateDer::from_pem_file(certificate.with_file_name("ca.crt"))?)?;
        }
        let theirs = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (accept, connect) = (TlsAcceptor::from(Arc::new(ours)), TlsConnector::from(Arc::new(theirs)));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (accept, connect) = (accept.clone(), connect.clone());
                tokio::spawn(async move {
                    match behind {
                        Behind::Bare(port) => bare(client, port, &accept).await,
                        Behind::Postgres(port) => between(client, port, &accept, &connect).await,
                    }
                });
            }
        });
        Ok(Self { port, task: task.abort_handle() })
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn bare(client: TcpStream, port: u16, accept: &TlsAcceptor) -> Result {
    client.set_nodelay(true)?;
    let mut client = accept.accept(client).await?;
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// The message by which PostgreSQL is asked for TLS; it answers with an `S`.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

async fn between(mut client: TcpStream, port: u16, accept: &TlsAcceptor, connect: &TlsConnector) -> Result {
    let mut asked = [0; 8];
    client.read_exact(&mut asked).await?;
    ensure!(asked == SSL_REQUEST, "no request for TLS: {asked:?}");
    client.write_all(b"S").await?;
    let mut client = accept.accept(client).await?;
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    server.write_all(&SSL_REQUEST).await?;
    ensure!(server.read_u8().await? == b'S', "the server has no TLS");
    let mut server = connect.connect(ServerName::try_from("db.test")?, server).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// `ca.crt`, and `server.crt` with `server.key`, which it signed for 127.0.0.1 and for no name.
pub fn certificates(dir: &Path) -> Result {
    std::fs::write(dir.join("san.ext"), "subjectAltName=IP:127.0.0.1\n")?;
    for line in [
        "req -new -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca -keyout ca.key -out ca.crt",
        "req -new -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr",
        "x509 -req -in server.csr -out server.crt -extfile san.ext -CA ca.crt -CAkey ca.key -CAcreateserial -days 30",
    ] {
        let out = Command::new("openssl").current_dir(dir).args(line.split(' ')).output().context("openssl")?;
        ensure!(out.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}
