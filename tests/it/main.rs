//! Tests against real servers: PostgreSQL 14 to 18 and SeaweedFS, fetched by `scripts/test-stack.sh`. A test stands under the name of the room
//! of `src` that it tests; `docs`, `examples` and `stack` test what is written down, the examples, and the tests' own servers.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod action;
mod archive;
mod backup;
mod copies;
mod docs;
mod drill;
mod dumpfile;
mod encrypt;
mod examples;
mod format;
mod fuzz;
mod init;
mod inventory;
mod matrix;
mod notify;
mod postgres;
mod preflight;
mod prune;
mod recovery;
mod rehearse;
mod report;
mod restore;
mod secret;
mod setup_role;
mod sign;
mod stack;
mod store;
mod support;
mod validate;
mod verify;
