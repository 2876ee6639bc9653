//! What is known of a database's tables at one moment, and what became of them until another.

mod changes;
mod facts;

pub use changes::changed;
pub use facts::{Facts, Table};
