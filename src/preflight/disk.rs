//! Whether the local disk has room for what lies there meanwhile.

use super::{
    answer::{Answer, Answered},
    facts::Facts,
    question::Question,
};
use crate::{
    dump::catalog,
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
        let copy = match facts.built_in() {
            false => 0,
            true => match catalog::database_bytes(facts.session()?).await {
                Ok(bytes) => bytes,
                Err(e) => return Ok(vec![Answer::failed(&e)]),
            },
        };
        // pg_dump's part is small, unless it is alone.
        let own = if facts.direct()?.alone { copy / 2 } else { 0 };
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
