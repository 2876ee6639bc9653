//! What the core tells while it works. The core never prints: a caller hands in a [`Progress`].

use std::time::Duration;

/// The phases of a backup, in order. Dump and restore overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Questions that are asked before anything is written.
    Preflight,
    /// Locks, snapshot, list of tables, chunks.
    Plan,
    /// Rows from the source to the store.
    Dump,
    /// TOC, globals and manifest: the commit.
    Commit,
    /// The stored archive into the throwaway server.
    Restore,
    /// The restored copy against the manifest.
    Compare,
    /// The other destinations' copies against the manifest.
    Copies,
    /// A migration on the proven copy.
    Rehearse,
}

impl Phase {
    /// The phase's name in logs, tables and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Preflight => "preflight",
            Phase::Plan => "plan",
            Phase::Dump => "dump",
            Phase::Commit => "commit",
            Phase::Restore => "restore",
            Phase::Compare => "compare",
            Phase::Copies => "copies",
            Phase::Rehearse => "rehearse",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A phase begins.
    Started(Phase),
    /// A phase ended after this long.
    Finished(Phase, Duration),
    /// The plan is known: tables, their bytes on the source's disk, and the planner's row estimate.
    Planned {
        /// Number of tables with rows to take.
        tables: u64,
        /// Bytes on the source's disk, TOAST included.
        bytes: u64,
    },
    /// Rows left the source (increments; bytes of COPY text, and how much of the planned bytes this accounts for).
    Dumped {
        /// Rows in this step.
        rows: u64,
        /// Bytes of COPY text in this step.
        bytes: u64,
        /// Bytes on the source's disk that this step covers.
        planned: u64,
    },
    /// Bytes arrived in the store (increment).
    Stored(u64),
    /// So many bytes of COPY text are to be restored, as far as is known.
    ToRestore(u64),
    /// What will be done, in several lines.
    Plan(&'a str),
    /// COPY text went into the throwaway server or the target (increment, bytes).
    Restored(u64),
    /// COPY text was read back from the throwaway server and compared (increment, bytes).
    Compared(u64),
    /// The throwaway server answers at this connection string (no password in it).
    Throwaway(&'a str),
    /// A line that a command of the team's wrote.
    Output(&'a str),
    /// Something the user should know that changes nothing.
    Notice(&'a str),
    /// Something that may be wrong.
    Warning(&'a str),
    /// Detail for `-v`.
    Detail(&'a str),
}

/// Receives events. Called from many tasks at once; must be quick.
pub trait Progress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);
}

/// Says nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
