//! `savepoint report`.

use super::verb::{Env, Verb, Work, unless_interrupted};
use crate::{
    cli::{OutputArgs, ReportArgs},
    config::{self, ReportConfig, Validated},
    error::Result,
    inventory,
    report::{
        Failure, Page, Report,
        overview::{Overview, Standing},
        page::Verdict,
        render,
    },
    store,
};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// The exit code of a report that was asked to be good: it was written, and what it says is not.
const NOT_GOOD: u8 = 4;

/// Writes the status page, or the same as an object or metrics.
pub(super) struct StatusReport;

impl Verb for StatusReport {
    type Raw = ReportArgs;
    type Config = ReportConfig;

    fn output(raw: &ReportArgs) -> &OutputArgs {
        &raw.output
    }

    fn config(raw: &ReportArgs, env: Env<'_>) -> Result<Validated<ReportConfig>> {
        config::report(raw, env)
    }

    async fn run(config: &ReportConfig, work: &Work) -> Result<Report> {
        let overview = unless_interrupted(&work.cancel, inventory::overview(&config.overview)).await;
        let overview = match overview {
            Ok(overview) => overview,
            Err(e) => return Ok(Page::failed("report", "reading the destination", &e).into()),
        };
        let text = render::overview(&overview, config.format);
        let written = unless_interrupted(&work.cancel, write(config, text)).await;
        Ok(match written {
            Ok(written) => page(&overview, written, config.require_good),
            Err(e) => Page::failed("report", "writing the report", &e),
        }
        .into())
    }
}

/// Where it was written.
enum Written {
    At(String),
    /// Nowhere yet: it goes to standard output.
    Text(String),
}

async fn write(config: &ReportConfig, text: String) -> Result<Written> {
    let Some(to) = &config.to else { return Ok(Written::Text(text)) };
    let mut addresses = Vec::new();
    for place in to.each() {
        let is_new = place.there().is_err();
        let (store, file) = (store::open(&place).await?, config.format.file());
        store.put(file, text.clone().into()).await?;
        let address = store.uri(file);
        publish(Path::new(&address), is_new);
        addresses.push(address);
    }
    Ok(Written::At(addresses.join(", ")))
}

/// Lets everybody read it, where it is a file: unlike a backup it is there to be read by others, such as the step that publishes it or
/// node_exporter. `is_new`: so was its folder.
fn publish(file: &Path, is_new: bool) {
    let folder = file.parent().filter(|_| is_new).map(|folder| (folder, 0o755));
    for (path, mode) in folder.into_iter().chain([(file, 0o644)]).filter(|(path, _)| path.is_absolute()) {
        // Whose file system has no such rights is no worse off.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    }
}

fn page(overview: &Overview, written: Written, require_good: bool) -> Page {
    let mut page = overview.page();
    if require_good && page.verdict != Verdict::Good {
        (page.verdict, page.exit_code) = (Verdict::Bad, NOT_GOOD);
        page.failure = Some(Failure {
            phase: "report".into(),
            message: match page.warnings.first() {
                Some(first) if overview.databases.iter().all(|d| d.standing == Standing::Good) => {
                    format!("require-good is set, and there is a warning: {first}")
                }
                _ => format!("require-good is set, and {}", page.headline),
            },
            hint: None,
            exit_code: NOT_GOOD,
        });
    }
    match written {
        Written::At(address) => page.facts.push(("written to", address)),
        Written::Text(text) => page.script = Some(text),
    }
    page
}
