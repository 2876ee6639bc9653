//! Questions that are asked before anything is written. Each has a line for people and a cure, and a file of its own; here is their order.

mod answer;
mod compression;
mod connection;
mod connections;
mod descriptors;
mod destination;
mod disk;
mod encryption;
mod extensions;
mod facts;
mod health;
mod lacking;
mod object_lock;
mod pooler;
mod privileges;
mod question;
mod rights;
mod row_security;
mod scratch;
mod secrets;
mod signature;
mod standby;
mod starting;
mod throwaway;
mod tools;
mod version;

pub use answer::refusal;
pub(crate) use descriptors::descriptors;
pub(crate) use disk::disk;
pub use facts::Reach;
pub use health::HEALTH;
pub(crate) use lacking::missing_extensions;
pub use object_lock::OBJECT_LOCK;
pub use secrets::SECRETS;
pub use starting::Starting;

use crate::{
    backup::BackupConfig,
    crypt::Sealing,
    dump::snapshot::Looked,
    postgres::{conninfo::Target, tools::Tools},
    progress::{Event, Progress},
    report::{Check, Status},
    scratch::Scratch,
    store::Store,
    vault::manifest::{Extension, Source},
};
use answer::{Answer, Unanswered};
use connections::OTHER_CONNECTIONS;
use facts::Facts;
use futures_util::future::join_all;
use question::Question;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// Questions that are asked at once: far away, each answer takes its time.
type Round = &'static [&'static dyn Question];

/// About the source, in the order of their answers. A new question is a file and a line, in the round whose facts it needs: what is only
/// read of the source belongs into a round with others that read, and is judged in a later one.
const OF_THE_SOURCE: &[Round] = &[
    &[&pooler::ByAddress],
    &[&connection::Open],
    &[&pooler::ByDeed],
    &[&connection::Known, &extensions::Read],
    &[&version::Version, &connection::Reached, &compression::Readable, &pooler::Absent, &standby::Standby],
    &[&connection::Settings],
    &[&tools::Tools],
    &[&extensions::Known],
    &[&descriptors::Enough, &scratch::Folder],
    &[&disk::Room],
    &[&throwaway::Start],
    &[&rights::Read, &connections::Count, &health::Source, &secrets::Held],
    &[&privileges::Tables, &row_security::Hidden, &privileges::Others, &connections::Enough],
    &[&throwaway::Skipped, &extensions::Named],
];

/// About all else, meanwhile. Their answers come behind those of the source.
const BESIDE_IT: &[Round] =
    &[&[&encryption::Recipients, &signature::Signer, &destination::Usable], &[&object_lock::SwitchedOn]];

/// What the questions brought to light; everything that a backup goes on with.
pub struct Ready {
    /// The source, pinned to one address.
    pub target: Target,
    /// A session there, and the tables that it has seen.
    pub looked: Looked,
    /// Facts about it.
    pub source: Source,
    /// Its extensions.
    pub extensions: Vec<Extension>,
    /// Programs of its major.
    pub tools: Tools,
    /// The destination; `None` after a mere look.
    pub store: Option<Arc<dyn Store>>,
    /// Encrypts what is stored, where that is asked for.
    pub sealing: Option<Arc<Sealing>>,
    /// The server for the proof, when one is needed.
    pub server: Option<Starting>,
    /// This run's folder.
    pub scratch: Scratch,
    /// Connections that the server has room for, besides the first and pg_dump's.
    pub jobs: usize,
    /// There is room for one connection and no other.
    pub alone: bool,
}

/// The answers, and what a backup goes on with when none of them is a no.
pub struct Examined {
    /// One line each.
    pub checks: Vec<Check>,
    /// `None` when a question was answered with no.
    pub ready: Option<Ready>,
}

