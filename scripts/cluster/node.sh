# shellcheck shell=bash
# Usage: bash node.sh slurm|pbs|condor        by try.sh, as the first process of a node made for it
#
# Starts the scheduler on this node, and tries the job array in /job.
set -euo pipefail
PATH=$PATH:/usr/sbin

fail() { echo "try.sh: $1" >&2; exit 1; }

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
      tail -n 5 /var/log/slurm*.log /var/log/condor/*Log >&2 || true
      fail "waited a minute for: $*"
    fi
    sleep 0.1
  done
}

# --- Slurm, and Slurm that speaks PBS --------------------------------------------------------------

start_slurm() {
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
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
END
  echo "CgroupPlugin=disabled" >/etc/slurm/cgroup.conf # they would be those of the machine
  install -d -o munge /run/munge
  runuser -u munge munged
  slurmctld
  slurmd
  until_true scontrol ping
}
submit_slurm() {
  show sbatch --wait ${1:+"--array=$1"} job.slurm
  show squeue --states=all --format='%8i %10j %10T %8N %S'
  grep -H . batch-job-*.out
  rm batch-job-*.out
}

start_pbs() {
  echo "required spank_pbs.so" >/etc/slurm/plugstack.conf # sets the PBS_* variables
  start_slurm
}
submit_pbs() {
  show qsub -t "${1:-1-4}" job.pbs
  until_true pbs_has_run
  show qstat
  grep -H . job.pbs.o*
  rm job.pbs.[oe]*
}
pbs_has_run() { ! qstat | grep ' [QR] '; } # queued, running

# --- Condor ----------------------------------------------------------------------------------------

start_condor() {
  install -d -o condor -g condor /run/condor /run/lock/condor
  chown nobody . # Condor runs no jobs of root
  condor_master
  until_true condor_is_up
}
condor_is_up() { condor_status -af Name | grep .; }
submit_condor() {
  show runuser -u nobody -- condor_submit ${1:+"tasks=$1"} job.condor
  show condor_wait -wait 60 batch-job.log
  show condor_history -limit "$([[ -n ${1:-} ]] && echo 1 || echo 4)"
  grep -H . batch-job.*.out
  rm batch-job.*
}

# --- The node and the array ------------------------------------------------------------------------

mount -t proc proc /proc
hostname node1
ip link set lo up
ip address add 192.0.2.1/32 dev lo # slurmctld listens on no machine that has only 127.0.0.1
printf '127.0.0.1 localhost\n192.0.2.1 node1\n' >/etc/hosts
cd /job
"start_$1"

"submit_$1"
show ./batch-job --merge 4
before=$(./batch-job --merge 4)

show rm result-3.json
code=0
after=$(show ./batch-job --merge 4 2>&1) || code=$?
printf '%s\n' "$after"
if ((code != 1)) || [[ $after != *"no result of [3]"* ]]; then fail "the merge names not just task 3"; fi
"submit_$1" 3
after=$(./batch-job --merge 4)
printf '\n$ ./batch-job --merge 4\n%s\n' "${after##*$'\n'}"
if [[ $after != "$before" || $after != *"4 results merged"* ]]; then fail "the merges differ"; fi
