//! What is remarkable about a backup beside the one before.

use super::read::number;
use crate::{cli::AnomalyArgs, error::Result, inventory::anomalies::Anomaly, value::flag};

/// Checks the limits.
pub(super) fn anomaly(raw: &AnomalyArgs) -> Result<Anomaly> {
    Ok(Anomaly {
        max_drop: number("max-drop", &raw.max_drop, 0..=100)? as u32,
        max_growth: number("max-growth", &raw.max_growth, 0..=1_000_000)? as u32,
        fail: flag("fail-on-anomaly", &raw.fail_on_anomaly)?,
        allow_empty: flag("allow-empty", &raw.allow_empty)?,
    })
}
