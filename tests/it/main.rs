//! Tests against real servers: PostgreSQL 14 to 18 and SeaweedFS, fetched by `scripts/test-stack.sh`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod action;
mod awkward;
mod cluster;
mod docs;
mod drill;
mod dumpfile;
mod examples;
mod faults;
mod fire;
mod first;
mod heartbeat;
mod inventory;
mod locks;
mod many;
mod options;
mod prune;
mod refusals;
mod restore;
mod secrets;
mod stack;
mod store;
mod support;
mod tls;
mod toc;
mod wire;
