//! The throwaway server.

mod answer;
mod cluster;
mod extensions;
