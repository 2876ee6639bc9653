//! Speaking to a server.

mod secrets;
mod sslmode;
pub mod tls;
mod watch;
mod wire;
