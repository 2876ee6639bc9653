//! Backups: what is taken, under what, and what becomes of a broken one.

mod application;
mod awkward;
mod early;
mod faults;
mod few;
mod immutable;
mod locks;
mod many;
mod options;
mod put_only;
mod secrets;
mod silence;
