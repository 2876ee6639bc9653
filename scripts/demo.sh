#!/usr/bin/env bash
# A whole backup on this machine: a throwaway PostgreSQL with data, `savepoint backup` into a folder with its proof, then
# plain tar and pg_restore of what was stored into a second database. Everything is removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/server.sh
bold='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
shown() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; }
fail() { printf 'demo: %s\nhint: %s\n' "$1" "$2" >&2; exit 1; }

command -v cargo >/dev/null || fail 'cargo is missing' 'install Rust: https://rustup.rs'

# PostgreSQL: the tests' own, else this machine's, else Debian's.
server_bin() {
  local dir
  for dir in "${SAVEPOINT_TEST_STACK:-target/test-stack}"/pg/17/bin /usr/lib/postgresql/*/bin; do
    if [ -x "$dir/postgres" ] && [ -x "$dir/pgbench" ]; then (cd "$dir" && pwd); return; fi
  done
  return 1
}
if ! bin=$(server_bin); then
  cure='apt-get install postgresql, or run scripts/test-stack.sh'
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then fail 'PostgreSQL is missing' "$cure"; fi
  say 'Installing PostgreSQL'
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends postgresql; } \
    >/dev/null || fail 'PostgreSQL could not be installed' "$cure"
  bin=$(server_bin) || fail 'PostgreSQL is still missing' 'run scripts/test-stack.sh'
fi

say 'Building savepoint (some minutes the first time)'
cargo build --quiet
target=${CARGO_TARGET_DIR:-target}
savepoint=$(cd "$target/debug" && pwd)/savepoint

version=$("$bin/postgres" --version)
say "Starting a throwaway PostgreSQL ${version#postgres (PostgreSQL) } and filling a database"
start_server demo "$bin"
"$bin/createdb" shop
"$bin/pgbench" -i -q -s 10 shop 2>/dev/null
"$bin/psql" -X -q -v ON_ERROR_STOP=1 -d shop <<'SQL'
CREATE TYPE state AS ENUM ('open', 'paid', 'sent');
CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, tags jsonb DEFAULT '{}');
CREATE TABLE orders (
  id bigint NOT NULL, customer bigint NOT NULL REFERENCES customers, at date NOT NULL, state state DEFAULT 'open', total numeric
) PARTITION BY RANGE (at);
CREATE TABLE orders_2025 PARTITION OF orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO customers (name) SELECT 'Customer ' || g FROM generate_series(1, 5000) g;
INSERT INTO orders SELECT g, 1 + g % 5000, date '2025-01-01' + g % 700, 'paid', g % 1000 FROM generate_series(1, 100000) g;
CREATE MATERIALIZED VIEW turnover AS SELECT date_trunc('month', at) AS month, sum(total) FROM orders GROUP BY 1;
SELECT lo_from_bytea(0, decode(repeat('cafe', 50000), 'hex')) \g /dev/null
SQL
# table|rows of every table and materialized view; the counts are queries that psql makes and runs.
counts() {
  "$bin/psql" -X -A -t -v ON_ERROR_STOP=1 -d "$1" <<'SQL'
SELECT format('SELECT %L, count(*) FROM %s', oid::regclass, oid::regclass) FROM pg_class
 WHERE relkind IN ('r', 'm') AND relnamespace = 'public'::regnamespace ORDER BY relname \gexec
SQL
}
counts shop >"$work/source"

cd "$work"
shown "export DATABASE_URL=postgresql://postgres:…@$PGHOST:$PGPORT/shop
$ savepoint backup --destination ./backups"
DATABASE_URL="postgresql://postgres:$PGPASSWORD@$PGHOST:$PGPORT/shop" \
  "$savepoint" backup --destination ./backups --pg-bin-dir "$bin"

stored=$(find backups -name manifest.json -printf '%h\n')
shown "cd $stored && find . -type f -printf '%8s  %P\n' | sort -k2"
(cd "$stored" && find . -type f -printf '%8s  %P\n' | sort -k2)

# The commands that the summary ends with; nothing of savepoint runs from here on.
shown "cp -r $stored/archive ./archive
$ for pack in ./archive/pack-*.tar*; do tar -xf \"\$pack\" -C ./archive; done
$ createdb -T template0 restored && pg_restore -d restored -j4 --exit-on-error ./archive"
cp -r "$stored/archive" ./archive
for pack in ./archive/pack-*.tar*; do tar -xf "$pack" -C ./archive; done
"$bin/createdb" -T template0 restored
"$bin/pg_restore" -d restored -j4 --exit-on-error ./archive
counts restored >"$work/restored"

say 'Rows'
printf '%-20s %10s %10s\n' table source restored
join -t'|' -a1 -a2 -e missing -o 0,1.2,2.2 "$work/source" "$work/restored" |
  awk -F'|' '{ printf "%-20s %10s %10s%s\n", $1, $2, $3, $2 == $3 ? "" : "  <- differs" }'
cmp -s "$work/source" "$work/restored" || fail 'the restored rows differ' 'this should not happen; please report it'
say 'Each count is that of the source. The content of each row had been compared before, by the proof above.'
echo 'The servers and the backup are removed now. Next: savepoint check, with your own database (README.md).'
