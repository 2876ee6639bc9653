//! What a copying needs to know.

use crate::{store::Destination, vault::Pick};

/// What is copied, and to where.
#[derive(Clone, Debug)]
pub struct CopyConfig {
    /// The backups.
    pub pick: Pick,
    /// Where they lie.
    pub destination: Destination,
    /// Where they are to lie as well; may be several places.
    pub to: Destination,
    /// Files that are under way at a time.
    pub jobs: usize,
    /// Say what would be copied, and copy nothing.
    pub dry_run: bool,
}
