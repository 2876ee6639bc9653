//! A place behind opendal: checked, and opened.

use super::{
    failure::{Op, explain},
    inner::{Inner, Puts},
    keeper::DalStore,
    service::Service,
    transport::Transport,
};
use crate::{
    error::{Error, Kind, Result},
    store::{
        Promises, Store,
        pace::ATTEMPTS,
        place::{Destination, Given, Place},
    },
};
use async_trait::async_trait;
use opendal::{HttpTransporter, OperationContext, Operator, layers::RetryLayer};
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

/// How a service is opened; it holds the credentials.
type Opens = Arc<dyn Fn() -> opendal::Result<Operator> + Send + Sync>;

/// A place behind opendal, checked but not opened.
pub(super) struct Remote {
    service: &'static Service,
    /// The address for people, up to where keys begin, without a slash at its end.
    base: String,
    prefix: String,
    stall: Duration,
    opens: Opens,
    /// How bodies of unknown length are sent; see [`Way::Renamed`].
    pub(super) puts: Option<Puts>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.base)
    }
}

impl Remote {
    pub(super) fn new(
        given: &Given<'_>,
        service: &'static Service,
        container: &str,
        prefix: String,
        opens: Opens,
    ) -> Self {
        let mut base = format!("{}{container}", service.scheme);
        if !prefix.is_empty() {
            if !base.ends_with('/') {
                base.push('/');
            }
            base.push_str(&prefix);
        }
        Remote { service, base, prefix, stall: given.stall, opens, puts: None }
    }

    pub(super) fn place(self) -> Destination {
        Destination::of(self)
    }
}

#[async_trait]
impl Place for Remote {
    fn label(&self) -> String {
        self.base.clone()
    }

    fn promises(&self) -> Promises {
        self.service.promises
    }

    async fn open(&self) -> Result<Arc<dyn Store>> {
        let broken = |e: &opendal::Error| explain(Op::Look, &self.base, e, self.service);
        let transport = Transport::new(self.stall)
            .map_err(|e| Error::new(Kind::Store, "no requests can be sent").because(e.without_url()))?;
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(transport.clone()));
        let retried = RetryLayer::new()
            .with_max_times(ATTEMPTS as usize - 1)
            .with_min_delay(Duration::from_millis(500))
            .with_max_delay(Duration::from_secs(8))
            .with_jitter()
            .with_notify(|_: opendal::layers::RetryEvent<'_>| {});
        let op = (self.opens)().map_err(|e| broken(&e))?.with_context(context).layer(retried);
        let (service, base, prefix) = (self.service, self.base.clone(), self.prefix.clone());
        Ok(Arc::new(DalStore(Arc::new(Inner {
            op,
            service,
            base,
            prefix,
            transport,
            puts: self.puts.clone(),
            begun: Mutex::default(),
            one: tokio::sync::Mutex::new(()),
        }))))
    }
}
