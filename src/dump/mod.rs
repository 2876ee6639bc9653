//! Rows from the source to the store.
