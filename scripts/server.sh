# shellcheck shell=bash
# Sourced by the scripts that need a throwaway PostgreSQL: start_server NAME BIN [server options]. Makes $work, which goes away at the
# end of the script together with the server, and sets the PG* variables to it; the password is in PGPASSWORD.

# PostgreSQL refuses to run as root.
as_server() {
  if [ "$(id -u)" = 0 ]; then (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups "$@"); else "$@"; fi
}

stop_server() {
  if [ -f "$work/server/data/postmaster.pid" ]; then as_server "$server_bin/pg_ctl" -D "$work/server/data" -m immediate -w stop; fi \
    >/dev/null 2>&1 || true
  rm -rf "$work"
}

start_server() {
  local name=$1
  server_bin=$2
  shift 2
  work=$(mktemp -d "${TMPDIR:-/tmp}/savepoint-$name.XXXXXX")
  trap stop_server EXIT
  chmod 755 "$work"
  mkdir -m 700 "$work/server"
  # Nothing of this shell's own settings may point elsewhere.
  unset DATABASE_URL "${!PG@}" "${!SAVEPOINT_@}" "${!GITHUB_@}"
  PGPASSWORD=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
  export LD_LIBRARY_PATH="$server_bin/../lib" PGPASSWORD PGHOST=127.0.0.1 PGUSER=postgres PGPORT=15432
  # Below the range that outgoing connections take their ports from.
  while (exec 3<>"/dev/tcp/$PGHOST/$PGPORT") 2>/dev/null; do PGPORT=$((PGPORT + 1)); done
  printf '%s' "$PGPASSWORD" >"$work/server/password"
  if [ "$(id -u)" = 0 ]; then chown -R 65534:65534 "$work/server"; fi
  as_server "$server_bin/initdb" -D "$work/server/data" -U postgres -A scram-sha-256 --pwfile="$work/server/password" --no-sync \
    -E UTF8 --locale=C.UTF-8 >/dev/null
  as_server "$server_bin/pg_ctl" -D "$work/server/data" -l "$work/server/log" -w \
    -o "-p $PGPORT -c listen_addresses=$PGHOST -c unix_socket_directories= -c fsync=off $*" start >/dev/null || {
    printf '%s: the server does not start\nhint: %s\n' "$name" "$(tail -n 3 "$work/server/log")" >&2
    exit 1
  }
}
