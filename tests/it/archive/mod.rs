//! PostgreSQL's own format.

pub mod toc;
