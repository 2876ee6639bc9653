//! Speaking to a server.

mod secrets;
pub mod tls;
mod watch;
mod wire;
