//! Whether the local disk has room for what lies there meanwhile.

use super::{
    answer::{Answer, Answered},
    facts::Facts,
    question::Question,
};
use crate::{
    error::{Error, Kind, Result},
    postgres::{answer, connect::Session},
    scratch::{self, Scratch},
};
use async_trait::async_trait;

const NAME: &str = "disk";

/// Reads the size of the large objects.
pub(super) struct LargeObjects;

#[async_trait]
impl Question for LargeObjects {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        facts.large.learn(large_object_bytes(facts.session()?).await);
        Ok(Vec::new())
    }
}

pub(super) struct Room;

#[async_trait]
impl Question for Room {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let large = *facts.large.get()?.as_ref()?;
        // Alone, pg_dump writes all rows to this disk.
        let large = if facts.direct()?.alone { large.max(facts.source.get()?.database_bytes) } else { large };
        let copy = if facts.built_in() { facts.source.get()?.database_bytes } else { 0 };
        Ok(vec![match disk(facts.scratch.get()?, copy, large) {
            Ok(line) => Answer::ok(line),
            Err(e) => Answer::failed(&e),
        }])
    }
}

async fn large_object_bytes(session: &Session) -> Result<u64> {
    let row =
        session.query_typed_one("SELECT pg_catalog.pg_total_relation_size('pg_catalog.pg_largeobject')", &[]).await;
    Ok(row.map_err(|e| answer::error("cannot read the size of the large objects", e))?.get::<_, i64>(0).max(0) as u64)
}

/// `copy`: bytes of the database, when the throwaway copy lies here; `large`: bytes of large objects, which pg_dump writes here and the
/// proof reads back to here.
pub(crate) fn disk(scratch: &Scratch, copy: u64, large: u64) -> Result<String> {
    let free = scratch::free_space(scratch.path())?;
    // The copy has no dead rows, but its indexes are built anew and sorted on the same disk.
    let needed = copy + copy / 5 + 2 * large + (256 << 20);
    let mib = |bytes: u64| bytes >> 20;
    if free < needed {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "{} has {} MiB free, the throwaway copy and pg_dump need about {} MiB",
                scratch.path().display(),
                mib(free),
                mib(needed)
            ),
        )
        .hint("name a larger disk with scratch-dir, or a server with verify-url"));
    }
    Ok(format!("{} MiB free, about {} MiB needed", mib(free), mib(needed)))
}
