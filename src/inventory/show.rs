//! `savepoint show`: everything that is known of one stored backup.

use super::{READS, destination_options};
use crate::{
    clock::{age, moment},
    error::{Error, Kind, Result},
    report::{
        self,
        format::{bytes, count, counted, seconds, shell_word},
        page::{Page, Table, Verdict},
    },
    sign::PublicKeys,
    store::Destination,
    vault::{
        Manifest, Pick, Proof, RunContext, Stored, VerifyLevel,
        find::{self, Found},
        manifest::TakenBy,
        read::{Signed, last_proof_of, proof_of, signed},
    },
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::collections::HashMap;
use time::OffsetDateTime;

/// Which backup is shown.
#[derive(Clone, Debug)]
pub struct ShowConfig {
    /// Where backups lie.
    pub destination: Destination,
    /// The backup.
    pub pick: Pick,
    /// Show only what one of these keys signed.
    pub verify_key: Option<PublicKeys>,
}

/// What each of several places holds of a backup, in a line each, and a line for each that holds none.
async fn copies(config: &ShowConfig, stored: &Stored, of: &Signed) -> (Vec<String>, Vec<String>) {
    let (mut copies, mut missing) = (Vec::new(), Vec::new());
    let places = config.destination.each();
    for place in places.iter().filter(|_| places.len() > 1) {
        let looked = async {
            let store = find::open(place).await?;
            let objects = store.list(&stored.folder).await?;
            let there = Stored { objects, ..stored.clone() };
            if !there.committed() {
                return Err(Error::new(Kind::NotFound, "it does not lie there"));
            }
            Ok((store.uri(&there.folder), last_proof_of(&store, &there, of, config.verify_key.as_ref()).await?))
        };
        match looked.await {
            Ok((uri, None)) => copies.push(format!("{uri}: not proven")),
            Ok((uri, Some(proof))) if !proof.passed => missing.push(format!("{uri}: its last proof failed")),
            Ok((uri, Some(Proof { equal_to: None, .. }))) => copies.push(format!("{uri}: proven")),
            Ok((uri, Some(_))) => {
                copies.push(format!("{uri}: proven, read back and equal to the copy that was restored"))
            }
            Err(e) => missing.push(format!("no good copy in {}: {}", place.label(), e.one_line())),
        }
    }
    (copies, missing)
}

/// Facts, tables, proofs and files of one backup, and the commands that restore it.
///
/// # Errors
/// When the backup is not there, or its manifest cannot be read. A proof record that cannot be read is a warning.
pub async fn show(config: &ShowConfig) -> Result<Page> {
    let place = find::place(&config.destination, &config.pick).await?;
    let (store, Found { backups, strangers }) = (place.store, place.found);
    let stored = the_one(backups)?;
    let trusted = config.verify_key.as_ref();
    let of = signed(&store, &stored, trusted).await?;
    let Signed { manifest, sha256, receipt } = &of;
    let proofs: Vec<(String, Result<Proof>)> = stream::iter(stored.proofs().map(str::to_owned))
        .map(|key| async {
            let proof = proof_of(&store, &key, &of, trusted).await;
            (key, proof)
        })
        .buffered(READS)
        .collect()
        .await;
    let uri = store.uri(&stored.folder);
    let options = destination_options(&store, &place.destination);
    let ours = format!("savepoint restore {} {options} --to \"$TARGET\"", shell_word(&stored.id));
    let without_us = report::restore_commands(&uri, &place.destination.options(), manifest);
    let now = OffsetDateTime::now_utc();

    let mut page = Page::new("show", format!("{}: backup {}", stored.database, stored.id));
    page.warnings = strangers;
    page.warnings.extend(place.passed_over);
    page.warnings.extend(missing(&stored, manifest));
    page.warnings.extend(receipt.warning(&format!("backup {}", stored.id)));
    page.warnings.extend(proofs.iter().filter_map(|(_, proof)| proof.as_ref().err().map(Error::one_line)));
    let proofs: Vec<(String, Proof)> =
        proofs.into_iter().filter_map(|(key, proof)| Some((store.uri(&key), proof.ok()?))).collect();
    let last = proofs.last().map(|(_, proof)| proof);
    if !page.warnings.is_empty() || last.is_some_and(|p| !p.passed) {
        page.verdict = Verdict::Doubtful;
    }
    page.facts = facts(&of, &uri, last, now);
    // The bucket knows better than the manifest: a lock may have been made longer, or lifted.
    let seen = store.lock(&stored.manifest_key()).await.unwrap_or_default();
    let lock = seen.over(manifest.lock.clone());
    page.facts.extend(lock.as_ref().map(|lock| ("locked", lock.line())));
    let (copies, missing) = copies(config, &stored, &of).await;
    page.facts.extend(copies.into_iter().map(|line| ("copy", line)));
    if !missing.is_empty() {
        page.verdict = Verdict::Doubtful;
        page.warnings.extend(missing);
    }
    page.tables = vec![proof_table(&proofs, now), tables(manifest)];
    if let Some(proof) = last {
        page.lists.push(("differences of the last proof", proof.differences.clone()));
        page.lists.push(("not proven by the last proof", proof.unproven.clone()));
    }
    page.lists.push(("left out", manifest.left_out.clone()));
    page.commands = vec![("restore", vec![ours.clone()]), ("restore without us", without_us.clone())];
    page.outputs = vec![
        ("backup-id", stored.id.clone()),
        ("uri", uri.clone()),
        ("manifest-uri", store.uri(&stored.manifest_key())),
        ("manifest-sha256", sha256.clone()),
        ("verified", last.is_some_and(Proof::reads_and_passed).to_string()),
        ("restore-command", without_us.join(" && ")),
    ];
    page.json = json!({
        "backup": without_chunks(manifest)?, "uri": uri, "manifest_sha256": sha256, "signature": receipt.json(),
        "proofs": proofs.iter().map(|(uri, p)| json!({ "uri": uri, "proof": p })).collect::<Vec<_>>(),
        "lock": lock, "objects": stored.objects.len(), "object_bytes": stored.bytes(),
        "restore_command": ours, "restore_commands": without_us,
    });
    Ok(page)
}

/// The only backup that was found.
pub(super) fn the_one(mut found: Vec<Stored>) -> Result<Stored> {
    match (found.pop(), found.len()) {
        (Some(stored), 0) => Ok(stored),
        (Some(stored), n) => Err(Error::new(Kind::Usage, format!("{} backups have the id {}", n + 1, stored.id))
            .hint("give the whole address of one: savepoint list --json shows them")),
        (None, _) => Err(Error::new(Kind::NotFound, "no backup was found")),
    }
}

/// The name of a level in options.
pub(super) fn level(level: VerifyLevel) -> &'static str {
    match level {
        VerifyLevel::Content => "content",
        VerifyLevel::Rows => "rows",
        VerifyLevel::Archive => "archive",
        VerifyLevel::Sent => "sent",
        VerifyLevel::None => "none",
    }
}

