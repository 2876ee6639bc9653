#!/usr/bin/env bash
# Makes the pictures of README.md from a real run: a throwaway PostgreSQL that grows from backup to backup, what the terminal shows, and the
# status page in light, dark and at a phone's width. Needs chromium and aha; installs them on Debian and Ubuntu when it may.
#   scripts/screenshots.sh [FOLDER]     docs/images where nothing is said
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/server.sh
fail() { printf 'screenshots: %s\nhint: %s\n' "$1" "$2" >&2; exit 1; }

out=${1:-docs/images}
mkdir -p "$out"
out=$(cd "$out" && pwd)
missing=()
for program in chromium aha; do command -v "$program" >/dev/null || missing+=("$program"); done
if [ "${#missing[@]}" -gt 0 ]; then
  [ "$(id -u)" = 0 ] || fail "${missing[*]} missing" "apt-get install ${missing[*]}"
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "${missing[@]}"; } >/dev/null
fi
scripts/test-stack.sh
bin=$PWD/${SAVEPOINT_TEST_STACK:-target/test-stack}/pg/17/bin
cargo build --quiet
savepoint=$PWD/${CARGO_TARGET_DIR:-target}/debug/savepoint

start_server screenshots "$bin"
"$bin/createdb" shop
"$bin/pgbench" -i -q -s 5 shop 2>/dev/null
cd "$work"
export SAVEPOINT_DESTINATION=./backups SAVEPOINT_PG_BIN_DIR=$bin
export DATABASE_URL="postgresql://postgres:$PGPASSWORD@$PGHOST:$PGPORT/shop"
for n in $(seq 8); do
  "$bin/psql" -X -q -d shop -c "INSERT INTO pgbench_history SELECT 1, 1, 1, $n, now() FROM generate_series(1, $n * 4000)"
  "$savepoint" backup --quiet --kind scheduled >/dev/null
done
"$savepoint" backup --quiet --kind scheduled --tables none --record-failures >/dev/null 2>&1 || true
"$savepoint" backup --quiet --kind scheduled >/dev/null

# A terminal of 132 columns.
shown() {
  printf '\e[1m$ %s\e[0m\n' "savepoint $*"
  python3 - "$savepoint" "$@" <<'PYTHON'
import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 132, 0, 0))
    os.environ["TERM"] = "xterm-256color"
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    os.write(1, piece.replace(b"\r\n", b"\n"))
os.waitpid(pid, 0)
PYTHON
  printf '\n'
}
{
  shown backup --quiet --kind snapshot
  shown list --quiet
} | sed "s#$work/##g; s#$work#.#g; s#127.0.0.1:$PGPORT#db.example.com#g" >terminal.txt
aha --black --title terminal <terminal.txt | sed 's#<pre>#<pre style="font: 15px/1.45 DejaVu Sans Mono, monospace; margin: 24px">#' >terminal.html
"$savepoint" report --to ./page --rpo 26h --rto 1h --price-per-gib '0.023 USD' --keep-daily 7 >/dev/null

shot() { # shot NAME WIDTH HEIGHT FILE [ARGUMENT …]
  local name=$1 size=$2,$3 file=$4
  shift 4
  timeout 60 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --force-device-scale-factor=1 --user-data-dir="$work/chromium" \
    --window-size="$size" --screenshot="$out/$name.png" "$@" "file://$work/$file" >/dev/null 2>&1 || fail "chromium makes no $name" 'run chromium --headless by hand'
  printf '%s\n' "$out/$name.png"
}
shot terminal 1290 840 terminal.html
shot status-light 1100 1150 page/index.html
shot status-dark 1100 1150 page/index.html --blink-settings=preferredColorScheme=0
shot status-phone 500 1100 page/index.html
