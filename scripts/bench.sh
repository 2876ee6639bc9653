#!/usr/bin/env bash
# savepoint side by side with pg_dump and its friends, on a real PostgreSQL and a real S3 server of its own. Fetches what is missing,
# builds the release binary and runs benches/side_by_side; docs/performance.md says what it measures and how to read it.
#   scripts/bench.sh [--quick] [--sets LIST] [--parts LIST] [--rounds N] [--scale F] [--rate MBIT] [--jobs N] [--brief]     (--help: the same, longer)
# --quick: everything once on tiny data, with the debug binary: shows that it works, and its figures mean nothing.
# Results: the terminal, target/bench/report.md and target/bench/report.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
awscli=1.46.2

fail() { printf 'bench: %s\nhint: %s\n' "$1" "$2" >&2; exit 1; }

scripts/test-stack.sh
# One version of the competitors' uploader everywhere, without an installation on the system.
tools=target/bench-tools
if [ "$("$tools/bin/aws" --version 2>/dev/null | sed 's|^aws-cli/\([^ ]*\) .*|\1|')" != "$awscli" ]; then
  echo "bench: fetching awscli $awscli" >&2
  rm -rf "$tools"
  # Without pip of its own, which Debian would have in one more package.
  python3 -m venv --without-pip "$tools" || fail 'python3 makes no virtual environment' 'apt-get install python3-venv'
  python="$PWD/$tools/bin/python3"
  modules=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 20 --only-binary :all: \
    --target "$modules" "awscli==$awscli" ||
    fail 'the AWS command line cannot be had' "check that pip reaches its package index: python3 -m pip download awscli==$awscli"
  { echo "#!$python" && tail -n +2 "$modules/bin/aws"; } >"$tools/bin/aws"
  chmod +x "$tools/bin/aws"
fi

quick=
for arg in "$@"; do if [ "$arg" = --quick ]; then quick=1; fi; done
if [ -n "$quick" ]; then
  exec cargo test --quiet --bench side_by_side -- --bench "$@"
fi
echo 'bench: building the release binary' >&2
exec cargo bench --quiet --bench side_by_side -- "$@"
