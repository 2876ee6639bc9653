//! A restore under way: what it was asked for, and what it stands on.

use super::{
    config::RestoreConfig,
    plan::{Plan, What},
    target::{Facts, Maintenance},
    traces::{Recorder, Shared},
};
use crate::{
    archive::toc::Toc,
    dumpfile::DumpFile,
    postgres::{conninfo::Target, tools::Tools},
    vault::{Folder, Manifest, Receipt},
};
use bytes::Bytes;

use std::{collections::HashMap, sync::Arc, time::Instant};

use crate::cancel::Cancel;

/// What is restored.
pub(super) enum Archive {
    /// A backup of ours.
    Stored(Box<Backup>),
    /// What pg_dump wrote, read to its end.
    File(Box<DumpFile>),
}

impl Archive {
    /// What in a file reaches out of the database; a backup of ours holds what its source held.
    pub fn reaches(&self) -> &[String] {
        match self {
            Archive::Stored(_) => &[],
            Archive::File(file) => &file.reaches,
        }
    }
}

/// A stored backup that may be restored.
pub(super) struct Backup {
    pub folder: Folder,
    pub manifest: Manifest,
    pub receipt: Receipt,
    pub proof: String,
    pub toc: Toc,
    /// Small files that the check has read, by their paths.
    pub read: Arc<HashMap<String, Bytes>>,
}

/// Everything that a restore stands on once nothing speaks against it.
pub(super) struct Ground {
    pub target: Target,
    pub maintenance: Arc<Maintenance>,
    pub facts: Facts,
    pub what: What,
    pub plan: Plan,
    pub tools: Tools,
    /// Tables with rows, as SQL names them.
    pub tables: Vec<String>,
    pub notices: Vec<String>,
    pub unproven: Vec<String>,
    /// `SET`s that every session of the load begins with.
    pub settings: Vec<(&'static str, String)>,
}

pub(super) struct Run<'a> {
    pub config: &'a RestoreConfig,
    pub progress: Arc<Recorder>,
    pub traces: Shared,
    pub begun: Instant,
    pub cancel: Cancel,
}
