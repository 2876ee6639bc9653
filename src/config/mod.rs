//! The options, checked: a file for each verb and each group of options, under the names that [`crate::cli`] has them by. Nothing past this
//! room reads the environment or the command line.

mod anomaly;
mod backup;
mod context;
mod copies;
mod copy;
mod destination;
mod diff;
mod drill;
mod encrypt;
mod engine;
mod list;
mod notify;
mod output;
mod part;
mod policy;
mod proof;
mod prune;
mod read;
mod rehearse;
mod report;
mod restore;
mod selection;
mod setup_role;
mod show;
mod sign;
mod source;
mod take;
mod target;
mod validate;
mod validated;
mod verify;

pub(crate) use crate::value::flag;
pub use backup::backup;
pub(crate) use context::context;
pub use copy::copy;
pub use diff::diff;
pub use list::listing;
pub use prune::prune;
pub use report::{ReportConfig, report};
pub use restore::restore;
pub use setup_role::setup_role;
pub use show::show;
pub use validate::validate;
pub use validated::{LogFormat, Output, Validated};
pub use verify::verify;
