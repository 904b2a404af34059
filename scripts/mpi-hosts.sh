#!/usr/bin/env bash
# Usage: scripts/mpi-hosts.sh [RANKS]
#
# Runs the MPI demos on two hosts, and counts the bytes on the wire between them. The hosts are two
# network namespaces on this machine, each with a host name and an address of its own; the wire is a
# veth pair. Open MPI finds no way from one to the other but TCP. Needs root and Linux.
#
#   RANKS    processes, the first half on host-1, the others on host-2 (default 2, at most 16)
#
# Exit code: 0 the demos showed their points over the network, 1 not, 2 bad arguments, 77 it cannot run here.
set -euo pipefail
unset CDPATH
case ${*:-2} in
  [2-9] | 1[0-6]) ranks=${*:-2} ;;
  -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
  *) echo "mpi-hosts.sh: RANKS is 2 to 16, not '$*' (--help shows how)" >&2; exit 2 ;;
esac
fail() { echo "mpi-hosts.sh: $1" >&2; exit 1; }

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
source "$scripts/namespaces.sh" # from here on as root, in namespaces
"$scripts/setup.sh" --check mpi || exit
command -v ip >/dev/null || cannot "no ip; apt install iproute2"
executables=$(as_caller "$scripts/demos.py" build mpi-reduction mpi-sharded-regression)

files=/run/netns # where `ip` keeps network namespaces; in memory, and seen by no other process: also for files
mkdir -p $files
mount -t tmpfs tmpfs $files
ip netns add host-1
ip netns add host-2
ip link add eth0 netns host-1 type veth peer name eth0 netns host-2 || cannot "this kernel makes no veth pair"
for host in 1 2; do
  ip -n host-$host address add 192.0.2.$host/24 dev eth0 # reserved for examples, RFC 5737
  ip -n host-$host link set eth0 up
  ip -n host-$host link set lo up
done

# Stands in for ssh: starts a command, given as ssh takes it, on the host with this address.
cat >$files/agent <<'AGENT'
host=host-${1##*.}
shift
exec ip netns exec $host unshare --uts bash -c "hostname $host; $*"
AGENT
# On a cluster this file names its nodes.
printf '192.0.2.1 slots=%s\n192.0.2.2 slots=%s\n' $(((ranks + 1) / 2)) $((ranks / 2)) >$files/nodes

# An empty environment and home: settings in there, or a scheduler's, change what mpirun does.
environment=("PATH=$PATH" "LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}" "HOME=$files" "TMPDIR=$files"
  "OMPI_MCA_plm_rsh_agent=bash $files/agent" "PRTE_MCA_plm_ssh_agent=bash $files/agent")

# Bytes that host $1 has sent so far.
sent_by() { ip netns exec "host-$1" cat /sys/class/net/eth0/statistics/tx_bytes; }

# Runs demo $1 with the arguments that follow; sets `there` and `back`, the bytes that crossed the wire.
run() {
  before_1=$(sent_by 1) before_2=$(sent_by 2)
  printf '\n%s\n\n' "$1"
  demo=$(printf %q "$(grep "/$1\$" <<<"$executables")")
  # Without --bind-to none, both hosts would bind their ranks to the same core of this machine.
  env -i "${environment[@]}" bash $files/agent 192.0.2.1 "mpirun --allow-run-as-root --bind-to none \
    --mca btl tcp,self --mca mpi_yield_when_idle 1 --hostfile $files/nodes -n $ranks $demo ${*:2}" |
    tee "$files/$1" || fail "$1 ended with exit code $?"
  there=$(($(sent_by 1) - before_1)) back=$(($(sent_by 2) - before_2))
  printf '\non the wire: %s bytes from host-1 to host-2, %s back\n' "$there" "$back"
}

run mpi-reduction
on_1=$(grep -c ' host-1 ' $files/mpi-reduction || true)
on_2=$(grep -c ' host-2 ' $files/mpi-reduction || true)
echo "ranks on host-1: $on_1, on host-2: $on_2; their sum had to cross the wire"
if ((on_1 != (ranks + 1) / 2 || on_2 != ranks / 2)); then fail "the ranks are not on both hosts"; fi
run mpi-sharded-regression
read -r held sums < <(awk '$1 == 0 { print $5, $6 }' $files/mpi-sharded-regression) || fail "rank 0 printed no row"
echo "one rank contributed $sums; a host's rows, which stay there: $((held * (ranks / 2)))"
if ((there < sums || back < sums)); then fail "the all-reduce did not use the network"; fi
few=$((there + back))
run mpi-sharded-regression --rows-per-rank 1000000
echo "bytes both ways: $few, and with ten times the rows $((there + back))"
if ((there + back > 2 * few)); then fail "more rows needed more bytes"; fi
