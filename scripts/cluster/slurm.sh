# shellcheck shell=bash
# Slurm, and Slurm that speaks PBS: sourced by try.sh, whose functions it uses.
set -euo pipefail

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
  cp "$BATCH_JOB" "${here:?}/job.$1" .
}

inside_slurm() {
  start_slurm slurm
  try_array submit_slurm 3 4
}
submit_slurm() {
  show sbatch --wait ${1:+"--array=$1"} job.slurm
  show squeue --states=all --format='%8i %10j %10T %8N %S'
  grep -H . batch-job-*.out
  rm batch-job-*.out
}

inside_pbs() {
  start_slurm pbs
  try_array submit_pbs 3 4
}
submit_pbs() {
  show qsub -t "${1:-1-4}" job.pbs
  until_true pbs_has_run
  show qstat
  grep -H . job.pbs.o*
  rm job.pbs.[oe]*
}
pbs_has_run() { ! qstat | grep ' [QR] '; } # queued, running
