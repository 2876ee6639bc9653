//! Which key signs what is stored.

use super::{
    answer::{Answered, yes},
    facts::Facts,
    question::Question,
};
use crate::report::format::shell_word;
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
        yes(format!("by {}; checked by --verify-key {}", public.label(), shell_word(public.text())))
    }
}
