//! The proof: what lies in the store, restored into a throwaway server and compared.

pub mod cluster;
