//! The throwaway server.

mod cluster;
