//! What a destination holds: stored backups by database, kind and time.

pub mod anomalies;
mod diff;
mod list;
pub mod overview;
pub mod past;
mod rows;
mod show;

pub use diff::{DiffConfig, diff};
pub use list::{ListConfig, list};
pub use overview::{OverviewConfig, overview};
pub use rows::ProofState;
pub use show::{ShowConfig, show};

use crate::store::{Destination, Store};
use std::sync::Arc;

/// Small objects that are read at the same time.
const READS: usize = 32;

/// The options that name a destination, for commands that are shown.
fn destination_options(store: &Arc<dyn Store>, destination: &Destination) -> String {
    use crate::report::format::shell_word;
    let uri = store.uri("");
    let options = destination.options().into_iter().map(|(name, value)| format!(" --{name} {}", shell_word(&value)));
    format!("--destination {}{}", shell_word(uri.trim_end_matches('/')), options.collect::<String>())
}

/// The database whose backups lie in a folder.
fn database_of(folder: &str) -> Option<String> {
    percent_encoding::percent_decode_str(folder.trim_end_matches('/')).decode_utf8().ok().map(|name| name.into_owned())
}
