//! The throwaway server.

mod answer;
mod cage;
mod cluster;
mod extensions;
