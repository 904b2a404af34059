#!/usr/bin/env bash
# Usage: scripts/soak.sh [--debug] [--user NAME] DEMO RUNS [CONDITION...] [-- ARGUMENT...]
#
# Runs a demo again and again, and counts how often it showed its point. (Where little is allowed:
# scripts/surroundings.py.)
#
#   --debug      not optimised (the default is a release build)
#   --user NAME  run as this user (only root can)
#   DEMO         all: every demo, some at the same time
#   CONDITION    free    as the machine is
#                pinned  on one core
#                busy    beside four busy loops
#                (default: these three, one after the other)
#   ARGUMENT     for the demo (default: none, as in the lecture)
#
# Exit code: 0 shown every time (or it cannot run here, every time), 1 not, 2 bad arguments.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage_error() { echo "soak.sh: $1 (--help shows how)" >&2; exit 2; }

profile=release user=''
while [[ ${1:-} == -* ]]; do
  case $1 in
    --debug) profile=debug ;;
    --user)
      if ! id "${2:-}" >/dev/null 2>&1; then usage_error "--user needs the name of a user"; fi
      if ((EUID)); then usage_error "only root can use --user"; fi
      user=$2
      shift
      ;;
    -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
    *) usage_error "unknown option '$1'" ;;
  esac
  shift
done
if (($# < 2)); then usage_error "name a demo and a number of runs"; fi
demo=$1 runs=$2 conditions=''
shift 2
if ! [[ $runs =~ ^[1-9][0-9]*$ ]]; then usage_error "'$runs' is no number of runs"; fi
while (($#)) && [[ $1 != -- ]]; do
  case $1 in
    free | pinned | busy) conditions+=" $1" ;;
    *) usage_error "unknown condition '$1'" ;;
  esac
  shift
done
if (($#)); then shift; fi # the --
all=$(sed -n 's|^ *"crates/.*/\(.*\)",.*|\1|p' "$root/Cargo.toml")
if [[ $demo != all ]] && ! grep -qxF -e "$demo" <<<"$all"; then usage_error "there is no demo '$demo'"; fi
cd "$root"

if [[ $demo == all ]]; then
  # The MPI demos cannot be built where there is no MPI.
  if ! scripts/setup.sh --check mpi >/dev/null 2>&1; then all=$(grep -v '^mpi-' <<<"$all"); fi
  packages='' options=''
  for name in $all; do packages+=" -p $name"; done
  if [[ $profile == debug ]]; then options+=' --debug'; fi
  if [[ -n $user ]]; then options+=" --user $user"; fi
  # shellcheck disable=SC2046,SC2086 # lists of words
  cargo build -q $packages $([[ $profile == debug ]] || echo --release)
  cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
  # shellcheck disable=SC2086
  xargs -I NAME -P "$((2 * cores))" scripts/soak.sh $options NAME "$runs" $conditions -- "$@" <<<"$all" || exit 1
  exit
fi

# Cargo says where the executable is: a configuration or the environment may move it.
# shellcheck disable=SC2046 # one word or none
executable=$(cargo build -q --message-format=json-render-diagnostics -p "$demo" \
  $([[ $profile == debug ]] || echo --release) | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
set -- "$executable" "$@"
if [[ -n $user ]]; then
  set -- setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups "$@"
fi
if command -v timeout >/dev/null; then set -- timeout -k 5 60 "$@"; fi
unset RUST_BACKTRACE # an error shall be one sentence

loops='' errors=$(mktemp)
# shellcheck disable=SC2086,SC2317,SC2329 # a list of PIDs; called by the trap
finish() {
  if [[ -n $loops ]]; then kill $loops; wait $loops || true; fi 2>/dev/null
  loops=''
}
trap 'finish; rm -f "$errors"' EXIT

failed=0
for condition in ${conditions:-free pinned busy}; do
  before=''
  case $condition in
    pinned)
      if ! command -v taskset >/dev/null; then echo "$demo pinned: not tried, no taskset here"; continue; fi
      before="taskset -c $(LC_ALL=C taskset -cp $$ | sed 's/.*: \([0-9]*\).*/\1/')" ;;
    busy) for _ in 1 2 3 4; do (while kill -0 $$ 2>/dev/null; do :; done) & loops+=" $!"; done ;;
  esac
  shown=0 cannot=0
  for ((run = 0; run < runs; run++)); do
    code=0
    # shellcheck disable=SC2086 # a list of words
    $before "$@" </dev/null >/dev/null 2>"$errors" || code=$?
    case $code in
      0) shown=$((shown + 1)) ;;
      77) cannot=$((cannot + 1)) ;;
      124) echo "$demo $condition, run $run: hung for 60 s" ;;
      *) echo "$demo $condition, run $run: exit code $code: $(head -n 1 "$errors")" ;;
    esac
  done
  finish
  echo "$demo $profile $condition${user:+ as $user}: shown $shown of $runs, cannot run here $cannot"
  if ((shown < runs && cannot < runs)); then failed=1; fi
done
exit $failed
