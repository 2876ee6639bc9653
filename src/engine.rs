//! What a proof or a restore works with on this machine.

use std::path::PathBuf;

/// What the proof or the restore works with.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Connections, at least 1.
    pub jobs: usize,
    /// Folders in which PostgreSQL's programs are looked up, in this order.
    pub pg_bin_dirs: Vec<PathBuf>,
    /// Where temporary files and the throwaway server lie; default: the system's temporary folder.
    pub scratch_dir: Option<PathBuf>,
}
