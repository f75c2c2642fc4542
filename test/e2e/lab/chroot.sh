#!/usr/bin/env bash
# The room a real HTCondor pool lives in: a Debian trixie tree, entered by chroot in its own mount and process namespaces.
#   chroot.sh build TEMPLATE        debootstrap and packages, once; needs root and Debian's mirror
#   chroot.sh hold TEMPLATE LIVE    a fresh LIVE copy of TEMPLATE; prints "ready PID", and holds it until its stdin ends
# /proc, /sys and /dev are mounted in the namespace only: the host never sees them under LIVE, so removing the tree is safe
# at any time, and when the holder goes (or whoever holds the other end of its stdin is killed) all that ran inside goes too.
set -euo pipefail
umask 022
recipe=1 # raise it when `furnish` changes, and old templates are rebuilt
verb=${1:?verb} template=${2:?directory} live=${3:-}

remove() { rm --one-file-system -rf -- "${1:?}"; }

mounts() {
  mount -t proc proc "$1/proc"
  mount --bind /sys "$1/sys"
  mount --bind /dev "$1/dev"
  mount --bind /dev/pts "$1/dev/pts"
}

# Runs in its own namespaces, see `build`.
furnish() {
  mounts "$1"
  printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" # no service is started by its package
  chmod 755 "$1/usr/sbin/policy-rc.d"
  chroot "$1" sh -euc '
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -yq --no-install-recommends condor nodejs
    apt-get clean
    rm -rf /var/lib/apt/lists/*
    for user in alice bob carol; do useradd --create-home --shell /bin/bash "$user"; done
    useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin credmon'
}

locked() {
  mkdir -p "$(dirname "$template")"
  exec 9>"$template.lock"
  flock -n 9 && return
  echo "waiting for another run to leave $template" >&2
  flock -w 900 9 || { echo "another run holds $template.lock" >&2; exit 75; }
}

case $verb in
build)
  locked
  [[ $(cat "$template/etc/credmon-e2e" 2>/dev/null) == "$recipe" ]] && exit 0
  remove "$template"
  remove "$template.half"
  debootstrap --variant=minbase --include=ca-certificates,procps trixie "$template.half"
  unshare --mount --pid --fork --kill-child "$0" furnish "$template.half" 9>&-
  echo "$recipe" >"$template.half/etc/credmon-e2e"
  mv "$template.half" "$template"
  ;;
furnish)
  furnish "$template"
  ;;
hold)
  locked
  remove "$live"
  # /usr by hard links: nothing in it is written in place, and a real copy takes ten seconds on a busy machine.
  mkdir "$live"
  cp -al "$template/usr" "$live"
  find "$template" -mindepth 1 -maxdepth 1 ! -name usr -exec cp -a -t "$live" {} +
  exec unshare --mount --pid --fork --kill-child "$0" held "$template" "$live"
  ;;
held)
  read -r pid _ </proc/self/stat # the host's number for us: this is still the host's /proc
  mounts "$live"
  # A host name that does not resolve makes one condor_config_val in ten take five seconds.
  printf '127.0.0.1 %s localhost\n' "$(hostname)" >"$live/etc/hosts"
  echo "ready $pid"
  cat >/dev/null
  ;;
*)
  echo "unknown verb $verb" >&2
  exit 2
  ;;
esac
