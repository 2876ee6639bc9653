#!/usr/bin/env bash
# Prints a fresh folder for what the tests write: in memory where there is room, as they make and remove clusters by the hundred, and ext4 looks at
# each file that was lately removed before it makes a new one. What earlier runs left there is removed.
set -euo pipefail
shm=/dev/shm room_kib=$((12 << 20))
for left in "$shm"/savepoint-tests-*; do
  pid=${left##*-} pid=${pid%.*}
  if [ -d "$left" ] && [ ! -e "/proc/$pid" ]; then rm -rf "$left"; fi
done 2>/dev/null
free_kib() {
  local shm_kib memory_kib
  shm_kib=$(df -k --output=avail "$shm" | tail -n 1)
  memory_kib=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB$/\1/p' /proc/meminfo)
  echo $((shm_kib < memory_kib ? shm_kib : memory_kib))
}
base=${TMPDIR:-/tmp}
# Some tests run programs that they write.
if [ -z "${TMPDIR:-}" ] && [ -w "$shm" ] && ! findmnt -no OPTIONS "$shm" | grep -qw noexec && [ "$(free_kib)" -ge "$room_kib" ]; then base=$shm; fi
folder=$(mktemp -d "$base/savepoint-tests-${1:-$PPID}.XXXXXX")
# Servers of other uids have theirs within.
chmod 755 "$folder"
echo "$folder"
