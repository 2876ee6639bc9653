//! Options as clap sees them: raw, unvalidated.
