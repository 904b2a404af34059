# shellcheck shell=bash
# Condor: sourced by try.sh, whose functions it uses.
set -euo pipefail

# Sets TREE to the root folder of a Debian that has Condor: this machine's, or one made for it.
find_condor() {
  export TREE=/ MIRROR
  if command -v condor_master >/dev/null || apt-cache show minicondor >/dev/null 2>&1; then
    require condor_master minicondor
    return
  fi
  require debootstrap debootstrap
  # shellcheck disable=SC2016 # apt's own variable
  MIRROR=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/*$') ||
    cannot "apt names no mirror of Debian"
  TREE=$1
  if [[ -z $TREE ]]; then temporary_tree=$(mktemp -d); TREE=$temporary_tree; fi
  if [[ -x $TREE/usr/sbin/condor_master ]]; then return; fi
  echo "making a Debian 13 with Condor in $TREE; that takes minutes" >&2
  inside make_tree --uts || cannot "no Debian 13 with Condor could be made, see $(tail_of_log)"
}
tail_of_log() { echo "the last lines:"; tail -n 5 "$TREE/make_tree.log" 2>/dev/null || true; }

# In namespaces of its own, so that nothing that debootstrap mounts can stay behind.
make_tree() {
  mkdir -p "$TREE"
  chmod 755 "$TREE" # the root folder of its users, too
  exec >"$TREE/make_tree.log" 2>&1
  debootstrap --variant=minbase trixie "$TREE" "$MIRROR"
  printf '#!/bin/sh\nexit 101\n' >"$TREE/usr/sbin/policy-rc.d" # start no services
  chmod +x "$TREE/usr/sbin/policy-rc.d"
  cp -L /etc/resolv.conf "$TREE/etc/resolv.conf"
  mountpoint -q "$TREE/proc" || mount -t proc proc "$TREE/proc"
  DEBIAN_FRONTEND=noninteractive chroot "$TREE" apt-get -qq install --no-install-recommends minicondor
}

inside_condor() {
  hostname node1
  ip link set lo up
  mount --rbind "$TREE" "$TREE" # Condor wants the root folder to be a mount of its own
  mount -t tmpfs tmpfs "$TREE/mnt"
  cp "${here:?}"/{try,slurm,condor}.sh "$here/job.condor" "$BATCH_JOB" "$TREE/mnt"
  if [[ $TREE == / ]]; then run_condor; return; fi
  mount --rbind /dev "$TREE/dev"
  mountpoint -q "$TREE/proc" || mount -t proc proc "$TREE/proc"
  exec chroot "$TREE" bash /mnt/try.sh --inside run_condor
}

run_condor() {
  export LC_ALL=C
  PATH=$PATH:/usr/sbin
  hide /run /var/log /var/lib/condor /var/spool
  mkdir -p /run/lock
  printf '127.0.0.1 node1 localhost\n' >/run/hosts
  mount --bind /run/hosts /etc/hosts
  command install -d -o condor -g condor /run/condor /run/lock/condor /var/log/condor /var/spool/condor \
    /var/lib/condor /var/lib/condor/execute
  command install -d -o nobody -g nogroup /run/job # Condor runs no jobs of root
  cp /mnt/batch-job /mnt/job.condor /run/job
  cd /run/job
  condor_master
  until_true condor_is_up
  try_array submit_condor 3 4
}
condor_is_up() { condor_status -af Name | grep .; }
submit_condor() {
  show setpriv --reuid nobody --regid nogroup --clear-groups condor_submit ${1:+"tasks=$1"} job.condor
  show condor_wait -wait 60 batch-job.log
  show condor_history -limit "$([[ -n ${1:-} ]] && echo 1 || echo 4)"
  grep -H . batch-job.*.out
  rm batch-job.*
}
