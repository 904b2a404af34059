#!/usr/bin/env bash
# Usage: scripts/soak.sh [--debug] [--user NAME] DEMO RUNS [CONDITION...] [-- ARGUMENT...]
#
# Runs a demo again and again, and counts how often it showed its point.
#
#   --debug      not optimised (the default is a release build)
#   --user NAME  run as this user (only root can)
#   DEMO         all: every demo, some at the same time
#   CONDITION    free             as the machine is
#                pinned           on one core
#                busy             beside four busy loops
#                (default: these three, one after the other)
#                reader-gone      nobody reads its output any more, as after `| head -1`
#                full-disk        its output goes to a full disk (/dev/full)
#                sigchld-ignored  whoever starts it ignores SIGCHLD
#                few-processes    its user may have 2 to 12 processes or threads (*)
#                little-memory    128 MiB: of its control group as root, else of addresses
#                quota            half a core, by its control group (*)
#                no-proc          in turn: no /proc, /proc with subset=pid, no /sys
#                container        as PID 1, as another user, on a read-only disk (*)
#                                 (*) only root can
#   ARGUMENT     for the demo (default: none, as in the lecture)
#
# In the first three a demo has to show its point. In the others it may instead say with exit code
# 77 why it cannot; where no output is possible, or too little is allowed, also with 1. It is wrong
# if it panics, is killed, hangs for 60 seconds, says more than three lines, or leaves a process.
#
# Exit code: 0 right every time (or it cannot run here, every time), 1 not, 2 bad arguments.
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
    free | pinned | busy | reader-gone | full-disk | sigchld-ignored | few-processes | little-memory | \
      quota | no-proc | container) conditions+=" $1" ;;
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
as() { echo "setpriv --reuid=$1 --regid=$2 --clear-groups"; }
# shellcheck disable=SC2046 # a list of words
set -- ${user:+$(as "$user" "$(id -g "$user")")} "$executable" "$@"
unset RUST_BACKTRACE # an error shall be one sentence

loops='' groups='' files=$(mktemp -d) errors=''
errors=$files/errors
# shellcheck disable=SC2086,SC2317,SC2329 # lists of PIDs and folders; called by the trap
finish() {
  if [[ -n $loops ]]; then kill $loops; wait $loops || true; fi 2>/dev/null
  if [[ -n $groups ]]; then rmdir $groups || true; fi 2>/dev/null
  loops='' groups=''
}
trap 'finish; rm -rf "$files"' EXIT

# Makes a control group, and sets `group`. $1 is the controller; then come the file to write and what to
# write, first for version 1 of control groups, then for version 2.
make_group() {
  if ((EUID)); then return 1; fi
  local file=$2 text=$3
  group=/sys/fs/cgroup/$1/soak-$$
  if [[ ! -d ${group%/*} ]]; then group=/sys/fs/cgroup/soak-$$ file=$4 text=$5; fi
  mkdir "$group" 2>/dev/null || return 1
  groups+=" $group"
  echo "$text" 2>/dev/null >"$group/$file"
}

# What Bash does in each condition, before it becomes the demo ("$@").
# shellcheck disable=SC2016 # for the inner Bash
set_up() {
  before='exec "$@"' why=''
  case $1 in
    pinned)
      if ! command -v taskset >/dev/null; then why="no taskset here"; return; fi
      before="exec taskset -c $(LC_ALL=C taskset -cp $$ | sed 's/.*: \([0-9]*\).*/\1/') \"\$@\"" ;;
    busy) for _ in 1 2 3 4; do (while kill -0 $$ 2>/dev/null; do :; done) & loops+=" $!"; done ;;
    full-disk) if [[ ! -c /dev/full ]]; then why="no /dev/full here"; fi ;;
    sigchld-ignored) before="trap '' CHLD; exec \"\$@\"" ;;
    few-processes)
      if ((EUID)); then why="only root can"; return; fi
      before="exec $(as '$NOBODY' '$NOBODY') bash -c 'ulimit -u \$LIMIT; exec \"\$@\"' bash \"\$@\"" ;;
    little-memory)
      before='ulimit -v 131072; exec "$@"'
      if make_group memory memory.limit_in_bytes 128M memory.max 128M; then
        before="echo \$\$ >$group/cgroup.procs; exec \"\$@\""
      fi ;;
    quota)
      if ! make_group cpu cpu.cfs_quota_us 50000 cpu.max '50000 100000'; then
        why="only root can, with a control group for cpu"
        return
      fi
      before="echo \$\$ >$group/cgroup.procs; exec \"\$@\"" ;;
    no-proc)
      if ! unshare -rm true 2>/dev/null; then why="no mount namespaces here"; return; fi
      before='case $((RUN % 3)) in
          0) mount="mount -t tmpfs none /proc" ;;
          1) mount="mount -t proc -o subset=pid proc /proc" ;;
          2) mount="mount -t tmpfs none /sys" ;;
        esac
        exec unshare -m bash -c "$mount && exec \"\$@\"" bash "$@"'
      if ((EUID)); then before=${before/unshare -m/unshare -rm}; fi ;;
    container)
      if ((EUID)) || ! unshare --pid --mount --fork true 2>/dev/null; then why="only root can"; return; fi
      before="exec unshare --pid --mount --fork --kill-child bash -c 'mount -t proc proc /proc
        mount -o remount,bind,ro / && exec $(as '$NOBODY' '$NOBODY') \"\$@\"' bash \"\$@\"" ;;
  esac
}

