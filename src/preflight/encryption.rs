//! Whether what is stored can be encrypted to those who are to open it.

use super::{
    answer::{Answer, Answered, yes},
    facts::Facts,
    question::Question,
};
use crate::crypt::Sealing;
use async_trait::async_trait;

pub(super) struct Recipients;

#[async_trait]
impl Question for Recipients {
    fn name(&self) -> &'static str {
        "encryption"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let Some(encryption) = &facts.config.encryption else { return Ok(Vec::new()) };
        // Each of them is encrypted to.
        match Sealing::new(encryption.recipients.clone()) {
            Ok(sealing) => {
                let names = if encryption.manifest { ", names as well" } else { "" };
                let kinds = sealing.recipients().kinds();
                facts.sealing.learn(sealing);
                yes(format!("to {kinds}{names}; any one of their private keys opens the backup"))
            }
            Err(e) => Ok(vec![Answer::failed(&e)]),
        }
    }
}
