#!/usr/bin/env bash
# Usage: scripts/cluster/try.sh slurm|pbs
#        scripts/cluster/try.sh condor [--tree DIR]
#
# Runs a job array (job.slurm, job.pbs or job.condor) on a cluster of one node that exists only
# while this script runs: submits it, merges the results, loses one, lets the merge name it,
# submits that task alone, and merges to the same as before.
#
#   slurm    Slurm
#   pbs      Slurm with its qsub and qstat, and the PBS_* variables in the tasks
#   condor   HTCondor; Debian 12 has none, so there debootstrap makes a Debian 13 that has it, which
#            takes minutes, in a temporary folder; --tree DIR makes it there and keeps it
#
# The cluster lives in namespaces of its own (processes, mounts, network, host name), its files in
# memory: it meets no other cluster, and nothing of it can stay behind. As root on Debian or Ubuntu
# the script installs the packages that are missing (unless SETUP=0); their services stay off.
#
# Exit code: 0 merged to the same, 1 not, 2 bad arguments, 77 cannot run here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "try.sh: $1" >&2; exit 1; }
cannot() { echo "try.sh: cannot run here: $1" >&2; exit 77; }

# --- Outside: programs, packages, namespaces ------------------------------------------------------

# require "PROGRAM..." PACKAGE...: installs Debian's packages, if one of the programs is missing.
require() {
  local program missing='' install="apt-get install --no-install-recommends ${*:2}"
  for program in $1; do
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || missing+=" $program"
  done
  if [[ -z $missing ]]; then return; fi
  if [[ ${SETUP:-1} == 0 || $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    cannot "missing:$missing; on Debian and Ubuntu: sudo $install"
  fi
  echo "$install" >&2
  install "${@:2}" >&2 || cannot "$install failed"
}

policy=/usr/sbin/policy-rc.d made_policy=no
# Installs packages, and starts no service of theirs: neither now nor with the machine.
install() {
  export DEBIAN_FRONTEND=noninteractive
  if [[ ! -e $policy ]]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
  fi
  local unit new='' code=0
  for unit in munge slurmctld slurmd condor; do
    if [[ ! -e /lib/systemd/system/$unit.service ]]; then new+=" $unit"; fi
  done
  apt-get -qq update || true
  apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" || code=$?
  # shellcheck disable=SC2086 # a list
  if [[ -n $new ]]; then systemctl --quiet disable $new 2>/dev/null || true; fi
  if [[ $made_policy == yes ]]; then rm -f $policy; made_policy=no; fi
  return $code
}

sandbox='' temporary_tree=''
# The end of a PID namespace's first process is the end of all the others, and of what they mounted.
# shellcheck disable=SC2317,SC2329 # called by the trap
finish() {
  if [[ $made_policy == yes ]]; then rm -f $policy; fi
  if [[ -n $sandbox ]]; then
    local first
    first=$(cat "/proc/$sandbox/task/$sandbox/children" 2>/dev/null) || true
    # shellcheck disable=SC2086 # a PID, with a blank after it
    kill -KILL ${first:-$sandbox} 2>/dev/null || true
    wait "$sandbox" 2>/dev/null || true
  fi
  if [[ -n $temporary_tree ]]; then rm -rf --one-file-system "$temporary_tree"; fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# inside FUNCTION NAMESPACE...: calls a function of this script as the first process of new
# namespaces, and returns its exit code.
inside() {
  local code=0 namespaces=(unshare --fork --kill-child --pid --mount-proc --mount "${@:2}")
  if ! "${namespaces[@]}" true; then cannot "root may make no namespaces (in a container: --privileged)"; fi
  # setpriv: if this script is killed, and can clean up nothing, the namespaces end all the same
  setpriv --pdeathsig KILL "${namespaces[@]}" "$here/try.sh" --inside "$1" </dev/null &
  sandbox=$!
  wait "$sandbox" || code=$?
  sandbox=''
  return $code
}

need_root() {
  if [[ $(id -u) != 0 ]]; then cannot "it takes root: sudo env \"PATH=\$PATH\" scripts/cluster/try.sh ..."; fi
}

# Builds batch-job, and has function $1 try it on a machine without a network.
enter() {
  need_root
  require ip iproute2
  local root code=0
  root=$(cd "$here/../.." && pwd)
  cargo build -q --release --manifest-path "$root/Cargo.toml" -p batch-job ||
    fail "batch-job could not be built"
  BATCH_JOB=$(cargo metadata --no-deps --format-version 1 --manifest-path "$root/Cargo.toml" |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/batch-job
  export BATCH_JOB RUST_BACKTRACE=0
  inside "$1" --net --uts || code=$?
  case $code in
    0 | 1 | 77) exit $code ;;
    *) fail "a command above ended with exit code $code" ;;
  esac
}

# --- Inside: what all schedulers need -------------------------------------------------------------

show() {
  local code=0
  printf '\n$ %s\n' "$*"
  timeout 60 "$@" || code=$?
  if ((code)); then echo "[exit code $code]"; fi
  return $code
}

# Waits for what nobody tells us about.
until_true() {
  local give_up=$((SECONDS + 60))
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS > give_up)); then
      tail -n 5 /var/log/*.log >&2 || true
      fail "waited a minute for: $*"
    fi
    sleep 0.1
  done
}

# Puts empty folders in memory in the place of these, for the processes in here.
hide() {
  local folder
  for folder; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
}

# try_array SUBMIT LOST RESULT...: SUBMIT is a function that submits a task of this index, or
# without one the array, and returns when it has run. The result of task LOST gets lost.
try_array() {
  local submit=$1 lost=$2 before after code=0
  shift 2
  "$submit"
  show ./batch-job --merge "$@"
  before=$(./batch-job --merge "$@")

  show rm "result-$lost.json"
  after=$(show ./batch-job --merge "$@" 2>&1) || code=$?
  printf '%s\n' "$after"
  if ((code != 1)) || [[ $after != *"no result of [$lost]"* ]]; then fail "the merge names not just $lost"; fi
  "$submit" "$lost"
  after=$(./batch-job --merge "$@")
  printf '\n$ ./batch-job --merge %s\n%s\n' "$*" "${after##*$'\n'}"
  if [[ $after != "$before" || $after != *"$# results merged"* ]]; then fail "the merges differ"; fi
}

# --- Slurm, and Slurm that speaks PBS -------------------------------------------------------------

# Each daemon finds its configuration, key and folders where it always does: there is no other here.
start_slurm() {
  PATH=$PATH:/usr/sbin
  hostname node1
  hide /run /etc/munge /etc/slurm /var/lib/munge /var/log /var/spool
  ip link set lo up
  ip address add 192.0.2.1/32 dev lo # slurmctld listens on no machine that has only 127.0.0.1
  printf '127.0.0.1 localhost\n192.0.2.1 node1\n' >/run/hosts
  mount --bind /run/hosts /etc/hosts
  cat >/etc/slurm/slurm.conf <<'END'
ClusterName=try
SlurmctldHost=node1
# Two cores, whatever the machine has: two tasks run, two wait.
NodeName=node1 CPUs=2 RealMemory=1000
SlurmdParameters=config_overrides
PartitionName=batch Nodes=node1 Default=YES
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmUser=root
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
# No cgroups: they would be those of the machine.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
END
  if [[ $1 == pbs ]]; then
    echo "JobSubmitPlugins=pbs" >>/etc/slurm/slurm.conf
    echo "required spank_pbs.so" >/etc/slurm/plugstack.conf # sets the PBS_* variables
  fi
  mkdir /run/munge /var/log/munge
  (umask 077; head -c 1024 /dev/urandom >/etc/munge/munge.key)
  munged
  slurmctld
  slurmd
  until_true scontrol ping
  mkdir /run/job # the folder to submit from
  cd /run/job
  cp "$BATCH_JOB" "$here/job.$1" .
}

inside_slurm() {
  start_slurm slurm
  try_array submit_slurm 3 result-{1..4}.json
}
submit_slurm() {
  show sbatch --wait ${1:+"--array=$1"} job.slurm
  show squeue --states=all --format='%8i %10j %10T %8N %S'
  grep -H . batch-job-*.out
  rm batch-job-*.out
}

inside_pbs() {
  start_slurm pbs
  try_array submit_pbs 3 result-{1..4}.json
}
submit_pbs() {
  show qsub -t "${1:-1-4}" job.pbs
  until_true pbs_has_run
  show qstat
  grep -H . job.pbs.o*
  rm job.pbs.[oe]*
}
pbs_has_run() { ! qstat | grep ' [QR] '; } # queued, running

# --- Condor ---------------------------------------------------------------------------------------

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
  cp "$here/try.sh" "$here/job.condor" "$BATCH_JOB" "$TREE/mnt"
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
  try_array submit_condor 3 result-{1..4}.json
}
condor_is_up() { condor_status -af Name | grep .; }
submit_condor() {
  show setpriv --reuid nobody --regid nogroup --clear-groups condor_submit ${1:+"tasks=$1"} job.condor
  show condor_wait -wait 60 batch-job.log
  show condor_history -limit "$([[ -n ${1:-} ]] && echo 1 || echo 4)"
  grep -H . batch-job.*.out
  rm batch-job.*
}

# --------------------------------------------------------------------------------------------------

tree=''
if (($# == 3)) && [[ $1 == condor && $2 == --tree ]]; then tree=$3; set -- condor; fi
if (($# > 1)) && [[ $1 != --inside ]]; then set --; fi
case ${1:-} in
  slurm | pbs)
    require "munged slurmctld slurmd sbatch qsub" munge slurm-wlm slurm-wlm-torque
    enter "inside_$1"
    ;;
  condor)
    need_root
    find_condor "$tree"
    enter inside_condor
    ;;
  --inside) "$2" ;; # for `enter` alone
  -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}" ;;
  *) echo "try.sh: name one scheduler: slurm, pbs or condor (--help tells more)" >&2; exit 2 ;;
esac
