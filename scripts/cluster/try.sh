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
  if [[ $(id -u) != 0 ]]; then cannot "it takes root: sudo scripts/cluster/try.sh ..."; fi
}

# What is built belongs to whoever called sudo.
if [[ -n ${SUDO_USER:-} ]]; then
  # shellcheck disable=SC2016 # for the inner shell: the PATH of the login, then the caller's
  cargo() { sudo -Hu "$SUDO_USER" bash -lc 'PATH=$PATH:$0 exec cargo "$@"' "$PATH" "$@"; }
fi

# Builds batch-job, and has function $1 try it on a machine without a network.
enter() {
  need_root
  require ip iproute2
  local root code=0
  root=$(cd "$here/../.." && pwd)
  # Cargo says where it is: a configuration or the environment may move it.
  BATCH_JOB=$(cargo build -q --release --message-format=json-render-diagnostics \
    --manifest-path "$root/Cargo.toml" -p batch-job | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p') ||
    fail "batch-job could not be built"
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

# try_array SUBMIT LOST TASKS: SUBMIT is a function that submits a task of this index, or without
# one the array of 1 to TASKS, and returns when it has run. The result of task LOST gets lost.
try_array() {
  local submit=$1 lost=$2 tasks=$3 before after code=0
  "$submit"
  show ./batch-job --merge "$tasks"
  before=$(./batch-job --merge "$tasks")

  show rm "result-$lost.json"
  after=$(show ./batch-job --merge "$tasks" 2>&1) || code=$?
  printf '%s\n' "$after"
  if ((code != 1)) || [[ $after != *"no result of [$lost]"* ]]; then fail "the merge names not just $lost"; fi
  "$submit" "$lost"
  after=$(./batch-job --merge "$tasks")
  printf '\n$ ./batch-job --merge %s\n%s\n' "$tasks" "${after##*$'\n'}"
  if [[ $after != "$before" || $after != *"$tasks results merged"* ]]; then fail "the merges differ"; fi
}

# --- Which one -------------------------------------------------------------------------------------

# shellcheck source=scripts/cluster/slurm.sh
source "$here/slurm.sh"
# shellcheck source=scripts/cluster/condor.sh
source "$here/condor.sh"
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
