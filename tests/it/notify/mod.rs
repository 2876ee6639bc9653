//! Those who are told.

mod heartbeat;
