//! Whether the local disk has room for what lies there meanwhile.

use super::{
    answer::{Answer, Answered},
    facts::Facts,
    question::Question,
};
use crate::{
    error::{Error, Kind, Result},
    scratch::{self, Scratch},
};
use async_trait::async_trait;

const NAME: &str = "disk";

pub(super) struct Room;

#[async_trait]
impl Question for Room {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let database = facts.source.get()?.database_bytes;
        // pg_dump's part is small, unless it is alone.
        let own = if facts.built_in() && facts.direct()?.alone { database / 2 } else { 0 };
        let copy = if facts.built_in() { database } else { 0 };
        Ok(vec![match disk(facts.scratch.get()?, copy, own) {
            Ok(line) => Answer::ok(line),
            Err(e) => Answer::failed(&e),
        }])
    }
}

/// `copy`: bytes of the database, when the throwaway copy lies here; `own`: stored bytes that pg_restore reads from here.
pub(crate) fn disk(scratch: &Scratch, copy: u64, own: u64) -> Result<String> {
    let free = scratch::free_space(scratch.path())?;
    // The copy has no dead rows, but its indexes are built anew and sorted on the same disk.
    let needed = copy + copy / 5 + 2 * own + (256 << 20);
    let mib = |bytes: u64| bytes >> 20;
    if free < needed {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "{} has {} MiB free, the throwaway copy needs about {} MiB",
                scratch.path().display(),
                mib(free),
                mib(needed)
            ),
        )
        .hint("name a larger disk with scratch-dir, or a server with verify-url"));
    }
    Ok(format!("{} MiB free, about {} MiB needed", mib(free), mib(needed)))
}
