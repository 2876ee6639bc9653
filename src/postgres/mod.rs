//! Talking to PostgreSQL: connection strings, connections, and the programs that come with a server.

mod alive;
pub mod answer;
pub mod connect;
pub mod conninfo;
pub mod extension;
pub mod pooler;
pub mod quote;
pub mod tls;
pub mod tools;
mod watch;
pub mod wire;
