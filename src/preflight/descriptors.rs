//! Whether this process and its children may open as many files as they need.

use super::{
    answer::{Answer, Answered},
    facts::Facts,
    question::Question,
};
use crate::error::{Error, Kind, Result};
use async_trait::async_trait;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A server for the proof needs about 70 before it starts at all; libraries, pipes and the destination share the rest.
const BASE: u64 = 160;

/// A connection to the source, one to the restored copy, one or two to the destination, and what a backend has open.
const PER_JOB: u64 = 8;

pub(super) struct Enough;

#[async_trait]
impl Question for Enough {
    fn name(&self) -> &'static str {
        "descriptors"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        Ok(descriptors(facts.config.engine.jobs).err().iter().map(Answer::failed).collect())
    }
}

/// Raises the limit of open files as far as `jobs` connections need it and the hard limit lets us.
///
/// # Errors
/// [`Kind::Refused`] when that is not enough; it names the number.
pub(crate) fn descriptors(jobs: usize) -> Result<()> {
    let needed = BASE + PER_JOB * jobs as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|limit| limit >= needed) {
        return Ok(());
    }
    if maximum.is_none_or(|limit| limit >= needed) {
        // Should it be refused after all, whatever fails then says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum });
        return Ok(());
    }
    let limit = maximum.or(current).unwrap_or_default();
    Err(Error::new(Kind::Refused, format!("{limit} files may be open at a time, and {jobs} jobs need {needed}")).hint(
        format!(
            "raise the limit (ulimit -n {needed}, LimitNOFILE=, docker run --ulimit nofile={needed}), or lower --jobs"
        ),
    ))
}
