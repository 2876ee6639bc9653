//! What a copying has to tell.

use super::config::CopyConfig;
use crate::{
    error::Error,
    report::{
        Failure, Page,
        format::{bytes, counted},
        page::{Table, Verdict},
    },
    store::Destination,
    vault::{Manifest, Stored},
};
use serde_json::json;

/// What became of one backup at one place.
pub(super) struct Copied {
    id: String,
    place: String,
    pub uri: Option<String>,
    files: u64,
    bytes: u64,
    /// Files that the store copied itself.
    pub inside: u64,
    /// It lay there already.
    pub there: bool,
    pub failed: Option<Error>,
    /// What of a failed copy could not be removed.
    pub left: Vec<String>,
}

impl Copied {
    pub fn new(stored: &Stored, place: &Destination) -> Self {
        Copied {
            id: stored.id.clone(),
            place: place.label(),
            uri: None,
            files: 0,
            bytes: 0,
            inside: 0,
            there: false,
            failed: None,
            left: Vec::new(),
        }
    }

    pub fn take(&mut self, manifest: &Manifest) {
        self.files = manifest.stored_files().count() as u64;
        self.bytes = manifest.stored_files().map(|file| file.size).sum();
    }

    fn state(&self, dry_run: bool) -> String {
        match (&self.failed, self.there, dry_run) {
            (Some(_), ..) => "FAILED".into(),
            (None, true, true) => "lies there".into(),
            (None, true, false) => "lay there, every byte read".into(),
            (None, false, true) => "would be copied".into(),
            (None, false, false) if self.inside == self.files => "copied inside the store, every byte read back".into(),
            (None, false, false) if self.inside == 0 => "copied, every byte read back".into(),
            (None, false, false) => format!("copied ({} inside the store), every byte read back", self.inside),
        }
    }
}

/// The page of all.
pub(super) fn page(config: &CopyConfig, copied: Vec<Copied>, warnings: Vec<String>) -> Page {
    let failed = copied.iter().filter(|c| c.failed.is_some()).count();
    let good: Vec<&Copied> = copied.iter().filter(|c| c.failed.is_none()).collect();
    let size: u64 = good.iter().map(|c| c.bytes).sum();
    let (what, to) = (counted(good.len() as u64, "backup"), config.to.label());
    let headline = match (failed, config.dry_run) {
        (0, true) => format!("{what} would be copied to {to}, {}", bytes(size)),
        (0, false) => format!("{what} copied to {to}, {}", bytes(size)),
        (n, _) => format!("{} of {} could not be copied to {to}", n, counted(copied.len() as u64, "backup")),
    };
    let mut page = Page::new("copy", headline);
    page.warnings = warnings;
    if let Some((one, e)) = copied.iter().find_map(|c| Some((c, c.failed.as_ref()?))) {
        page.verdict = Verdict::Bad;
        page.exit_code = e.exit_code();
        page.failure = Some(Failure {
            phase: "copy".into(),
            message: format!("backup {}: {}", one.id, e.one_line()),
            hint: e.hint_text().map(str::to_owned),
            exit_code: e.exit_code(),
        });
    }
    let cells =
        |c: &Copied| vec![c.id.clone(), c.place.clone(), c.files.to_string(), bytes(c.bytes), c.state(config.dry_run)];
    page.tables.push(Table {
        title: String::new(),
        columns: vec![("id", false), ("to", false), ("files", true), ("stored", true), ("state", false)],
        rows: copied.iter().map(cells).collect(),
        whole: true,
    });
    page.warnings.extend(
        copied
            .iter()
            .filter(|c| c.failed.is_some())
            .skip(1)
            .filter_map(|c| Some(format!("backup {} to {}: {}", c.id, c.place, c.failed.as_ref()?.one_line()))),
    );
    page.warnings.extend(copied.iter().flat_map(|c| c.left.clone()));
    page.outputs = vec![("copied", good.len().to_string())];
    page.json = json!({
        "dry_run": config.dry_run,
        "copies": copied.iter().map(|c| json!({
            "id": c.id, "destination": c.place, "uri": c.uri, "files": c.files, "stored_bytes": c.bytes,
            "inside_the_store": c.inside, "lay_there": c.there,
            "failure": c.failed.as_ref().map(Error::one_line),
        })).collect::<Vec<_>>(),
    });
    page
}
