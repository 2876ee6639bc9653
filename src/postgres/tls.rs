//! TLS with libpq's meaning of `sslmode` and `sslrootcert`.

use crate::{
    error::{Error, Kind, Result},
    postgres::conninfo::{SslMode, Target},
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// `sslrootcert=system`: the machine's own roots.
const SYSTEM: &str = "system";

/// What is checked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

/// The TLS client for a target. Fails (`Kind::Usage`) when a certificate, key or root cannot be read, or when a
/// verifying mode has no roots.
pub fn client_config(target: &Target) -> Result<ClientConfig> {
    // As in libpq, roots that are there count in every mode; only the verifying ones insist on them.
    let rooted = target.sslrootcert.as_deref().is_some_and(|file| file == SYSTEM || Path::new(file).exists());
    let check = match target.sslmode {
        SslMode::VerifyFull => Check::ChainAndName,
        SslMode::VerifyCa => Check::Chain,
        _ if rooted => Check::Chain,
        _ => Check::Nothing,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match check {
        Check::Nothing => Arc::new(Verifier { check, chain: None, named: Vec::new(), provider: provider.clone() }),
        _ => {
            let (roots, named) = roots(target)?;
            let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|e| usage(format!("the root certificates of sslmode={}", target.sslmode.name())).because(e))?;
            Arc::new(Verifier { check, chain: Some(chain), named, provider: provider.clone() })
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| usage("no TLS version is usable").because(e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    // libpq does without a certificate whose file is not there, and leaves it to the server to refuse.
    let cert = target.sslcert.as_ref().filter(|cert| cert.exists());
    let (Some(cert), key) = (cert, &target.sslkey) else { return Ok(builder.with_no_client_auth()) };
    let key = key.as_ref().ok_or_else(|| {
        usage(format!("the client certificate {} has no key", cert.display())).hint("name its key with sslkey=")
    })?;
    private_to_us(key)?;
    let chain = certificates(cert, "sslcert")?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| {
        usage(format!("sslkey {} holds no private key in PEM", key.display()))
            .because(e)
            .hint("an encrypted key is decrypted with `openssl pkey -in KEY -out KEY.plain`")
    })?;
    builder
        .with_client_auth_cert(chain, private)
        .map_err(|e| usage(format!("sslcert {} does not go with sslkey {}", cert.display(), key.display())).because(e))
}

/// Refuses a key that others can read, by libpq's own rule: its programs would refuse it later.
fn private_to_us(key: &Path) -> Result<()> {
    let about = std::fs::metadata(key).map_err(|e| {
        usage(format!("sslkey {} cannot be read", key.display())).because(e).hint("name the key with sslkey=")
    })?;
    let others = if about.uid() == 0 { 0o037 } else { 0o077 };
    if about.is_file() && about.mode() & others == 0 {
        return Ok(());
    }
    let shown = key.display();
    Err(usage(format!("sslkey {shown} is no plain file, or others than its owner can read it"))
        .hint(format!("chmod 0600 {shown} (0640 where root owns it): PostgreSQL's own programs refuse it as well")))
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(|c| c.collect::<std::result::Result<Vec<_>, _>>());
    match read {
        Ok(certs) if !certs.is_empty() => Ok(certs),
        Ok(_) => Err(usage(format!("{what} {} holds no certificate in PEM", path.display()))),
        Err(e) => Err(usage(format!("{what} {} cannot be read", path.display())).because(e)),
    }
}

/// The roots of a target, and the certificates of its own file among them.
fn roots(target: &Target) -> Result<(RootCertStore, Vec<CertificateDer<'static>>)> {
    let mut store = RootCertStore::empty();
    let mut named = Vec::new();
    match target.sslrootcert.as_deref() {
        None => {
            return Err(usage(format!("sslmode={} needs root certificates", target.sslmode.name())).hint(
                "add sslrootcert=system for the system's roots (with sslmode=verify-full), or sslrootcert=/path/to/ca.pem",
            ));
        }
        Some(SYSTEM) => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                return Err(usage("sslrootcert=system finds no root certificates on this machine")
                    .hint("install the package ca-certificates, or name a file with sslrootcert=/path/to/ca.pem"));
            }
        }
        Some(path) => {
            named = certificates(Path::new(path), "sslrootcert")?;
            let (added, _) = store.add_parsable_certificates(named.iter().cloned());
            if added == 0 {
                return Err(usage(format!("sslrootcert {path} holds no usable root certificate")));
            }
        }
    }
    Ok((store, named))
}

/// Checks as much of the certificate as the mode asks for; the handshake's signature is checked in every mode, as
/// SCRAM channel binding rests on it.
#[derive(Debug)]
struct Verifier {
    check: Check,
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates of the `sslrootcert` file: a self-signed server certificate may be among them.
    named: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        if self.named.contains(end_entity) {
            // A self-signed certificate that is its own root: OpenSSL takes it, webpki refuses a CA as end entity.
            in_time(end_entity, now)?;
            if self.check == Check::ChainAndName {
                let parsed = ParsedCertificate::try_from(end_entity);
                let named = parsed.and_then(|p| rustls::client::verify_server_name(&p, server_name));
                named.or_else(|e| if common_name_fits(end_entity, server_name) { Ok(()) } else { Err(e) })?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // rustls looks at the name after the chain, so this error alone says that the chain is good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Check::Chain || common_name_fits(end_entity, server_name) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match key_of_version_1(cert) {
            Some(key) => rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, dss, algorithms),
            None => rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The public key of an X.509 v1 certificate, which webpki does not read. PostgreSQL's own instructions make such
/// certificates (`openssl x509 -req` without extensions).
fn key_of_version_1(cert: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let cert = Certificate::from_der(cert).ok()?.tbs_certificate;
    let key = (cert.version == x509_cert::Version::V1).then(|| cert.subject_public_key_info.to_der().ok());
    key.flatten().map(SubjectPublicKeyInfoDer::from)
}

fn in_time(cert: &CertificateDer<'_>, now: UnixTime) -> std::result::Result<(), rustls::Error> {
    let validity = Certificate::from_der(cert).map_err(|_| CertificateError::BadEncoding)?.tbs_certificate.validity;
    let now = Duration::from_secs(now.as_secs());
    if now > validity.not_after.to_unix_duration() {
        return Err(CertificateError::Expired.into());
    }
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}

/// libpq falls back to the subject's common name when the certificate names no DNS name or address; webpki never does.
fn common_name_fits(cert: &CertificateDer<'_>, server: &ServerName<'_>) -> bool {
    let Ok(cert) = Certificate::from_der(cert).map(|c| c.tbs_certificate) else { return false };
    match cert.get::<SubjectAltName>() {
        Ok(None) => {}
        Ok(Some((_, names))) => {
            if names.0.iter().any(|n| matches!(n, GeneralName::DnsName(_) | GeneralName::IpAddress(_))) {
                return false;
            }
        }
        Err(_) => return false,
    }
    let server = server.to_str().to_ascii_lowercase();
    let attributes = cert.subject.0.iter().flat_map(|rdn| rdn.0.iter());
    let names = attributes.filter(|a| a.oid == COMMON_NAME).filter_map(|a| std::str::from_utf8(a.value.value()).ok());
    names.map(str::to_ascii_lowercase).any(|name| match name.strip_prefix("*.") {
        Some(domain) => server.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == domain),
        None => name == server,
    })
}

/// `id-at-commonName`.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// What to do about a failed handshake.
pub(crate) fn hint(e: &rustls::Error, target: &Target) -> String {
    use rustls::Error as E;
    match e {
        E::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            format!(
                "the certificate is not made out to {}: connect by the name it holds, or use sslmode=verify-ca",
                target.host
            )
        }
        E::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the server's certificate is not signed by these roots: name the server's CA with sslrootcert=".to_owned()
        }
        E::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the server's certificate has expired: renew it".to_owned()
        }
        E::AlertReceived(_) => {
            "the server refused the handshake: it may ask for a client certificate (sslcert=, sslkey=)".to_owned()
        }
        _ => "check the server's certificate and sslrootcert".to_owned(),
    }
}
