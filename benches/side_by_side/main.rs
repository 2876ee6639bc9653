//! savepoint beside pg_dump and its friends: the same data, the same servers, round by round. `make bench` runs it;
//! `cargo test` runs its quick form, to see that it works. docs/performance.md says how to read what it prints.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod data;
mod distance;
mod measure;
mod options;
mod parts;
mod peers;
mod report;
mod stage;
#[path = "../../tests/it/support/mod.rs"]
mod support;

use options::Options;
use report::Report;
use stage::Stage;
use std::{collections::HashMap, path::Path, process::ExitCode, time::Instant};
use support::Result;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = Options::parse(&args).and_then(|options| options.map_or(Ok(true), run));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when every competitor ended well.
fn run(options: Options) -> Result<bool> {
    let began = Instant::now();
    let stage = Stage::start(options)?;
    let (mut report, mut sets) = (Report::default(), HashMap::new());
    let mut outcome = Ok(());
    for part in stage.options.parts.clone() {
        outcome = match part.as_str() {
            "dump" => parts::dump(&stage, &mut report, &mut sets),
            "restore" => parts::restore(&stage, &mut report, &mut sets),
            "distance" => parts::distance(&stage, &mut report, &mut sets),
            "growth" => parts::growth(&stage, &mut report),
            "memory" => parts::memory(&stage, &mut report, &mut sets),
            _ => parts::tps(&stage, &mut report),
        };
        if outcome.is_err() {
            break;
        }
    }
    // What was measured before a failure is written too.
    let dir = if stage.options.test { stage.scratch.path().join("report") } else { target().join("bench") };
    report.write(&dir, &stage)?;
    let (parts, tables, runs, failed) =
        (stage.options.parts.len(), report.tables.len(), report.runs, report.failures.len());
    let skipped = if report.skipped.is_empty() { String::new() } else { format!(", {} SKIPPED", report.skipped.len()) };
    let seconds = began.elapsed().as_secs_f64();
    outcome?;
    println!("bench: {parts} parts, {tables} tables, {runs} runs, {failed} failed{skipped}, {seconds:.0} s");
    if !stage.options.test {
        println!("bench: {} and report.json", dir.join("report.md").display());
    }
    Ok(report.failures.is_empty())
}

/// Cargo's target folder.
fn target() -> std::path::PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR");
    set.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), Into::into)
}
