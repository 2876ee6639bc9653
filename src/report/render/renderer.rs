//! What a renderer is.

use crate::{
    report::{Report, message::Message},
    vault::RunContext,
};

/// As many lines of a list or table as a terminal or a page is good for.
pub(super) const LINES: usize = 50;

/// One way to show a report.
pub trait Renderer: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The whole report as text. `context`: where the run comes from. Text from a database stays text: it can end no line and begin no
    /// markup or command of whatever reads it.
    fn render(&self, report: &Report, context: &RunContext) -> String;
}

/// The renderer of a channel whose text is made of a [`Message`].
#[derive(Debug)]
pub struct OfMessage(pub &'static str, pub fn(&Message) -> String);

impl Renderer for OfMessage {
    fn name(&self) -> &'static str {
        self.0
    }

    fn render(&self, report: &Report, context: &RunContext) -> String {
        (self.1)(&Message::of(report, context))
    }
}
