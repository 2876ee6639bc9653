//! The corpus of the fuzzer, replayed without it: real files, and what it once found. `scripts/fuzz.sh` looks for more.

#[path = "../../fuzz/src/targets.rs"]
mod targets;

use crate::{docs::path, support::Result};
use anyhow::{Context, ensure};
use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
};

#[test]
fn every_input_of_the_corpus_passes() -> Result {
    let mut failed = Vec::new();
    for (name, run) in targets::TARGETS {
        let mut inputs = 0;
        for folder in ["seeds", "corpus"] {
            let folder = path(&format!("fuzz/{folder}/{name}"));
            if !folder.exists() {
                continue;
            }
            for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let file = entry?.path();
                let bytes = fs::read(&file)?;
                inputs += 1;
                if catch_unwind(AssertUnwindSafe(|| run(&bytes))).is_err() {
                    failed.push(format!("scripts/fuzz.sh {name} {}", file.display()));
                }
            }
        }
        ensure!(inputs > 1, "target {name} has {inputs} inputs");
    }
    ensure!(failed.is_empty(), "these fail: {failed:#?}");
    Ok(())
}

#[test]
fn every_folder_of_inputs_belongs_to_a_target() -> Result {
    let known: BTreeSet<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    for folder in ["fuzz/seeds", "fuzz/corpus"] {
        for entry in fs::read_dir(path(folder))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            ensure!(known.contains(name.as_str()), "{folder}/{name} belongs to no target");
        }
    }
    Ok(())
}
