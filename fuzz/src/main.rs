//! One target of `targets.rs`, named by the environment, under libFuzzer: see `scripts/fuzz.sh`.
#![no_main]

mod targets;

use std::sync::LazyLock;

static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = targets::TARGETS.iter().find(|(target, _)| *target == name);
    target.unwrap_or_else(|| panic!("FUZZ_TARGET names none of {:?}", targets::TARGETS.iter().map(|t| t.0))).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (RUN)(data));
