#!/usr/bin/env bash
# The parts of a release that need no registry and no runner, so that tests can hold them.
#
#   scripts/release.sh check VERSION        Cargo.toml, Cargo.lock and CHANGELOG.md all say VERSION, and it is not released yet
#   scripts/release.sh notes VERSION        its section of CHANGELOG.md
#   scripts/release.sh pin IMAGE@DIGEST     action.yml runs this image in place of the Dockerfile
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'release: %s\nhint: %s\n' "$1" "$2" >&2; exit 1; }

notes() {
  awk -v version="$1" '
    /^## / { heading = $2; gsub(/[][]/, "", heading); wanted = heading == version; next }
    wanted { print }' CHANGELOG.md | sed -e '/./,$!d'
}

case "${1:-} ${2:-}" in
  'check '[0-9]*)
    version=$2
    [[ $version =~ ^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$ ]] || fail "$version is no version" 'a version is 1.2.3'
    for file in Cargo.toml Cargo.lock; do
      found=$(awk -F'"' '$1 == "name = " { name = $2 } $1 == "version = " && name == "pg-savepoint" { print $2; exit }' "$file")
      [ "$found" = "$version" ] || fail "$file says version $found, not $version" "set it in Cargo.toml, then cargo check"
    done
    [ -n "$(notes "$version")" ] || fail "CHANGELOG.md has no notes for $version" "name the section Unreleased '## $version - DATE'"
    if git ls-remote --exit-code --tags origin "refs/tags/v$version" >/dev/null; then
      fail "v$version is released already" 'choose the next version: a release is never made anew'
    fi
    ;;
  'notes '[0-9]*) notes "$2" ;;
  'pin '*@sha256:*)
    [[ $2 =~ ^[a-z0-9./_-]+@sha256:[0-9a-f]{64}$ ]] || fail "$2 is no image with a digest" 'ghcr.io/owner/name@sha256:…'
    grep -qx '  image: Dockerfile' action.yml || fail 'action.yml does not run the Dockerfile' 'start from the main branch'
    sed -i "s|^  image: Dockerfile\$|  image: docker://$2|" action.yml
    ;;
  *) fail 'nothing to do' 'scripts/release.sh check VERSION | notes VERSION | pin IMAGE@DIGEST' ;;
esac
