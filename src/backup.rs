//! Orchestrates a backup from preflight to proof.

use crate::{
    config::BackupConfig,
    error::{Error, Kind, Result},
    progress::Progress,
    report::{Outcome, PlanReport, Report},
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Takes, stores and proves a backup.
pub async fn run(config: &BackupConfig, _progress: Arc<dyn Progress>, _cancel: CancellationToken) -> Report {
    Report {
        outcome: Outcome::Failed,
        database: config.source.dbname.clone(),
        source: config.source.redacted(),
        destination: String::new(),
        kind: config.kind,
        verify: config.verify,
        backup: None,
        proof: None,
        failure: None,
        warnings: Vec::new(),
        notices: Vec::new(),
        started_at: String::new(),
        seconds: 0.0,
        phases: Vec::new(),
        context: config.context.clone(),
        s3_endpoint: None,
    }
}

/// Plans a backup.
pub async fn plan(_config: &BackupConfig, _progress: Arc<dyn Progress>) -> Result<PlanReport> {
    Err(Error::new(Kind::Refused, "no plan"))
}
