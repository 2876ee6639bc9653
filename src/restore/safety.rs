//! The backup of the target before it is emptied.

use super::{
    run::{Ground, Run},
    traces::with,
};
use crate::{
    backup::{self, BackupConfig, Encryption},
    error::{Error, Kind, Result},
    inventory::anomalies::Anomaly,
    progress::{Event, Progress},
    report::Outcome,
    vault::BackupKind,
};

impl Run<'_> {
    /// A proven backup of what is about to be replaced; its id. `encrypted`: what is restored is, and whether it hides its names.
    pub(super) async fn safety(&self, ground: &Ground, encrypted: Option<bool>) -> Result<String> {
        let config = self.config;
        let Some(destination) = config.destination.clone() else {
            return Err(Error::new(Kind::Refused, "no destination for the safety backup"));
        };
        // What was encrypted came here so that no store can read it; what stands in its place now is no less secret. The keys are those
        // of whoever restores: those that the manifest names could be anybody's who writes to the bucket.
        let opened_by = self.config.identity.as_ref().filter(|_| encrypted.is_some());
        let encryption = match opened_by {
            Some(identity) => {
                Some(Encryption { recipients: identity.recipients()?, manifest: encrypted == Some(true) })
            }
            None => None,
        };
        if encryption.is_some() {
            self.progress.event(Event::Notice("the safety backup is encrypted to the keys of the identity"));
        }
        let backup = BackupConfig {
            encryption,
            signer: config.signer.clone(),
            kind: BackupKind::PreRestore,
            engine: config.engine.clone(),
            anomaly: Anomaly { max_drop: 100, max_growth: 1_000_000, fail: false, allow_empty: true },
            context: config.context.clone(),
            ..BackupConfig::new(config.target.clone(), destination)
        };
        let db = &ground.target.dbname;
        self.progress.event(Event::Notice(&format!("safety backup of {db} begins")));
        // It cleans up behind itself when interrupted, so it is not dropped half-way: the token is its own to watch.
        let (progress, cancel) = (self.progress.clone(), self.cancel.clone());
        let tasks = with(&self.traces, |t| t.tasks.clone());
        let report = tasks.spawn(async move { backup::run(&backup, progress, cancel).await }).await;
        let report = report.map_err(|e| Error::new(Kind::Refused, "the safety backup broke off").because(e))?;
        let id = report.backup.as_ref().map(|b| b.manifest.id.clone());
        match (report.outcome, id) {
            (Outcome::Proven, Some(id)) => {
                self.progress.event(Event::Notice(&format!("safety backup of {db}: {id}")));
                with(&self.traces, |t| t.facts.push(("safety backup", id.clone())));
                Ok(id)
            }
            _ => {
                let why = report.failure.map(|f| f.message);
                let why = why.or_else(|| report.proof.and_then(|p| p.differences.into_iter().next()));
                let why = why.unwrap_or_else(|| "it is not proven".into());
                Err(Error::new(
                    Kind::Refused,
                    format!("the safety backup of {db} failed, so nothing was touched: {why}"),
                )
                .hint("savepoint check --database-url … says what it lacks; --no-safety-backup goes without"))
            }
        }
    }
}
