#!/usr/bin/env bash
# Feeds everything that reads bytes of others (fuzz/src/targets.rs) what libFuzzer makes of real files, and fails when a target panics,
# takes too long or too much memory. The compiler is the stable one: coverage is LLVM's own pass, which rustc hands on as a flag of code
# generation. Inputs of earlier runs are gone on from; they lie below target/fuzz.
#
#   scripts/fuzz.sh [SECONDS [TARGET …]]     all targets, or these, in turn; 60 seconds in all where nothing is said
#   scripts/fuzz.sh TARGET FILE              one input, such as one that failed
#   scripts/fuzz.sh --keep                   what was found so far and covers more than fuzz/seeds: some of it into fuzz/corpus
#
# `cargo test --test it fuzz` replays fuzz/seeds and fuzz/corpus through every target, without libFuzzer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# A length that a file merely claims is not allocated: memory is touched only where there are bytes, so the address space is what counts.
address_space_kib=$((2 << 20))
resident_mib=512
slowest_seconds=10
most_kept_bytes=$((14 << 10))
most_kept=60

fail() { printf 'fuzz: %s\nhint: %s\n' "$1" "$2" >&2; exit 1; }

command -v c++ >/dev/null || fail 'libFuzzer is built by a C++ compiler, and there is none' 'apt-get install g++'
work=${CARGO_TARGET_DIR:-$PWD/target/fuzz}
host=$(rustc -vV | sed -n 's/^host: //p')
flags='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters'
flags+=' -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares'
echo 'fuzz: building' >&2
# The very dependencies that are released, and libFuzzer besides.
cp Cargo.lock fuzz/Cargo.lock
# With a target named, build scripts and macros are not covered.
RUSTFLAGS=$flags cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target-dir "$work" --target "$host"
program=$work/$host/release/savepoint-fuzz
mapfile -t targets < <(sed -n 's/^    ("\([a-z]*\)", [a-z]*),$/\1/p' fuzz/src/targets.rs)

# On a file system in memory where there is one: some targets read a file.
memory=$(mktemp -d "$(if [ -w /dev/shm ]; then echo /dev/shm; else echo /tmp; fi)/savepoint-fuzz.XXXXXX")
trap 'rm -rf "$memory"' EXIT
fuzz() ( # fuzz TARGET ARGUMENT …
  ulimit -v "$address_space_kib" -c 0
  export FUZZ_TARGET=$1 TMPDIR=$memory MALLOC_ARENA_MAX=1 RUST_BACKTRACE=${RUST_BACKTRACE:-1}
  shift
  exec "$program" -rss_limit_mb="$resident_mib" -timeout="$slowest_seconds" "$@"
)

if [ "${1:-}" = --keep ]; then
  for target in "${targets[@]}"; do
    mkdir -p "$work/inputs/$target" "fuzz/corpus/$target" "$memory/$target"
    cp "fuzz/seeds/$target"/* "$memory/$target"
    fuzz "$target" -set_cover_merge=1 "$memory/$target" "fuzz/corpus/$target" "$work/inputs/$target" >"$memory/log" 2>&1 || { cat "$memory/log" >&2; exit 1; }
    rm -rf "fuzz/corpus/$target"
    bytes=0 kept=0
    while read -r size file; do
      if [ -e "fuzz/seeds/$target/$file" ] || ((bytes + size > most_kept_bytes || kept >= most_kept)); then continue; fi
      mkdir -p "fuzz/corpus/$target"
      cp "$memory/$target/$file" "fuzz/corpus/$target"
      bytes=$((bytes + size)) kept=$((kept + 1))
    done < <(find "$memory/$target" -type f -size -1025c -printf '%s %f\n' | sort -rn)
    printf 'fuzz: %-10s %3d inputs, %5d bytes kept beside the seeds\n' "$target" "$kept" "$bytes"
  done
  exit
fi
if [ $# = 2 ] && [ -f "$2" ]; then
  fuzz "$1" "$2"
  exit
fi

seconds=${1:-60}
[ $# -gt 0 ] && shift
[[ $seconds =~ ^[0-9]+$ ]] || fail "$seconds is no number of seconds" 'scripts/fuzz.sh 60'
for target in "$@"; do
  [[ " ${targets[*]} " == *" $target "* ]] || fail "there is no target $target" "one of: ${targets[*]}"
done
[ $# = 0 ] || targets=("$@")
each=$((seconds / ${#targets[@]}))
# 0 would be without an end.
if ((each == 0)); then each=1; fi
failed=()
mkdir -p "$work/failed"
for target in "${targets[@]}"; do
  inputs=$work/inputs/$target
  mkdir -p "$inputs" "fuzz/corpus/$target"
  log=$work/$target.log
  if ! fuzz "$target" -max_total_time="$each" -print_final_stats=1 -artifact_prefix="$work/failed/$target-" \
    "$inputs" "fuzz/corpus/$target" "fuzz/seeds/$target" >"$log" 2>&1; then
    failed+=("$target")
    grep -v '^#' "$log" | tail -n 60 >&2
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    printf 'fuzz: %s failed; the input is %s\nhint: scripts/fuzz.sh %s %s\n' \
      "$target" "${input:-not known}" "$target" "${input:-FILE}" >&2
    continue
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  first=$(sed -n 's/.*INITED cov: \([0-9]*\) ft: \([0-9]*\).*/\1 \2/p' "$log")
  last=$(sed -n 's/.*DONE *cov: \([0-9]*\) ft: \([0-9]*\).*/\1 \2/p' "$log")
  printf 'fuzz: %-10s %10d runs in %d s; edges %d to %d, features %d to %d\n' \
    "$target" "$runs" "$each" "${first% *}" "${last% *}" "${first#* }" "${last#* }"
done
rmdir fuzz/corpus/* 2>/dev/null || true
[ ${#failed[@]} = 0 ] || exit 1
