#!/usr/bin/env bash
# The room a real HTCondor pool or sshd lives in: a Debian tree, entered by chroot in its own mount and process namespaces.
#   chroot.sh build TEMPLATE RELEASE   debootstrap and packages, once; needs root, npm for bookworm, and Debian's mirror
#   chroot.sh hold TEMPLATE LIVE       a fresh copy of TEMPLATE in LIVE.<pid>; prints "ready PID DIR", and holds it until its stdin ends
# /proc, /sys and /dev are mounted in the namespace only: the host never sees them under LIVE, so removing the tree is safe
# at any time, and when the holder goes (or whoever holds the other end of its stdin is killed) all that ran inside goes too.
set -euo pipefail
umask 022
recipe=3 # raise it when `furnish` changes, and old templates are rebuilt
verb=${1:?verb} template=${2:?directory}

remove() { rm --one-file-system -rf -- "${1:?}"; }

mounts() {
  mount -t proc proc "$1/proc"
  mount --bind /sys "$1/sys"
  # Not the host's /dev itself: /dev/log is a room's own.
  mount -t tmpfs -o mode=755 tmpfs "$1/dev"
  local device
  for device in null zero full random urandom tty; do
    touch "$1/dev/$device"
    mount --bind "/dev/$device" "$1/dev/$device"
  done
  mkdir -m 1777 "$1/dev/shm"
  mkdir "$1/dev/pts"
  mount --bind /dev/pts "$1/dev/pts"
  # Not the host's by a bind mount: it looks for the pts beside itself.
  mknod -m 666 "$1/dev/ptmx" c 5 2
  ln -s /proc/self/fd "$1/dev/fd"
  ln -s fd/0 "$1/dev/stdin"
  ln -s fd/1 "$1/dev/stdout"
  ln -s fd/2 "$1/dev/stderr"
}

# Runs in its own namespaces, see `build`.
furnish() {
  mounts "$1"
  # Where the host forgives its mirror old dates, so does the room: testing's are good for a week only.
  if command -v apt-config >/dev/null; then
    apt-config dump Acquire::Check-Valid-Until Acquire::Check-Date >"$1/etc/apt/apt.conf.d/90host"
  fi
  printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" # no service is started by its package
  chmod 755 "$1/usr/sbin/policy-rc.d"
  echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/unsafe" # a tree that half exists is built anew anyway
  # Our PAM module is built inside, with this release's own compiler.
  local packages=(openssh-server openssh-client gcc libc6-dev make libpam0g-dev git rsync procps)
  if [[ $2 == bookworm ]]; then
    # It is there for its old sshd. Its own node is too old for us; the npm packages node-linux-* are the official binaries.
    local arch
    arch=$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
    npm install --silent --no-save --no-package-lock --prefix "$1/opt/node" "node-linux-$arch@20"
    ln -s "/opt/node/node_modules/node-linux-$arch/bin/node" "$1/usr/local/bin/node"
  else
    # The two of Python are what HTCondor’s own credmon imports, beside scitokens, which Debian has not.
    packages+=(condor nodejs python3-requests-oauthlib python3-six)
    # Other clients than OpenSSH's.
    packages+=(dropbear-bin putty-tools python3-paramiko libssh-dev)
  fi
  chroot "$1" sh -euc '
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -yq --no-install-recommends "$@"
    apt-get clean
    rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_*
    for user in alice bob carol; do useradd --create-home --shell /bin/bash "$user"; done
    useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin credmon' sh "${packages[@]}"
}

# flock(1)'s option: --exclusive to make the template, --shared to copy it.
locked() {
  mkdir -p "$(dirname "$template")"
  exec 9>"$template.lock"
  flock -n "$1" 9 && return
  echo "waiting for another run to leave $template" >&2
  flock -w 900 "$1" 9 || { echo "another run holds $template.lock" >&2; exit 75; }
}

# Rooms whose holder is gone: it had its lock for as long as it lived.
sweep() {
  local lock
  for lock in "$1".*.lock; do
    [[ -e $lock ]] || continue
    (
      exec 8<"$lock"
      flock -n 8 || exit 0
      remove "${lock%.lock}"
      rm -f -- "$lock"
    )
  done
}

case $verb in
build)
  release=${3:?release}
  locked --exclusive
  [[ $(cat "$template/etc/credmon-e2e" 2>/dev/null) == "$recipe" ]] && exit 0
  remove "$template"
  remove "$template.half"
  # A debootstrap older than the release knows it as sid; the mirror is the one it would take anyway.
  script=$release
  [[ -e /usr/share/debootstrap/scripts/$release ]] || script=sid
  # Its mounts are its own too: left behind by a killed one they would stay, and the half tree could not be removed.
  unshare --mount debootstrap --variant=minbase --include=ca-certificates "$release" "$template.half" '' "$script"
  unshare --mount --pid --fork --kill-child "$0" furnish "$template.half" "$release" 9>&-
  echo "$recipe" >"$template.half/etc/credmon-e2e"
  mv "$template.half" "$template"
  ;;
furnish)
  furnish "$template" "${3:?release}"
  ;;
hold)
  live=${3:?directory}.$$
  mkdir -p "$(dirname "$live")"
  exec 7>"$3.lock"
  flock 7
  sweep "$3"
  exec 8>"$live.lock"
  flock 8
  exec 7>&-
  locked --shared
  # /usr by hard links: nothing in it is written in place, and a real copy takes ten seconds on a busy machine.
  mkdir "$live"
  cp -al "$template/usr" "$live"
  find "$template" -mindepth 1 -maxdepth 1 ! -name usr -exec cp -a -t "$live" {} +
  exec 9>&-
  exec unshare --mount --pid --fork --kill-child "$0" held "$template" "$live"
  ;;
held)
  live=${3:?directory}
  read -r pid _ </proc/self/stat # the host's number for us: this is still the host's /proc
  mounts "$live"
  # A host name that does not resolve makes one condor_config_val in ten take five seconds.
  printf '127.0.0.1 %s localhost\n' "$(hostname)" >"$live/etc/hosts"
  echo "ready $pid $live"
  cat >/dev/null
  ;;
*)
  echo "unknown verb $verb" >&2
  exit 2
  ;;
esac
