# shellcheck shell=bash
# Usage: bash node.sh SCHEDULER...        by try.sh, on a node made for it
#
# Starts these schedulers on this node, and tries the job array in /job with each.
set -euo pipefail

fail() { echo "try.sh: $1" >&2; exit 1; }
trap '(($? == 0)) || tail -n 5 /var/log/slurm*.log /var/log/condor/*Log >&2 2>/dev/null' EXIT

show() {
  local code=0
  printf '\n$ %s\n' "$*"
  timeout 60 "$@" || code=$?
  if ((code)); then echo "[exit code $code]"; fi
  return $code
}

# Waits for what nobody tells us about.
wait_until() {
  timeout 60 bash -c "until $1; do sleep 0.1; done" >/dev/null 2>&1 || fail "waited a minute for: $1"
}

mount -t proc proc /proc
hostname node1
ip link set lo up
ip address add 192.0.2.1/32 dev lo # slurmctld listens on no machine that has only 127.0.0.1
printf '127.0.0.1 localhost\n192.0.2.1 node1\n' >/etc/hosts
cd /job

# Slurm, which also speaks PBS.
if [[ $* == *slurm* || $* == *pbs* ]]; then
  cat >/etc/slurm/slurm.conf <<'END'
ClusterName=try
SlurmctldHost=node1
# Two cores, whatever the machine has: two tasks run, two wait.
NodeName=node1 CPUs=2 RealMemory=1000
SlurmdParameters=config_overrides
PartitionName=batch Nodes=node1 Default=YES
SchedulerParameters=sched_interval=1
SlurmUser=root
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
ProctrackType=proctrack/linuxproc
END
  echo "CgroupPlugin=disabled" >/etc/slurm/cgroup.conf # they would be those of the machine
  echo "required spank_pbs.so" >/etc/slurm/plugstack.conf # sets the PBS_* variables
  install -d -o munge /run/munge
  runuser -u munge munged
  slurmctld
  slurmd
fi
submit_slurm() {
  show sbatch --wait ${1:+"--array=$1"} job.slurm
  show squeue --states=all --format='%8i %10j %10T %8N %S'
  grep -H . batch-job-*.out
  rm batch-job-*.out
}
submit_pbs() {
  show qsub -t "${1:-1-4}" job.pbs
  wait_until "! qstat | grep ' [QR] '" # none queued, none running
  show qstat
  grep -H . job.pbs.o*
  rm job.pbs.[oe]*
}

if [[ $* == *condor* ]]; then
  install -d -o condor -g condor /run/condor /run/lock/condor
  chown nobody . # Condor runs no jobs of root
  condor_master
  wait_until "condor_status -af Name | grep ."
fi
submit_condor() {
  show runuser -u nobody -- condor_submit ${1:+"tasks=$1"} job.condor
  show condor_wait -wait 60 batch-job.log
  show condor_history
  grep -H . batch-job.*.out
  rm batch-job.*
}

for scheduler in "$@"; do
  "submit_$scheduler"
  show ./batch-job --merge 4 | tee before

  show rm result-3.json
  if show ./batch-job --merge 4 2>&1 | tee named; then fail "the merge misses no result"; fi
  grep -q 'no result of \[3\]' named || fail "the merge names not just task 3"
  "submit_$scheduler" 3
  show ./batch-job --merge 4 | tee after
  cmp before after || fail "the merges differ"
  rm result-*.json # the next scheduler's tasks write their own
done
