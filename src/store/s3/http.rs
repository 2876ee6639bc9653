//! The HTTP client of the AWS SDK with root certificates of one's own; else it is the SDK's default.

use crate::{
    error::{Error, Kind, Result},
    roots::Roots,
};
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};

/// A client that trusts these roots besides the machine's own. In all else it is as the SDK makes its own.
pub(super) fn client(roots: &Roots) -> Result<SharedHttpClient> {
    let store = roots.pems().fold(TrustStore::default(), |store, pem| store.with_pem_certificate(pem.as_bytes()));
    let context = TlsContext::builder().with_trust_store(store).build();
    let context = context.map_err(|e| Error::new(Kind::Usage, "option ca-file: it cannot be used").because(e))?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(Provider::rustls(CryptoMode::AwsLc))
            .tls_context(context.clone())
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|c| c.sleep_impl()));
        connector.build()
    }))
}
