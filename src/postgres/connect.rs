//! Connections: TLS, session settings, errors that say what the server said.
