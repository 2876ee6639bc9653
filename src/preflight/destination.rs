//! Whether the destination can do all that a backup asks of it.

use super::{
    answer::{Answer, Answered},
    facts::{Facts, Reach},
    object_lock,
    question::Question,
};
use crate::{
    error::{Error, Kind, Result, joined},
    store::{self, Destination, Locking, Store, copies::Member},
    vault::VerifyLevel,
};
use async_trait::async_trait;
use futures_util::future::join_all;
use std::sync::Arc;

pub(super) struct Usable;

#[async_trait]
impl Question for Usable {
    fn name(&self) -> &'static str {
        "destination"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let destination = &facts.config.destination;
        if facts.reach == Reach::Look {
            if facts.config.verify == VerifyLevel::Sent {
                return Ok(vec![Answer::skipped(format!("{}: not asked in a dry run", destination.label()))]);
            }
            let mut answers = Vec::new();
            for place in destination.each() {
                let seen = look_at(&place).await?;
                answers.push(Answer::skipped(format!("{seen}; not written to in a dry run")));
            }
            return Ok(answers);
        }
        let store = store::open(destination).await?;
        let Some(copies) = store.copies() else {
            let answers = usable(facts, destination, &store).await?;
            facts.store.learn(store);
            return Ok(answers);
        };
        let members = copies.members();
        let copies = copies.requiring(facts.config.require.of(members.len()));
        let asking = members.iter().map(async |Member { place, store, .. }| match store {
            Some(store) => Some(usable(facts, place, store).await),
            None => None,
        });
        let mut answers = Vec::new();
        for (n, answered) in join_all(asking).await.into_iter().enumerate() {
            match answered {
                Some(Ok(said)) => answers.extend(said),
                Some(Err(e)) => copies.lose(n, e)?,
                None => copies.enough()?,
            }
        }
        let lost = copies.members().into_iter().filter_map(|member| Some((member.place.label(), member.lost?)));
        answers.extend(lost.map(|(place, lost)| {
            let warning = Answer::warning(format!("{place} takes no copy: {}", lost.why));
            lost.hint.into_iter().fold(warning, Answer::hint)
        }));
        facts.store.learn(Arc::new(copies));
        Ok(answers)
    }
}

/// Tries one place.
async fn usable(facts: &Facts<'_>, place: &Destination, store: &Arc<dyn Store>) -> Result<Vec<Answer>> {
    if store.locks().is_some() && store.locking().await? == Locking::Off {
        return Err(object_lock::none(&**store));
    }
    // A task of its own: whoever is broken off meanwhile waits for it, as it alone removes what it wrote.
    let probed = store.clone();
    if facts.config.verify == VerifyLevel::Sent {
        let probing = facts.tasks.spawn(async move { store::probe_by_put(&*probed).await });
        joined("trying the destination", probing.await)?;
        enough_space(place)?;
        let (place, probe) = (store.uri(""), store.uri(store::PROBE_OF_PUTS));
        return Ok(vec![Answer::ok(format!(
            "{place} can be written; it was not read, listed or deleted from (verify sent), and {probe} stays"
        ))]);
    }
    let probing = facts.tasks.spawn(async move { store::probe(&*probed, "").await });
    let warnings = joined("trying the destination", probing.await)?;
    enough_space(place)?;
    let mut said = vec![Answer::ok(format!("{} can be written, read and listed", store.uri("")))];
    said.extend(warnings.into_iter().map(Answer::warning));
    let promises = place.promises();
    said.extend(promises.notices().into_iter().map(Answer::ok));
    if !promises.private && facts.config.encryption.is_none() {
        said.push(Answer::warning(
            "whoever knows the address of an object there can read it; --encrypt-to encrypts what is stored",
        ));
    }
    Ok(said)
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
