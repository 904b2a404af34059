#!/usr/bin/env bash
# Usage: scripts/cluster/try.sh SCHEDULER...
#
# Runs a job array (job.slurm, job.pbs or job.condor) on a cluster of one node that exists only
# while this script runs: submits it, merges the results, loses one, lets the merge name it,
# submits that task alone, and merges to the same as before. Schedulers, one or more:
#
#   slurm    Slurm
#   pbs      Slurm with its qsub and qstat, and the PBS_* variables in the tasks
#   condor   HTCondor
#
# The node is a Debian 13 in memory (some 500 MB), in namespaces of its own (processes, mounts, network,
# host name): it meets no other cluster, and nothing of it stays behind, however this script ends. It
# takes root, and debootstrap, which scripts/setup.sh installs if it can.
#
# Exit code: 0 merged to the same, 1 not, 2 bad arguments, 77 cannot run here.
set -euo pipefail
unset CDPATH
for scheduler in "${@:-}"; do
  case $scheduler in
    slurm | pbs | condor) ;;
    -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
    *) echo "try.sh: SCHEDULER is slurm, pbs or condor, not '$scheduler' (--help tells more)" >&2; exit 2 ;;
  esac
done

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$scripts/setup.sh" debootstrap
"$scripts/setup.sh" --check debootstrap 2>/dev/null || exit
# shellcheck source=/dev/null
source "$scripts/namespaces.sh" # from here on as root, in namespaces
batch_job=$(as_caller "$scripts/demos.py" build batch-job)

echo "making a Debian 13 with Slurm and Condor; that takes minutes" >&2
# debootstrap wants a path without blanks. Every Linux has this folder, and nothing in it is needed below.
node=/sys
mount -t tmpfs tmpfs $node
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
# python3-cffi-backend: debootstrap does not find what a package asks for by another name.
debootstrap --variant=minbase \
  --include=slurm-wlm,slurm-wlm-torque,munge,minicondor,python3-cffi-backend,iproute2,hostname \
  trixie $node >$node/log 2>&1 || cannot "no Debian 13 could be made: $(tail -n 3 $node/log)"
mkdir $node/job
cp "$scripts"/cluster/* "$batch_job" $node/job
env -i PATH="$PATH" unshare --net --uts chroot $node bash /job/node.sh "$@"
