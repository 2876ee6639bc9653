//! savepoint takes a consistent backup of a PostgreSQL database, streams it to S3, restores what was stored into a
//! throwaway server, and proves that every row is equal.
//!
//! The modules stand in the order in which the data flows: [`cli`] and [`config`] say what to do, [`postgres`] talks
//! to the source, [`dump`] moves its rows into a [`store`] as a standard [`archive`], what lies there is the [`vault`], [`verify`] proves what was stored, [`backup`] orchestrates all of it, and [`report`] and [`notify`] tell people. [`app`]
//! joins all of this to the command line.

pub mod action;
pub mod app;
pub mod archive;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod drill;
pub mod dump;
pub mod dumpfile;
pub mod engine;
pub mod error;
pub mod init;
pub mod inventory;
pub mod notify;
pub mod postgres;
pub mod preflight;
pub mod progress;
pub mod prune;
pub mod report;
pub mod restore;
pub mod scratch;
pub mod secret;
pub mod store;
mod value;
pub mod vault;
pub mod verify;

pub use error::{Error, Result};
