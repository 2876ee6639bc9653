//! What is particular about a service.

use crate::store::Promises;

/// What is particular about a service.
#[derive(Debug)]
pub(super) struct Service {
    /// How its addresses begin.
    pub(super) scheme: &'static str,
    /// How an object of many parts gets there.
    pub(super) way: Way,
    /// Objects of many parts are stored on the condition that they are new; see `ordered::InParts`.
    pub(super) parts_if_new: bool,
    pub(super) promises: Promises,
    /// The cure where no credentials are known, or wrong ones.
    pub(super) credentials: &'static str,
    /// The cure where they lack a right.
    pub(super) denied: &'static str,
    /// The cure where the bucket or container is not there.
    pub(super) missing: &'static str,
    /// The cure for everything else.
    pub(super) unreachable: &'static str,
}

/// How an object of many parts gets there, so that nothing is seen of it before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By the service's own upload in parts, which makes it visible whole.
    Parts,
    /// By one request that goes on for as long as parts come, under a temporary name.
    Renamed,
    /// By one request for all of it.
    Whole,
}
