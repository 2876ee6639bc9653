//! Speaking to a server.

mod tls;
mod wire;