# Processes of run $1 that are still there.
left_by() { grep -lsxzF -e "SOAK=$1" /proc/[0-9]*/environ | tr -cd '0-9\n' | tr '\n' ' ' || true; }

limit=''
if command -v timeout >/dev/null; then limit='timeout -k 5 60'; fi
mkfifo "$files/pipe"

failed=0
for condition in ${conditions:-free pinned busy}; do
  set_up "$condition"
  if [[ -n $why ]]; then finish; echo "$demo $condition: not tried, $why"; continue; fi
  shown=0 wrong=0 cannot=0 sentence=0
  for ((run = 0; run < runs; run++)); do
    code=0 wrongly=''
    mark=$$-$condition-$run # in the environment of what runs, to find what is left
    case $condition in
      # Open for reading and for writing, so that nothing waits; then there is no reader any more.
      reader-gone) exec 3<>"$files/pipe"; exec 4>"$files/pipe" 3<&- ;;
      full-disk) exec 4>/dev/full ;;
      *) exec 4>/dev/null ;;
    esac
    # NOBODY is a user without any process: what an earlier run left to init may not be reaped yet.
    # shellcheck disable=SC2086 # a list of words
    SOAK=$mark RUN=$run LIMIT=$((2 + run % 11)) NOBODY=$((100000 + $$ * 1000 + run)) $limit \
      bash -c "$before" bash "$@" </dev/null >&4 2>"$errors" 4>&- || code=$?
    exec 4>&-
    case $condition:$code in
      *:0) shown=$((shown + 1)) ;;
      *:77) cannot=$((cannot + 1)) ;;
      reader-gone:1 | reader-gone:141 | full-disk:1 | few-processes:1 | little-memory:1)
        sentence=$((sentence + 1)) ;;
      *:124) wrongly="hung for 60 s" ;;
      *) wrongly="exit code $code" ;;
    esac
    if grep -q 'panicked at' "$errors"; then wrongly+=" panicked"; fi
    if (($(grep -c . "$errors") > 3)); then wrongly+=" more than three lines"; fi
    if [[ -d /proc/self ]]; then
      # What nobody waits for may end a moment later; what an alarm ends, after 10 seconds.
      for ((tenth = 0; tenth < 120; tenth++)); do
        left=$(left_by "$mark")
        if [[ -z $left ]]; then break; fi
        sleep 0.1
      done
      if [[ -n $left ]]; then wrongly+=" left a process: $left"; fi
    fi
    if [[ -n $wrongly ]]; then
      wrong=$((wrong + 1))
      echo "$demo $condition, run $run: $wrongly: $(head -n 1 "$errors")"
    fi
  done
  finish
  echo "$demo $profile $condition${user:+ as $user}: shown $shown of $runs, cannot run here $cannot," \
    "1 with a sentence $sentence, wrong $wrong"
  case $condition in
    free | pinned | busy) if ((shown < runs && cannot < runs)); then failed=1; fi ;;
  esac
  if ((wrong)); then failed=1; fi
done
exit $failed