/// Asks everything. Never fails: a question that cannot be answered is a no with its reason. Whoever breaks it off waits for `tasks`.
pub async fn examine(config: &BackupConfig, reach: Reach, progress: &dyn Progress, tasks: &TaskTracker) -> Examined {
    let mut facts = Facts::new(config, reach, progress, tasks);
    let mut told = Told::new(config, progress);
    let mut beside = Vec::new();
    tokio::join!(
        ask(OF_THE_SOURCE, &facts, |name, answer| {
            told.tell(name, answer);
            if told.failed() {
                facts.refuse();
            }
        }),
        ask(BESIDE_IT, &facts, |name, answer| beside.push((name, answer))),
    );
    for (name, answer) in beside {
        told.tell(name, answer);
    }
    let ready = if told.failed() { None } else { ready(&mut facts) };
    if ready.is_none()
        && let Some(server) = facts.server.take()
    {
        server.stop().await;
    }
    Examined { checks: told.checks, ready }
}

/// Asks round by round, until an error makes the rest pointless.
async fn ask(rounds: &[Round], facts: &Facts<'_>, mut tell: impl FnMut(&'static str, Answer)) {
    for round in rounds {
        let answers = join_all(round.iter().map(|question| question.ask(facts))).await;
        for (question, answered) in round.iter().zip(answers) {
            match answered {
                Ok(answers) => answers.into_iter().for_each(|answer| tell(question.name(), answer)),
                Err(Unanswered::Pointless) => {}
                Err(Unanswered::No(answer)) => return tell(question.name(), answer),
            }
        }
    }
}

/// What a backup goes on with; `None` where something was not learnt. The server is taken last, so that it never outlives its folder.
fn ready(facts: &mut Facts<'_>) -> Option<Ready> {
    Some(Ready {
        alone: facts.room.get().is_ok_and(|room| room.as_ref().is_ok_and(|free| *free < OTHER_CONNECTIONS)),
        jobs: facts.jobs.take()?,
        target: facts.target.take()?,
        looked: Looked {
            session: facts.direct.take()??.session,
            relations: facts.rights.take().map(|rights| rights.relations),
        },
        source: facts.source.take()?,
        extensions: facts.extensions.take()?.ok()?,
        tools: facts.tools.take()?,
        scratch: facts.scratch.take()?,
        store: facts.store.take(),
        sealing: facts.sealing.take(),
        server: facts.server.take(),
    })
}

/// For `savepoint check`: asks everything and cleans up. Whoever breaks it off waits for `tasks`.
pub async fn run(config: &BackupConfig, progress: Arc<dyn Progress>, tasks: &TaskTracker) -> Vec<Check> {
    let Examined { checks, ready } = examine(config, Reach::Full, &*progress, tasks).await;
    let Some(mut ready) = ready else { return checks };
    let mut told = Told { checks, ..Told::new(config, &*progress) };
    if let Some(starting) = &mut ready.server {
        let (answers, left) = throwaway::came_up(starting).await;
        for (name, answer) in answers {
            told.tell(name, answer);
        }
        for line in left {
            progress.event(Event::Warning(&line));
        }
    }
    if let Err(e) = ready.scratch.remove() {
        progress.event(Event::Warning(&e.one_line()));
    }
    told.checks
}

/// The answers so far, as people see them.
struct Told<'a> {
    checks: Vec<Check>,
    /// The host's name and what is shown in its place, with `--redact-host`.
    redact: Option<(String, String)>,
    progress: &'a dyn Progress,
}

impl<'a> Told<'a> {
    fn new(config: &BackupConfig, progress: &'a dyn Progress) -> Self {
        let redact = config.redact_host.then(|| (config.source.host.clone(), config.source.host_label(true)));
        Self { checks: Vec::new(), redact, progress }
    }

    fn tell(&mut self, name: &str, answer: Answer) {
        let shown = |text: String| match &self.redact {
            Some((host, label)) => text.replace(host, label),
            None => text,
        };
        let check = answer.under(name);
        let check = Check { detail: shown(check.detail), hint: check.hint.map(shown), ..check };
        self.progress.event(Event::Detail(&format!("{name}: {}", check.detail)));
        self.checks.push(check);
    }

    fn failed(&self) -> bool {
        self.checks.iter().any(|c| c.status == Status::Failed)
    }
}
