#!/usr/bin/env bash
# savepoint against `pg_dump -Fc` on the same database, server and disk, round by round. Prints the wall time of each and its
# ratio to pg_dump's in the same run; this machine's seconds mean little elsewhere. Stores into a local folder: no upload.
#   scripts/bench.sh [ROUNDS (3)] [ROWS (400000)]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=${1:-3} rows=${2:-400000}
scripts/test-stack.sh
bin=$(cd "${SAVEPOINT_TEST_STACK:-target/test-stack}/pg/17/bin" && pwd)
echo 'bench: building the release binary' >&2
cargo build --release --quiet
savepoint=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/savepoint

work=$(mktemp -d "${TMPDIR:-/tmp}/savepoint-bench.XXXXXX")
chmod 755 "$work"
as_server() {
  if [ "$(id -u)" = 0 ]; then (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups "$@"); else "$@"; fi
}
stop() {
  if [ -f "$work/server/data/postmaster.pid" ]; then as_server "$bin/pg_ctl" -D "$work/server/data" -m immediate -w stop; fi \
    >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap stop EXIT
mkdir -m 700 "$work/server"
if [ "$(id -u)" = 0 ]; then chown 65534:65534 "$work/server"; fi
unset DATABASE_URL "${!PG@}" "${!SAVEPOINT_@}" "${!GITHUB_@}"
export LD_LIBRARY_PATH="$bin/../lib" PGHOST=127.0.0.1 PGUSER=postgres PGPORT=54420
while (exec 3<>"/dev/tcp/$PGHOST/$PGPORT") 2>/dev/null; do PGPORT=$((PGPORT + 1)); done
as_server "$bin/initdb" -D "$work/server/data" -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8 >/dev/null
as_server "$bin/pg_ctl" -D "$work/server/data" -l "$work/server/log" -w \
  -o "-p $PGPORT -c listen_addresses=$PGHOST -c unix_socket_directories= -c fsync=off -c shared_buffers=512MB" start >/dev/null
"$bin/createdb" mixed
# One table of most of the bytes, two with keys between them, and many small ones; the same on every machine.
"$bin/psql" -X -q -v ON_ERROR_STOP=1 -v rows="$rows" -d mixed >/dev/null <<'SQL'
SELECT setseed(0.42);
CREATE TABLE events AS SELECT g AS id, timestamptz '2025-01-01' + g * interval '7 s' AS at, md5(random()::text)::uuid AS session,
  jsonb_build_object('user', (random() * 1e5)::int, 'path', '/p/' || (random() * 999)::int, 'ms', round((random() * 900)::numeric, 2),
    'agent', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36') AS data,
  repeat('event ' || (random() * 50)::int || ' ', 6 + (random() * 20)::int) AS note
  FROM generate_series(1, :rows) g;
CREATE TABLE users AS SELECT g AS id, 'user' || g || '@example.com' AS email, random() AS score FROM generate_series(1, :rows / 8) g;
ALTER TABLE users ADD PRIMARY KEY (id);
CREATE TABLE orders AS SELECT g AS id, 1 + (random() * (:rows / 8 - 1))::int AS user_id, (random() * 1000)::numeric(10, 2) AS total
  FROM generate_series(1, :rows / 4) g;
ALTER TABLE orders ADD PRIMARY KEY (id), ADD FOREIGN KEY (user_id) REFERENCES users;
CREATE INDEX ON events (at);
SELECT format('CREATE TABLE small_%s AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 50) g', g) FROM generate_series(1, 100) g \gexec
SQL
"$bin/psql" -X -Atq -d mixed -c "SELECT 'database: ' || pg_size_pretty(pg_database_size('mixed'))"

timed() { # timed NAME COMMAND…: appends "NAME seconds bytes"
  local name=$1 began ended
  shift
  rm -rf "$work/out" && mkdir "$work/out"
  began=$(date +%s%N)
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  ended=$(date +%s%N)
  printf '%s %s %s\n' "$name" "$(((ended - began) / 1000000))" "$(du -sb "$work/out" | cut -f1)" >>"$work/times"
}
ours() { "$savepoint" backup --database-url "postgresql://$PGUSER@$PGHOST:$PGPORT/mixed" --destination "$work/out" --pg-bin-dir "$bin" --quiet --verify "$1"; }
for round in $(seq "$rounds"); do
  echo "bench: round $round of $rounds" >&2
  timed 'pg_dump-Fc' "$bin/pg_dump" -Fc -f "$work/out/dump" mixed
  timed 'savepoint-verify-none' ours none
  timed 'savepoint-verify-rows' ours rows
  timed 'savepoint-verify-content' ours content
done
sort -k1,1 -k2,2n "$work/times" | awk '
  { n[$1]++; t[$1, n[$1]] = $2; size[$1] = $3 }
  END {
    base = t["pg_dump-Fc", int((n["pg_dump-Fc"] + 1) / 2)]
    printf "%-26s %10s %10s %10s %16s %12s\n", "", "median s", "min", "max", "pg_dump / this", "MB stored"
    split("pg_dump-Fc savepoint-verify-none savepoint-verify-rows savepoint-verify-content", order, " ")
    for (i = 1; i <= 4; i++) { k = order[i]; m = t[k, int((n[k] + 1) / 2)]
      printf "%-26s %10.2f %10.2f %10.2f %16.2f %12.1f\n", k, m / 1000, t[k, 1] / 1000, t[k, n[k]] / 1000, base / m, size[k] / 1e6 }
  }'