/// Files that the manifest names and the listing does not have, or has in another size.
fn missing(stored: &Stored, manifest: &Manifest) -> Vec<String> {
    let there: HashMap<&str, u64> =
        stored.objects.iter().filter_map(|o| Some((o.key.strip_prefix(&stored.folder)?, o.size))).collect();
    let wrong = |path: &str, size: u64| match there.get(path) {
        None => Some(format!("stored file {path} is missing")),
        Some(is) if *is != size => {
            Some(format!("stored file {path} has {} bytes, its manifest says {}", count(*is), count(size)))
        }
        Some(_) => None,
    };
    manifest.files.iter().chain(manifest.hidden()).filter_map(|f| wrong(&f.path, f.size)).collect()
}

fn facts(of: &Signed, uri: &str, last: Option<&Proof>, now: OffsetDateTime) -> Vec<(&'static str, String)> {
    let m = &of.manifest;
    let ago = moment(&m.taken_at).map(|at| format!(", {} ago", age(now, at))).unwrap_or_default();
    let source = &m.source;
    let user = if source.user.is_empty() { String::new() } else { format!("{}@", source.user) };
    let from = format!("{user}{}:{}/{}", source.host, source.port, source.database);
    let standby = if source.standby { ", a standby" } else { "" };
    let mut facts = vec![
        ("backup", m.id.clone()),
        ("taken", format!("{} ({}){ago}", m.taken_at, m.kind.name())),
        ("source", format!("{from}, PostgreSQL {}{standby}", source.server_version)),
        ("locale", format!("{}, {}", source.encoding, source.locale.as_deref().unwrap_or(&source.collate))),
        ("stored", uri.to_owned()),
        ("content", content(m)),
        ("size", format!("{}; {} on the source's disk", report::size_line(m), bytes(source.database_bytes))),
    ];
    if let Some(whole) = m.hidden() {
        facts.push(("hidden", format!("what is in the database: age -d of {} shows it", whole.path)));
    }
    facts.extend(report::encrypted_to(m).map(|to| ("encrypted", to)));
    facts.extend(of.receipt.line().map(|by| ("signed", by)));
    let mut files: Vec<_> = m.files.iter().collect();
    files.sort_by_key(|f| std::cmp::Reverse(f.size));
    if let Some(largest) = files.first() {
        let number = counted(files.len() as u64, "file");
        facts.push(("files", format!("{number}, the largest {} ({})", largest.path, bytes(largest.size))));
    }
    facts.push(("proof", last.map_or_else(|| "none".to_owned(), report::proof_line)));
    let names = |list: Vec<String>| list.join(", ");
    let filter = asked_for(m);
    for (name, value) in [
        ("extensions", names(m.extensions.iter().map(|e| format!("{} {}", e.name, e.version)).collect())),
        ("roles", names(m.roles.iter().map(|r| r.name.clone()).collect())),
        ("asked for", filter),
        ("run", run(&m.context)),
    ] {
        if !value.is_empty() {
            facts.push((name, value));
        }
    }
    let phases = m.timings.iter().filter(|(name, _)| *name != "total");
    let phases: Vec<String> = phases.map(|(name, time)| format!("{name} {}", seconds(*time))).collect();
    let total = m.timings.get("total").map(|t| seconds(*t)).unwrap_or_default();
    facts.push(("time", format!("{total} ({})", phases.join(", "))));
    let pg_dump = m.options.pg_dump.trim_start_matches("pg_dump (PostgreSQL) ");
    facts.push(("by", format!("savepoint {}, pg_dump {pg_dump}", m.tool_version)));
    facts
}

