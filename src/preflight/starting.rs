//! A server for the proof on its way up, while questions are still asked and the dump begins.

use super::{
    answer::refusal,
    lacking::{lacks, missing_extensions},
};
use crate::{
    error::{Error, Kind, Result},
    report::Check,
    vault::manifest::Extension,
    verify::server::Server,
};
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

/// A server for the proof on its way up: initdb takes longer than all questions together, and the dump need not wait for it.
pub struct Starting(AbortOnDropHandle<Result<Started>>);

/// The server, and what it lacks: extensions, each with the reason.
pub(super) type Started = (Server, Vec<(String, String)>);

impl Starting {
    /// Begins to start one, and to look what it lacks of `extensions`.
    pub(super) fn begin(
        server: impl Future<Output = Result<Server>> + Send + 'static,
        extensions: Vec<Extension>,
    ) -> Self {
        Starting(AbortOnDropHandle::new(tokio::spawn(async move {
            let server = server.await?;
            let missing = missing_extensions(&server, &extensions).await?;
            Ok((server, missing))
        })))
    }

    /// The server once it is up, and what it lacks.
    pub(super) async fn finish(&mut self) -> Result<Started> {
        (&mut self.0)
            .await
            .map_err(|e| Error::new(Kind::Throwaway, "starting the throwaway server stopped").because(e))?
    }

    /// The server, when it has all that the source needs; the same error as of a question that was answered with no.
    pub async fn up(&mut self) -> Result<Server> {
        let (server, missing) = self.finish().await.map_err(|e| e.context("throwaway"))?;
        let checks: Vec<Check> = missing.iter().map(|(name, why)| lacks(name, why).under("extensions")).collect();
        if checks.is_empty() {
            return Ok(server);
        }
        server.stop().await;
        Err(refusal(&checks))
    }

    /// Ends it, whether it is up or not. Returns what could not be removed.
    pub async fn stop(mut self) -> Vec<String> {
        self.0.abort();
        match self.finish().await {
            Ok((server, _)) => server.stop().await,
            Err(_) => Vec::new(),
        }
    }
}

impl Drop for Starting {
    /// Its folder is removed next, by whoever drops it too: nothing may write there any more.
    fn drop(&mut self) {
        self.0.abort();
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.0.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
