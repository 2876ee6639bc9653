//! What lies in a destination: backups by database, day and id; their manifests, proof records and signatures; how they are found and read.
//!
//! Everything that writes, finds, proves, restores or removes stored backups goes through this room.

pub mod address;
pub mod failure;
pub mod find;
pub mod folder;
pub(crate) mod lines;
pub mod manifest;
pub mod proof;
pub mod read;
pub mod receipt;
pub mod stored;

pub use address::{Address, BackupKind, MANIFEST, WHOLE, folder_name, is_id};
pub use failure::FailedRun;
pub use find::{Pick, Which};
pub use folder::Folder;
pub use manifest::{Filter, Manifest, RunContext};
pub use proof::{Proof, VerifyLevel};
pub use receipt::Receipt;
pub use stored::Stored;
