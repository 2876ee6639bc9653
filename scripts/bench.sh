#!/usr/bin/env bash
# savepoint against `pg_dump -Fc` on the same database, server and disk, round by round. Prints the wall time of each and its
# ratio to pg_dump's in the same run; this machine's seconds mean little elsewhere. Stores into a local folder: no upload. Then the same for
# restoring one backup: `savepoint restore` against `pg_restore -j4`.
#   scripts/bench.sh [ROUNDS (3)] [ROWS (400000)]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/server.sh
rounds=${1:-3} rows=${2:-400000}
scripts/test-stack.sh
bin=$(cd "${SAVEPOINT_TEST_STACK:-target/test-stack}/pg/17/bin" && pwd)
echo 'bench: building the release binary' >&2
cargo build --release --quiet
savepoint=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/savepoint

start_server bench "$bin" -c shared_buffers=512MB
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
ours() { PGDATABASE=mixed "$savepoint" backup --destination "$work/out" --pg-bin-dir "$bin" --quiet --verify "$1"; }
for round in $(seq "$rounds"); do
  echo "bench: round $round of $rounds" >&2
  timed 'pg_dump-Fc' "$bin/pg_dump" -Fc -f "$work/out/dump" mixed
  timed 'savepoint-verify-none' ours none
  timed 'savepoint-verify-rows' ours rows
  timed 'savepoint-verify-content' ours content
done

echo 'bench: a backup to restore' >&2
PGDATABASE=mixed "$savepoint" backup --destination "$work/keep" --pg-bin-dir "$bin" --quiet >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
archive=$(echo "$work"/keep/mixed/*/*/*/*/archive)
pg_restore_j4() { "$bin/createdb" -T template0 -E UTF8 --locale=C.UTF-8 restored && "$bin/pg_restore" -j4 -d restored "$archive"; }
restore() {
  SAVEPOINT_TO="host=$PGHOST port=$PGPORT user=$PGUSER password=$PGPASSWORD dbname=mixed" \
    "$savepoint" restore latest --destination "$work/keep" --create restored \
    --pg-bin-dir "$bin" --quiet --verify "$1"
}
for round in $(seq "$rounds"); do
  echo "bench: restore, round $round of $rounds" >&2
  for what in pg_restore_j4 'restore none' 'restore content'; do
    # shellcheck disable=SC2086 # a function and its argument
    timed "${what// /-}" $what
    "$bin/dropdb" restored
  done
done
report() { # report BASE OTHERS…
  sort -k1,1 -k2,2n "$work/times" | awk -v names="$*" '
  { n[$1]++; t[$1, n[$1]] = $2; size[$1] = $3 }
  END {
    count = split(names, order, " ")
    base = t[order[1], int((n[order[1]] + 1) / 2)]
    printf "%-26s %10s %10s %10s %16s %12s\n", "", "median s", "min", "max", order[1] " / this", "MB stored"
    for (i = 1; i <= count; i++) { k = order[i]; m = t[k, int((n[k] + 1) / 2)]
      printf "%-26s %10.2f %10.2f %10.2f %16.2f %12.1f\n", k, m / 1000, t[k, 1] / 1000, t[k, n[k]] / 1000, base / m, size[k] / 1e6 }
  }'
}
report pg_dump-Fc savepoint-verify-none savepoint-verify-rows savepoint-verify-content
echo
report pg_restore_j4 restore-none restore-content
