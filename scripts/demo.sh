#!/usr/bin/env bash
# A whole backup on this machine: a throwaway PostgreSQL with data, `savepoint backup` into a folder with its proof, then
# plain pg_restore of what was stored into a second database. Everything is removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
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
  [ "$(id -u)" = 0 ] || fail 'PostgreSQL is missing' 'apt-get install postgresql, or run scripts/test-stack.sh'
  say 'Installing PostgreSQL'
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends postgresql; } \
    >/dev/null || fail 'PostgreSQL could not be installed' 'apt-get install postgresql'
  bin=$(server_bin) || fail 'PostgreSQL is still missing' 'run scripts/test-stack.sh'
fi

say 'Building savepoint'
cargo build --quiet
savepoint=${CARGO_TARGET_DIR:-target}/debug/savepoint

work=$(mktemp -d)
chmod 755 "$work"
# PostgreSQL refuses to run as root.
as_server() {
  if [ "$(id -u)" = 0 ]; then (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups "$@"); else "$@"; fi
}
stop() {
  if [ -f "$work/server/data/postmaster.pid" ]; then as_server "$bin/pg_ctl" -D "$work/server/data" -m immediate -w stop; fi \
    >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap stop EXIT
mkdir "$work/server"
if [ "$(id -u)" = 0 ]; then chown 65534:65534 "$work/server"; fi

export LD_LIBRARY_PATH="$bin/../lib"
say "Starting a throwaway $("$bin/postgres" --version)"
as_server "$bin/initdb" -D "$work/server/data" -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8 >/dev/null
as_server "$bin/pg_ctl" -D "$work/server/data" -l "$work/server/log" -w \
  -o "-c listen_addresses= -c unix_socket_directories=$work/server -c fsync=off" start >/dev/null
unset "${!PG@}" "${!SAVEPOINT_@}"
export PGHOST="$work/server" PGUSER=postgres
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

say '$ savepoint backup --database-url postgresql:///shop --destination ./backups'
"$savepoint" backup --pg-bin-dir "$bin" --database-url "host=$work/server user=postgres dbname=shop" \
  --destination "$work/backups"
stored=$(find "$work/backups" -name manifest.json -printf '%h\n')
(cd "$work" && find "${stored#"$work"/}" -type f | sort | sed -n '1,12p')

say '$ pg_restore -j4 -d shop_restored …/archive      # plain PostgreSQL, none of our code'
"$bin/createdb" shop_restored
"$bin/pg_restore" -j4 --exit-on-error -d shop_restored "$stored/archive"
count="SELECT table_schema || '.' || table_name AS \"table\", (xpath('/row/n/text()', query_to_xml(
  format('SELECT count(*) AS n FROM %I.%I', table_schema, table_name), false, true, '')))[1]::text::bigint AS rows
  FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
"$bin/psql" -X -d shop -c "$count" >"$work/before"
"$bin/psql" -X -d shop_restored -c "$count" >"$work/after"
cat "$work/after"
diff "$work/before" "$work/after" || fail 'the restored rows differ' 'this should not happen; please report it'
echo 'Each count equals that of the source.'
