#!/usr/bin/env bash
# Usage: scripts/mpi-hosts.sh [--ranks N] [--release]
#
# Runs the MPI demos on two hosts, and counts the bytes on the wire between them. The hosts are two
# network namespaces on this machine, each with a host name and an address of its own; the wire is a
# veth pair. Open MPI finds no way from one to the other but TCP. Needs root and Linux.
#
#   --ranks N    processes, the first half on host-1, the others on host-2 (default 2, at most 16)
#   --release    build optimised
#
# Exit code: 0 the demos showed their points over the network, 1 not, 2 bad arguments,
# 77 it cannot run here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage_error() { echo "mpi-hosts.sh: $1 (--help shows how)" >&2; exit 2; }
fail() { echo "mpi-hosts.sh: $1" >&2; exit 1; }
cannot() { echo "cannot run here: $1" >&2; exit 77; }

ranks=2 profile=debug
while (($#)); do
  case $1 in
    --ranks)
      if ! [[ ${2:-} =~ ^([2-9]|1[0-6])$ ]]; then usage_error "--ranks needs 2 to 16"; fi
      ranks=$2
      shift
      ;;
    --release) profile=release ;;
    -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
    *) usage_error "unknown option '$1'" ;;
  esac
  shift
done

if ((EUID)); then cannot "only root can make hosts; run it with sudo"; fi
for tool in mpirun mpicc ip; do
  if ! command -v $tool >/dev/null; then
    cannot "no $tool; apt install openmpi-bin libopenmpi-dev libclang1 iproute2"
  fi
done
if ! unshare --net --uts true 2>/dev/null; then
  cannot "this machine allows no network namespaces (a container? give it CAP_SYS_ADMIN)"
fi

# What is built belongs to whoever called sudo, and their cargo builds it.
# shellcheck disable=SC2016 # for the inner shell: the PATH of the login, then the caller's
if [[ -n ${SUDO_USER:-} ]]; then
  cargo() { sudo -Hu "$SUDO_USER" bash -lc 'PATH=$PATH:$0 exec cargo "$@"' "$PATH" "$@"; }
fi
# Cargo says where the executables are: a configuration or the environment may move them.
# shellcheck disable=SC2046 # one word or none
executables=$(cargo build -q --message-format=json-render-diagnostics --manifest-path "$PWD/Cargo.toml" \
  -p mpi-reduction -p mpi-sharded-regression $([[ $profile == debug ]] || echo --release) |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')

space=mpi-$$ job='' # the namespaces are $space-1 and $space-2
files=$(mktemp -d)
# shellcheck disable=SC2317,SC2046 # called by the trap; lists of PIDs
finish() {
  local host
  if [[ -n $job ]]; then kill -KILL "$job" || true; fi
  for host in 1 2; do
    kill -KILL $(ip netns pids "$space-$host") || true
    ip netns delete "$space-$host" || true
  done 2>/dev/null
  rm -rf "$files"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

ip netns add "$space-1"
ip netns add "$space-2"
ip link add eth0 netns "$space-1" type veth peer name eth0 netns "$space-2" ||
  cannot "this kernel makes no veth pair"
for host in 1 2; do
  ip -n "$space-$host" address add "192.0.2.$host/24" dev eth0 # reserved for examples, RFC 5737
  ip -n "$space-$host" link set eth0 up
  ip -n "$space-$host" link set lo up
done

# Stands in for ssh: starts a command, given as ssh takes it, on the host with this address.
cat >"$files/agent" <<AGENT
#!/usr/bin/env bash
host=\${1##*.}
shift
exec ip netns exec $space-\$host unshare --uts bash -c "hostname host-\$host; \$*"
AGENT
chmod +x "$files/agent"

# Bytes that host $1 has sent so far.
sent_by() { ip netns exec "$space-$1" cat /sys/class/net/eth0/statistics/tx_bytes; }

# On a cluster this file names its nodes.
cat >"$files/hosts" <<HOSTS
192.0.2.1 slots=$(((ranks + 1) / 2))
192.0.2.2 slots=$((ranks / 2))
HOSTS

export TMPDIR=$files OMPI_MCA_plm_rsh_agent=$files/agent PRTE_MCA_plm_ssh_agent=$files/agent
# Without --bind-to none, both hosts would bind their ranks to the same core of this machine.
mpirun="mpirun --allow-run-as-root --bind-to none --mca btl tcp,self --mca mpi_yield_when_idle 1 \
  --hostfile $files/hosts -n $ranks"

# Runs demo $1, with the arguments that follow, over both hosts; sets `there` and `back`, the bytes
# that crossed the wire.
run() {
  local before_1 before_2 demo code=0
  before_1=$(sent_by 1) before_2=$(sent_by 2)
  printf '%s\n\n' "$1"
  demo=$(printf %q "$(grep "/$1\$" <<<"$executables")")
  "$files/agent" 192.0.2.1 "$mpirun $demo ${*:2}" </dev/null >"$files/$1" & job=$!
  wait "$job" || code=$?
  job=''
  cat "$files/$1"
  there=$(($(sent_by 1) - before_1)) back=$(($(sent_by 2) - before_2))
  printf '\non the wire: %s bytes from host-1 to host-2, %s back\n' "$there" "$back"
  if ((code)); then fail "$1 ended with exit code $code"; fi
}

run mpi-reduction
on_1=$(grep -c ' host-1 ' "$files/mpi-reduction" || true)
on_2=$(grep -c ' host-2 ' "$files/mpi-reduction" || true)
echo "ranks on host-1: $on_1, on host-2: $on_2; their sum had to cross the wire"
if ((on_1 != (ranks + 1) / 2 || on_2 != ranks / 2)); then fail "the ranks are not on both hosts"; fi
echo
run mpi-sharded-regression
read -r held sums < <(awk '$1 == 0 { print $5, $6 }' "$files/mpi-sharded-regression")
echo "one rank contributed $sums; a host's rows, which stay there: $((held * (ranks / 2)))"
if ((there < sums || back < sums)); then fail "the all-reduce did not use the network"; fi
if ((there + back > held)); then fail "more went over the wire than one rank's rows"; fi
few=$((there + back))
echo
run mpi-sharded-regression --rows-per-rank 1000000
many=$((there + back))
echo "bytes both ways: $few, and with ten times the rows $many"
if ((many > 2 * few)); then fail "more rows needed more bytes"; fi
