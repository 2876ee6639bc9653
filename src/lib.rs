//! savepoint takes a consistent backup of a PostgreSQL database, streams it to S3 or into a folder as a standard archive, restores what
//! was stored into a throwaway server, and proves that every row is equal.
//!
//! This is the library behind the command line; `docs/architecture.md` says how its rooms fit. A backup, its proof, and its restore beside
//! what is there:
//!
//! ```no_run
//! use savepoint::{
//!     Cancel, Destination, Pick, Result, Target, backup, backup::BackupConfig, progress::Silent, report::Outcome, restore,
//!     restore::{Place, RestoreConfig},
//! };
//! use std::sync::Arc;
//!
//! # async fn example() -> Result<()> {
//! let source = Target::parse("postgresql://app:secret@db.example.com/app")?;
//! let destination = Destination::parse("s3://backups/production")?;
//!
//! // Stored and, by a throwaway restore, proven. It needs pg_dump and the server's programs of the source's major.
//! let config = BackupConfig::new(source.clone(), destination.clone());
//! let report = backup::run(&config, Arc::new(Silent), Cancel::new()).await;
//! assert_eq!(report.outcome, Outcome::Proven, "{:?}", report.failure);
//!
//! // Into a new database beside the one that is there.
//! let pick = Pick::latest_of("app");
//! let restore = RestoreConfig { place: Place::New("app_restored".into()), ..RestoreConfig::new(pick, destination, source) };
//! let page = restore::run(&restore, Arc::new(Silent), Cancel::new()).await;
//! assert_eq!(page.exit_code, 0, "{:?}", page.failure);
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here prints or, but for a store's credentials, reads the environment: a [`progress::Progress`] is told of what happens. What a call did, also when it failed, is
//! told by what it returns, and it cleans up behind itself, also when its token is cancelled.

pub mod backup;
pub mod cancel;
pub mod checks;
pub mod copy;
pub mod drill;
pub mod engine;
pub mod error;
pub mod inventory;
mod observe;
mod procfs;
pub mod progress;
pub mod prune;
pub mod rehearse;
pub mod report;
pub mod restore;
pub mod roots;
pub mod secret;
pub mod setup_role;
pub mod sign;
pub mod store;
pub mod validate;
mod value;
pub mod vault;

pub use archive::compression::{Compression, CompressionChoice};
pub use cancel::Cancel;
pub use error::{Error, Result};
pub use postgres::conninfo::Target;
pub use store::Destination;
pub use vault::Pick;

// The command line and what the tests and benchmarks look into; no promise goes with it.
#[doc(hidden)]
pub mod action;
#[doc(hidden)]
pub mod app;
#[doc(hidden)]
pub mod archive;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod crypt;
#[doc(hidden)]
pub mod dump;
#[doc(hidden)]
pub mod dumpfile;
#[doc(hidden)]
pub mod init;
#[doc(hidden)]
pub mod notify;
#[doc(hidden)]
pub mod postgres;
#[doc(hidden)]
pub mod preflight;
#[doc(hidden)]
pub mod scratch;
#[doc(hidden)]
pub mod signals;
#[doc(hidden)]
pub mod verify;
