#!/usr/bin/env bash
# PostgreSQL as Debian packs it, with extensions that come from nowhere else, and of a major that is not out yet: unpacked, not
# installed, so that it stands beside every other version. Debian's own signatures are checked by apt.
#
#   scripts/debian-postgres.sh [DEST]    DEST: $SAVEPOINT_TEST_STACK, else target/test-stack
#   DEST/pg/17deb/bin, DEST/pg/19/bin    DEST/debian/skipped: why there are none
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dest=${1:-${SAVEPOINT_TEST_STACK:-target/test-stack}}
extensions=(postgresql-17-{timescaledb,pgvector,cron,partman,age,postgis-3})
mkdir -p "$dest/pg" "$dest/debian"
dest=$(readlink -f "$dest")
skip() {
  echo "$1" >"$dest/debian/skipped"
  echo "debian-postgres: skipped: $1" >&2
  exit 0
}
[ -x "$dest/pg/17deb/bin/postgres" ] && [ -x "$dest/pg/19/bin/postgres" ] && exit 0
rm -f "$dest/debian/skipped"

if ! command -v patchelf >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends patchelf; } >/dev/null 2>&1 || true
fi
for program in apt-get dpkg-deb patchelf; do
  command -v "$program" >/dev/null || skip "$program is missing (apt-get install $program)"
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || skip "the keys of Debian's archive are missing (apt-get install debian-archive-keyring)"
# The mirror that this machine's own apt uses.
mirror=$(sed -nE 's|^(URIs:\|deb( \[[^]]*\])?) *(https?://[^ ]*/debian)/?( .*)?$|\3|p' \
  /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1 || true)
[ -n "$mirror" ] || skip "apt names no mirror of Debian"

work=$(mktemp -d "$dest/debian/fetch.XXXXXX")
trap "rm -rf \"\$work\"" EXIT

# unpack NAME MAJOR SUITES PACKAGES…: resolves the packages in the suites, and unpacks those that hold programs and libraries.
unpack() {
  local name=$1 major=$2 suites=$3 root="$work/$1"
  shift 3
  mkdir -p "$root"/{lists/partial,cache/archives/partial,tree,debs}
  : >"$root/status"
  local suite
  for suite in $suites; do echo "deb [signed-by=$keyring] $mirror $suite main"; done >"$root/sources.list"
  local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$root/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null -o "Dir::State::Lists=$root/lists" -o "Dir::State::status=$root/status"
    -o "Dir::Cache=$root/cache" -o APT::Install-Recommends=0 -o APT::Sandbox::User=root -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  "${apt[@]}" update >/dev/null 2>&1 || return 1
  # The last suite may lack some dependencies' newest versions: then those of the release candidate's predecessor will do.
  local named=("$@") listed
  listed=$("${apt[@]}" -y --print-uris install "${named[@]}" 2>/dev/null) ||
    listed=$("${apt[@]}" -y --print-uris install "${named[@]//$major/$((major - 1))}" 2>/dev/null) || return 1
  sed -n "s/^'[^']*' \([^ _]*\)_.*/\1/p" <<<"$listed" | sed -E "s/^(postgresql.*)-$((major - 1))\$/\1-$major/" |
    grep -E '^(lib|zlib1g|proj-data|postgresql-[0-9]|postgresql-client-[0-9])' |
    grep -vE '^lib(perl|systemd-shared|pam-|nss-|llvm|clang|python|mariadb|odbc|poppler|.*-perl$)' | sort -u >"$root/want"
  # shellcheck disable=SC2046 # package names
  (cd "$root/debs" && "${apt[@]}" download $(cat "$root/want") >/dev/null 2>&1) || return 1
  local deb
  for deb in "$root"/debs/*.deb; do dpkg-deb -x "$deb" "$root/tree"; done
  rm -rf "$root"/tree/usr/share/{doc,man,locale,lintian,bug} "$root/tree/usr/lib/postgresql/$major/lib/bitcode"
  # Its own C library and loader, wherever they come to lie.
  rm -rf "${dest:?}/pg/$name"
  mv "$root/tree" "$dest/pg/$name"
  local tree="$dest/pg/$name" loader program
  loader=$(find "$tree" -name 'ld-linux-x86-64.so.2' -type f | head -n 1)
  local libraries="$tree/usr/lib/x86_64-linux-gnu:$tree/lib/x86_64-linux-gnu"
  for program in "$tree/usr/lib/postgresql/$major/bin"/*; do
    [ "$(head -c 4 "$program" | tail -c 3)" = ELF ] || continue
    patchelf ${loader:+--set-interpreter "$loader"} --force-rpath --set-rpath "$libraries" "$program" || return 1
  done
  # PostGIS has one control file for each of its majors; which is the present one is chosen when it is installed.
  local control="$tree/usr/share/postgresql/$major/extension"
  [ ! -e "$control/postgis-3.control" ] || cp "$control/postgis-3.control" "$control/postgis.control"
  ln -sfn "usr/lib/postgresql/$major/bin" "$tree/bin"
  ln -sfn "usr/lib/postgresql/$major/lib" "$tree/lib-pg"
  chmod -R a+rX "$tree"
  "$tree/bin/postgres" --version >&2
}

if [ ! -x "$dest/pg/17deb/bin/postgres" ]; then
  echo 'debian-postgres: PostgreSQL 17 with extensions' >&2
  unpack 17deb 17 trixie postgresql-17 postgresql-client-17 "${extensions[@]}" || skip 'the packages of trixie could not be fetched'
fi
if [ ! -x "$dest/pg/19/bin/postgres" ]; then
  echo 'debian-postgres: PostgreSQL 19' >&2
  unpack 19 19 'experimental sid' postgresql-19 postgresql-client-19 || skip 'the packages of PostgreSQL 19 could not be fetched'
fi