fn content(m: &Manifest) -> String {
    let mut parts = vec![counted(m.totals.tables, "table"), counted(m.totals.rows, "row")];
    for (number, noun) in [
        (m.sequences.len(), "sequence"),
        (m.large_objects() as usize, "large object"),
        (m.matviews.len(), "materialized view"),
    ] {
        if number > 0 {
            parts.push(counted(number as u64, noun));
        }
    }
    parts.join(", ")
}

/// The filter as options; empty when everything was taken.
pub(super) fn asked_for(m: &Manifest) -> String {
    let filter = &m.options.filter;
    let mut parts: Vec<String> = [
        ("schemas", &filter.schemas),
        ("exclude-schemas", &filter.exclude_schemas),
        ("tables", &filter.tables),
        ("exclude-tables", &filter.exclude_tables),
        ("exclude-table-data", &filter.exclude_table_data),
    ]
    .into_iter()
    .filter(|(_, patterns)| !patterns.is_empty())
    .map(|(name, patterns)| format!("{name} {}", patterns.join(", ")))
    .collect();
    if filter.schema_only {
        parts.push("schema-only".into());
    }
    parts.join("; ")
}

fn run(c: &RunContext) -> String {
    let commit = c.commit.as_deref().map(|sha| format!("@ {}", sha.chars().take(7).collect::<String>()));
    let actor = c.actor.as_deref().map(|a| format!("by {a}"));
    let parts = [c.repository.clone(), commit, c.git_ref.clone(), c.workflow.clone(), actor, c.run_url.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn proof_table(proofs: &[(String, Proof)], now: OffsetDateTime) -> Table {
    let row = |(_, p): &(String, Proof)| {
        let result = match p.differences.len() {
            _ if p.passed => "passed".to_owned(),
            n => format!("FAILED, {}", counted(n as u64, "difference")),
        };
        let server = p.server.as_ref().map_or("none".to_owned(), |s| format!("PostgreSQL {} ({})", s.version, s.kind));
        // The moments are those of whole seconds.
        let time = if p.timings.is_empty() { String::new() } else { seconds(p.timings.values().sum()) };
        let ago = moment(&p.finished_at).map(|at| age(now, at)).unwrap_or_default();
        vec![p.finished_at.clone(), ago, level(p.level).to_owned(), result, server, time]
    };
    Table {
        title: "proofs".into(),
        columns: vec![
            ("when", false),
            ("age", true),
            ("level", false),
            ("result", false),
            ("restored into", false),
            ("took", true),
        ],
        rows: proofs.iter().rev().map(row).collect(),
        whole: true,
    }
}

fn tables(m: &Manifest) -> Table {
    let mut tables: Vec<_> = m.tables.iter().collect();
    tables.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (&a.schema, &a.name).cmp(&(&b.schema, &b.name))));
    let row = |t: &&crate::vault::manifest::Table| {
        let by = match t.taken_by {
            TakenBy::PgDump => "pg_dump".to_owned(),
            TakenBy::Streams => counted(t.chunks.len() as u64, "stream"),
        };
        vec![count(t.rows), bytes(t.bytes), by, format!("{}.{}", t.schema, t.name)]
    };
    Table {
        title: "tables".into(),
        columns: vec![("rows", true), ("size", true), ("taken by", false), ("table", false)],
        rows: tables.iter().map(row).collect(),
        whole: true,
    }
}

/// The manifest's fields but for the chunks and frames, which only a restore needs.
fn without_chunks(manifest: &Manifest) -> Result<Value> {
    let mut value = serde_json::to_value(manifest)
        .map_err(|e| Error::new(Kind::Archive, "the manifest cannot be shown as JSON").because(e))?;
    for table in value["tables"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        table.remove("chunks");
        table.remove("terminator");
    }
    Ok(value)
}
