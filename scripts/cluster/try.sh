#!/usr/bin/env bash
# Usage: scripts/cluster/try.sh [--tree DIR] SCHEDULER...
#
# Runs a job array (job.slurm, job.pbs or job.condor) on a cluster of one node that exists only
# while this script runs: submits it, merges the results, loses one, lets the merge name it,
# submits that task alone, and merges to the same as before. Schedulers, one or more:
#
#   slurm    Slurm
#   pbs      Slurm with its qsub and qstat, and the PBS_* variables in the tasks
#   condor   HTCondor
#
#   --tree DIR   keep the node's Debian in this folder: to make it takes minutes, the first time only
#
# The node is a Debian 13 in memory (some 500 MB), in namespaces of its own (processes, mounts, network,
# host name): it meets no other cluster, and nothing of it stays behind, however this script ends. It
# takes root, and debootstrap, which scripts/setup.sh installs if it can.
#
# Exit code: 0 merged to the same, 1 not, 2 bad arguments, 77 cannot run here.
set -euo pipefail
unset CDPATH
usage_error() { echo "try.sh: $1 (--help tells more)" >&2; exit 2; }
cannot() { echo "try.sh: cannot run here: $1" >&2; exit 77; }

schedulers='' tree=''
while (($#)); do
  case $1 in
    slurm | pbs | condor) schedulers+=" $1" ;;
    --tree)
      if [[ -z ${2:-} ]]; then usage_error "--tree needs a folder"; fi
      tree=$2
      shift
      ;;
    -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
    *) usage_error "unknown argument '$1'" ;;
  esac
  shift
done
if [[ -z $schedulers ]]; then usage_error "name a scheduler: slurm, pbs or condor"; fi
if ((EUID)); then cannot "it takes root: sudo scripts/cluster/try.sh ..."; fi
if [[ -n $tree ]]; then
  mkdir -p "$tree"
  tree=$(cd "$tree" && pwd)
fi
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
scripts/setup.sh debootstrap
scripts/setup.sh --check debootstrap 2>/dev/null || exit

# What is built belongs to whoever called sudo.
as_caller() { "$@"; }
if [[ -n ${SUDO_USER:-} ]]; then
  # shellcheck disable=SC2016 # for the inner shell: the PATH of the login, then the caller's
  as_caller() { sudo -Hu "$SUDO_USER" bash -lc 'PATH=$PATH:$0 exec "$@"' "$PATH" "$@"; }
fi
batch_job=$(as_caller "$PWD/scripts/demos.py" build batch-job)

# In namespaces of its own, as their first process: what it mounts and starts ends with it.
# shellcheck disable=SC2317,SC2329 # called below, by another Bash
run_all() {
  set -euo pipefail
  # debootstrap wants a path without blanks. Every Linux has this folder, and nothing in it is needed below.
  mount -t tmpfs tmpfs /sys
  mkdir /sys/debian
  if [[ -n $tree ]]; then mount --bind "$tree" /sys/debian; fi
  if [[ ! -e /sys/debian/complete ]]; then
    echo "making a Debian 13 with Slurm and Condor; that takes minutes" >&2
    # python3-cffi-backend: debootstrap does not find what a package asks for by another name.
    debootstrap --variant=minbase \
      --include=slurm-wlm,slurm-wlm-torque,munge,minicondor,python3-cffi-backend,iproute2,hostname \
      trixie /sys/debian >/sys/log 2>&1 || cannot "no Debian 13 could be made: $(tail -n 3 /sys/log)"
    rm -f /sys/debian/var/cache/apt/archives/*.deb
    touch /sys/debian/complete
  fi
  for scheduler in $schedulers; do
    # A root folder that shows this Debian, and keeps what changes in memory.
    mkdir -p "/sys/$scheduler"/{root,changes/job,work}
    mount -t overlay -o "lowerdir=/sys/debian,upperdir=/sys/$scheduler/changes,workdir=/sys/$scheduler/work" \
      overlay "/sys/$scheduler/root"
    cp scripts/cluster/node.sh "scripts/cluster/job.$scheduler" "$batch_job" "/sys/$scheduler/root/job"
    unshare --fork --kill-child --pid --mount --net --uts \
      chroot "/sys/$scheduler/root" bash /job/node.sh "$scheduler"
  done
}
export -f run_all cannot
export tree schedulers batch_job RUST_BACKTRACE=0 LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

namespaces=(unshare --fork --kill-child --pid --mount --mount-proc)
"${namespaces[@]}" --net --uts true || cannot "root may make no namespaces (in a container: --privileged)"
# If this script is killed, that kills `unshare`, and so all processes in there.
code=0
setpriv --pdeathsig KILL "${namespaces[@]}" bash -c run_all &
wait "$!" || code=$?
if ((code && code != 77)); then code=1; fi
exit $code
