//! Speaking to a server.

mod secrets;
mod tls;
mod watch;
mod wire;
