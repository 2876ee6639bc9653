//! Whether the destination can do all that a backup asks of it.

use super::{
    answer::{Answer, Answered},
    facts::{Facts, Reach},
    question::Question,
};
use crate::{
    error::{Error, Kind, Result, joined},
    store::{self, Destination},
};
use async_trait::async_trait;

pub(super) struct Usable;

#[async_trait]
impl Question for Usable {
    fn name(&self) -> &'static str {
        "destination"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let destination = &facts.config.destination;
        if facts.reach == Reach::Look {
            let seen = look_at(destination).await?;
            return Ok(vec![Answer::skipped(format!("{seen}; not written to in a dry run"))]);
        }
        let store = store::open(destination).await?;
        // A task of its own: whoever is broken off meanwhile waits for it, as it alone removes what it wrote.
        let probed = store.clone();
        let probing = facts.tasks.spawn(async move { store::probe(&*probed, "").await });
        let warnings = joined("trying the destination", probing.await)?;
        enough_space(destination)?;
        let usable = Answer::ok(format!("{} can be written, read and listed", store.uri("")));
        facts.store.learn(store);
        let mut said = vec![usable];
        said.extend(warnings.into_iter().map(Answer::warning));
        let promises = destination.promises();
        said.extend(promises.notices().into_iter().map(Answer::ok));
        if !promises.private && facts.config.encryption.is_none() {
            said.push(Answer::warning(
                "whoever knows the address of an object there can read it; --encrypt-to encrypts what is stored",
            ));
        }
        Ok(said)
    }
}

/// Whether the destination answers, without writing to it.
async fn look_at(destination: &Destination) -> Result<String> {
    if destination.there().is_err() {
        return Ok(format!("{} will be created", destination.label()));
    }
    let store = store::open(destination).await?;
    store.list("savepoint-probe-").await?;
    Ok(format!("{} can be listed", store.uri("")))
}

/// A local destination on a full disk is told now, not after an hour.
fn enough_space(destination: &Destination) -> Result<()> {
    if destination.free_space()?.is_some_and(|free| free < 64 << 20) {
        return Err(Error::new(Kind::Refused, format!("{} has less than 64 MiB of free space", destination.label()))
            .hint("free some space, or name another destination"));
    }
    Ok(())
}
