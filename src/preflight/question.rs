//! What a question is, whatever it asks about.

use super::{answer::Answered, facts::Facts};
use async_trait::async_trait;

/// Something that is asked before a backup. Its texts, the cure of each no among them, stand in its own file.
#[async_trait]
pub(super) trait Question: Sync {
    /// Its name in the answers, such as `pooler` or `privileges`.
    fn name(&self) -> &'static str;

    /// Asks, of the facts or of the source itself, and notes what is learnt for the questions of later rounds.
    ///
    /// A no among the lines does not keep the later questions from being asked; an error does.
    async fn ask(&self, facts: &Facts<'_>) -> Answered;
}
