//! PostgreSQL's directory-format archive: its table of contents and its data files.

pub mod schema;
pub mod toc;
