//! Orchestrates a backup from preflight to proof.
