//! Which key signs what is stored.

use super::{
    answer::{Answer, Answered, yes},
    facts::Facts,
    question::Question,
};
use crate::{report::format::shell_word, sign::Judged};
use async_trait::async_trait;

pub(super) struct Signer;

#[async_trait]
impl Question for Signer {
    fn name(&self) -> &'static str {
        "signature"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let Some(signer) = &facts.config.signer else { return Ok(Vec::new()) };
        let public = signer.public();
        // A private key that does not belong to the public one beside it would sign what nobody can check.
        let tried = match signer.sign(b"savepoint", "a try") {
            Ok(signature) => public.judge(b"savepoint", &signature),
            Err(e) => return Ok(vec![Answer::failed(&e)]),
        };
        match tried {
            Judged::Fits(by) => yes(format!("by {by}; checked by --verify-key {}", shell_word(public.text()))),
            _ => Ok(vec![Answer::no(
                format!("{} does not check what its private key signs", public.label()),
                "the key's file is damaged: make another one",
            )]),
        }
    }
}
