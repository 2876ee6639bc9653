#!/usr/bin/env bash
# Stands in the test stack as `initdb`, beside the real one (`initdb.real`): every cluster of the same options is made once by the real one and
# copied from then on, as PostgreSQL's own tests do (INITDB_TEMPLATE). Half of what the tests spent went into making the same clusters.
PATH=/usr/bin:/bin
bin=$(dirname "$(readlink -f "$0")")
real=$bin/initdb.real
data='' rest=()
set -- "$@"
while [ $# -gt 0 ]; do
  case $1 in
    -D | --pgdata) data=${2:-} && shift ;;
    --pgdata=*) data=${1#*=} ;;
    *) rest+=("$1") ;;
  esac
  shift
done
whole=(${data:+-D "$data"} ${rest[@]+"${rest[@]}"})
# What depends on more than its options is made anew, and so is what is refused.
case " ${rest[*]} " in *" --pwfile"* | *" -X"* | *" --waldir"* | *" -L"*) exec "$real" "${whole[@]}" ;; esac
if [ -z "$data" ] || [ -e "$data" ] || [ "$(id -u)" = 0 ]; then exec "$real" "${whole[@]}"; fi

templates=$bin/../templates
name=$(printf '%s\n' "$(id -u)" "${rest[@]}" | sha256sum | cut -c1-16)
umask 077
if [ ! -e "$templates/$name" ]; then
  (
    flock 9 || exit 0
    [ -e "$templates/$name" ] && exit 0
    "$real" -D "$templates/$name.new" "${rest[@]}" >/dev/null 2>&1 && mv "$templates/$name.new" "$templates/$name"
    rm -rf "$templates/$name.new"
  ) 9>"$templates/$name.lock"
fi 2>/dev/null
if [ -e "$templates/$name" ]; then
  cp -r --preserve=mode "$templates/$name" "$data" 2>/dev/null && exit 0
  rm -rf "$data"
fi
exec "$real" "${whole[@]}"
