//! Those who are told.

mod heartbeat;
mod mail;
