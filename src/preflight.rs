//! Questions that are asked before anything is written.

use crate::{config::BackupConfig, progress::Progress, report::Check};
use std::sync::Arc;

/// Asks every question.
pub async fn run(_config: &BackupConfig, _progress: Arc<dyn Progress>) -> Vec<Check> {
    Vec::new()
}
