//! `savepoint validate`: the database behind a migration, held against the backup from before it.

mod before;
mod config;
mod sequences;

pub use config::ValidateConfig;

use crate::{
    checks::{self, Checked},
    error::{Error, Kind, Result},
    observe::{Facts, changed},
    progress::{Event, Phase, Progress},
    report::{
        Page,
        format::{count, counted},
        page::Verdict,
        rehearsal::{Changed, Fate},
    },
    value::glob,
    vault::{
        Folder, Manifest,
        find::{self, Found},
        folder::no_identity,
        read::{Signed, signed, whole},
    },
};
use serde_json::json;
use std::{sync::Arc, time::Instant};

/// What was found.
struct Validated {
    manifest: Manifest,
    /// Tables that are otherwise than in the backup.
    tables: Vec<Changed>,
    /// Rows now, of the tables that the backup holds.
    rows: u64,
    checked: Vec<Checked>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

/// Looks at the database, and says what is not as it should be.
///
/// # Errors
/// When the backup is not there, or the database cannot be looked at.
pub async fn validate(config: &ValidateConfig, progress: &Arc<dyn Progress>) -> Result<Page> {
    let begun = Instant::now();
    progress.event(Event::Started(Phase::Compare));
    let found = work(config).await?;
    progress.event(Event::Finished(Phase::Compare, begun.elapsed()));
    Ok(page(config, found))
}

async fn work(config: &ValidateConfig) -> Result<Validated> {
    let place = find::place(&config.destination, &config.pick).await?;
    let Found { backups, strangers } = place.found;
    let stored = backups.into_iter().next().ok_or_else(|| Error::new(Kind::NotFound, "there is no such backup"))?;
    let Signed { manifest, receipt, .. } = signed(&place.store, &stored, config.verify_key.as_ref()).await?;
    let manifest = match &config.identity {
        None if manifest.hidden().is_some() => return Err(no_identity(&format!("backup {}", stored.id))),
        None => manifest,
        Some(keys) => {
            let folder = Folder::new(place.store.clone(), &stored.folder).opened_by(Some(keys.clone()));
            whole(&folder, manifest).await?
        }
    };
    let mut warnings = strangers;
    warnings.extend(place.passed_over);
    warnings.extend(receipt.warning(&format!("backup {}", stored.id)));
    if manifest.source.database != config.target.dbname {
        warnings.push(format!(
            "the backup is of database {}, and {} is looked at",
            manifest.source.database, config.target.dbname
        ));
    }
    let mut now = Facts::look(&config.target).await?;
    now.count(&config.target, config.jobs).await?;
    let was = before::before(&manifest, &now);
    let mut tables = changed(&was, &now);
    // What the backup left out was no less there.
    tables.retain(|t| t.fate != Fate::Added || t.rows_after.is_some() && manifest.options.filter.is_everything());
    let (behind, unknown) = sequences::behind(&config.target).await?;
    let checked = checks::run(&config.target, &config.checks, checks::May::Read).await?;
    let allowed = |table: &Changed| config.allow_loss.iter().any(|pattern| glob(&table.table, pattern));
    let mut problems: Vec<String> =
        tables.iter().filter(|t| !allowed(t)).filter_map(|t| problem(t, config.max_drop)).collect();
    problems
        .extend(now.invalid.iter().map(|index| format!("{index} is invalid: no query uses it; REINDEX makes it anew")));
    problems.extend(behind);
    problems.extend(checked.iter().filter_map(Checked::problem).map(|failed| format!("check failed: {failed}")));
    warnings.extend(now.unvalidated.iter().map(|c| format!("{c} is not validated: rows that were there may break it")));
    warnings.extend(unknown);
    let rows = manifest.tables.iter().filter_map(|t| {
        now.tables.values().find(|is| is.schema == t.schema && is.name == t.name).and_then(|is| is.rows)
    });
    Ok(Validated { rows: rows.sum(), manifest, tables, checked, problems, warnings })
}

/// What is wrong with a table.
fn problem(table: &Changed, max_drop: u32) -> Option<String> {
    let name = &table.table;
    let was = table.rows_before?;
    match (table.fate, table.rows_after) {
        (Fate::Dropped, _) => Some(format!("table {name} is gone, with {}", counted(was, "row"))),
        (_, Some(0)) if was > 0 => Some(format!("table {name} is empty, and had {}", counted(was, "row"))),
        (_, Some(is)) if table.drop() > f64::from(max_drop) => Some(format!(
            "table {name} has {}, and had {}: {:.1} % are gone, max-drop allows {max_drop} %",
            counted(is, "row"),
            count(was),
            table.drop()
        )),
        _ => None,
    }
}

fn page(config: &ValidateConfig, found: Validated) -> Page {
    let Validated { manifest, tables, rows, checked, problems, warnings } = found;
    let database = &config.target.dbname;
    let passed = problems.is_empty();
    let mut page = Page::new(
        "validate",
        match passed {
            true => format!("{database}: nothing is missing since backup {}", manifest.id),
            false => format!("{database}: {} since backup {}", counted(problems.len() as u64, "problem"), manifest.id),
        },
    );
    if !passed {
        (page.verdict, page.exit_code) = (Verdict::Bad, 3);
    } else if !warnings.is_empty() {
        page.verdict = Verdict::Doubtful;
    }
    page.facts = vec![
        ("backup", format!("{}, taken at {}", manifest.id, manifest.taken_at)),
        ("database", config.target.redacted()),
        ("tables", count(manifest.totals.tables)),
        ("rows", format!("{}, were {}", count(rows), count(manifest.totals.rows))),
    ];
    if !checked.is_empty() {
        let failed = checked.iter().filter(|c| c.failure.is_some()).count();
        let passed = count((checked.len() - failed) as u64);
        page.facts.push(("checks", format!("{passed} passed, {} failed", count(failed as u64))));
    }
    page.lists =
        vec![("problems", problems.clone()), ("tables that changed", tables.iter().map(Changed::line).collect())];
    page.lists.retain(|(_, lines)| !lines.is_empty());
    page.outputs = vec![("validated", passed.to_string()), ("backup-id", manifest.id.clone())];
    page.json = json!({
        "validated": passed, "backup_id": manifest.id, "problems": problems, "tables": tables, "checks": checked,
        "rows_before": manifest.totals.rows, "rows_after": rows,
    });
    page.warnings = warnings;
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_names() {
        for (pattern, name, expected) in [
            ("public.orders", "public.orders", true),
            ("public.orders", "public.orders2", false),
            ("public.tmp_*", "public.tmp_x", true),
            ("*", "a.b", true),
            ("*.log*x", "audit.login_x", true),
            ("*.log*x", "audit.login_y", false),
            ("", "a", false),
        ] {
            assert_eq!(glob(name, pattern), expected, "{pattern} {name}");
        }
    }
}
