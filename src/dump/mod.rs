//! Rows from the source to the store: one snapshot, many connections, ranges of tables, frames, parts.

pub mod catalog;
pub mod copy;
pub mod exclude;
pub mod large_objects;
pub mod locks;
pub mod packer;
pub mod pattern;
pub mod pg_dump;
pub mod plan;
pub mod rate;
pub mod sink;
pub mod snapshot;
pub mod worker;
