//! In the making.

use crate::{
    config::VerifyConfig,
    error::{Error, Kind},
    progress::Progress,
    report::page::Page,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// In the making.
pub async fn run(_config: &VerifyConfig, _progress: Arc<dyn Progress>, _cancel: CancellationToken) -> Page {
    Page::failed("verify", "plan", &Error::new(Kind::Refused, "not built yet"))
}
