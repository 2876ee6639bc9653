//! The throwaway server: initdb, start, stop, and sweeping what a killed run left.
