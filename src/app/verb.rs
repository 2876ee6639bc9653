//! What a verb is: how its options are read, and what it does with them.

use crate::cancel::Cancel;
use crate::{
    cli::{NotifyArgs, OutputArgs},
    config::{self, Validated},
    error::Result,
    notify::Channels,
    postgres::conninfo::Target,
    progress::Progress,
    report::{Page, Report},
    secret::Secret,
};
use std::sync::Arc;

/// How a variable of the environment is looked up.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a run works with besides its options.
pub(super) struct Work {
    /// Who is told while it works.
    pub progress: Arc<dyn Progress>,
    /// Cancelled by a signal.
    pub cancel: Cancel,
    /// Those who are told of its end.
    pub channels: Channels,
}

/// A verb of the command line. Each is a file of this folder.
pub(super) trait Verb {
    /// Its options as text.
    type Raw;
    /// Its options, checked.
    type Config;

    /// The options of how its result is shown.
    fn output(raw: &Self::Raw) -> &OutputArgs;

    /// The options of who is told, and that of a dry run (`""` where there is none); `None` for a verb of which nobody is told.
    fn notify(_raw: &Self::Raw) -> Option<(&NotifyArgs, &str)> {
        None
    }

    /// Checks its options.
    ///
    /// # Errors
    /// [`Kind::Usage`].
    fn config(raw: &Self::Raw, env: Env<'_>) -> Result<Validated<Self::Config>>;

    /// Servers that it connects to, whose passwords are masked.
    fn targets(_config: &Self::Config) -> Vec<&Target> {
        Vec::new()
    }

    /// Does it.
    ///
    /// # Errors
    /// What leaves nothing to report; a run that failed is a report.
    async fn run(config: &Self::Config, work: &Work) -> Result<Report>;
}

/// The monitor of a run that does what it says. A dry run does not: the backup that is waited for has not come.
pub(super) fn monitor(notify: &NotifyArgs, dry_run: &str) -> Option<Secret> {
    let url = notify.heartbeat_url.clone().filter(|url| !url.expose().is_empty());
    url.filter(|_| !config::flag("dry-run", dry_run).unwrap_or(false))
}

/// What comes of the work, unless a signal comes first: for work that changes nothing.
///
/// # Errors
/// [`Kind::Interrupted`].
pub(super) async fn unless_interrupted<T>(cancel: &Cancel, work: impl Future<Output = Result<T>>) -> Result<T> {
    cancel.unless(work, || cancel.error()).await
}

/// A page about the destination, also when it could not be read.
pub(super) async fn reading(work: &Work, verb: &'static str, page: impl Future<Output = Result<Page>>) -> Report {
    let page = unless_interrupted(&work.cancel, page).await;
    page.unwrap_or_else(|e| Page::failed(verb, "reading the destination", &e)).into()
}
