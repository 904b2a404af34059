#!/usr/bin/env bash
# Usage: scripts/lecture.sh [OPTION...] [DEMO...]
#
# Runs the demos of the lecture in their order (that of `members` in Cargo.toml), and says of each
# whether it showed its point. With names: just these, in the order given.
#
#   --pause      before each demo ask its question and wait for a key and Enter (the default at a
#                terminal): Enter alone runs it, c shows its code (in $PAGER, else less), r runs the
#                last demo again, s skips, q quits; Ctrl-C ends a demo that runs, and at a question
#                the lecture. Meanwhile the demos are built.
#   --no-pause   run through, with no keyboard; a demo that hangs is ended after 60 seconds
#   --from DEMO  start with this one
#   --release    build optimised
#   --list       print part, name and description of every demo, and run none
#
# Exit code: 0 every demo that can run here showed its point, 1 one did not, 2 bad arguments.
set -euo pipefail
export LC_NUMERIC=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage_error() { echo "lecture.sh: $1" >&2; exit 2; }

# part/name of every demo, one a line, in the order of the lecture
members=$(sed -n 's|^ *"crates/\(.*\)",.*|\1|p' Cargo.toml)
names=$(cut -d/ -f2 <<<"$members")
folder() { echo "crates/$(grep "/$1\$" <<<"$members")"; }
description() { sed -n 's/^description = "\(.*\)"$/\1/p' "$(folder "$1")/Cargo.toml"; }
# A few demos have a Run line, which asks for a release build.
profile_of() { if grep -q '^//! Run: .* --release' "$(folder "$1")/src/main.rs"; then echo release; else echo "$profile"; fi; }
question() { sed -n 's|^//! Predict: *||p' "$(folder "$1")/src/main.rs"; }

# Refuses a name that no demo has, and suggests the one that shares most pairs of letters with it.
check_name() {
  if grep -qxF -e "$1" <<<"$names"; then return; fi
  local closest
  closest=$(awk -v wanted="$1" '{
    same = 0
    for (i = 1; i < length(wanted); i++) if (index($0, substr(wanted, i, 2))) same++
    score = same / (length(wanted) + length($0))
    if (score > best) { best = score; name = $0 }
  } END { if (best > 0.15) print name }' <<<"$names")
  usage_error "there is no demo '$1'${closest:+; did you mean $closest?} (--list shows them all)"
}

pause=no from='' profile=debug chosen=''
if [[ -t 0 && -t 1 ]]; then pause=yes; fi
while (($#)); do
  case $1 in
    --pause) pause=yes ;;
    --no-pause) pause=no ;;
    --from)
      if (($# < 2)); then usage_error "--from needs the name of a demo"; fi
      check_name "$2"
      from=$2
      shift
      ;;
    --release) profile=release ;;
    --list)
      for name in $names; do
        part=$(grep "/$name\$" <<<"$members")
        printf '%-9s %-24s %s\n' "${part%/*}" "$name" "$(description "$name")"
      done
      exit
      ;;
    -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
    -*) usage_error "unknown option '$1' (--help shows all)" ;;
    *) check_name "$1"; chosen+=" $1" ;;
  esac
  shift
done
chosen=${chosen:-$names}
if [[ -n $from ]]; then
  chosen=$(tr -s ' ' '\n' <<<"$chosen" | sed -n "/^$from\$/,\$p")
  if [[ -z $chosen ]]; then usage_error "$from is not among the demos chosen"; fi
fi

# Without MPI its demos cannot even be built.
no_mpi='' to_build=$chosen
if [[ " "$chosen == *[[:space:]]mpi-* ]] && ! no_mpi=$(scripts/setup.sh --check mpi 2>&1); then
  to_build=$(tr -s ' ' '\n' <<<"$chosen" | grep -v '^mpi-' || true)
fi
# One by one, as `cargo run -p` builds them: together, Cargo would build each dependency with the features
# that any of them wants, and in front of the class build it again.
# Cargo says where each executable is: a configuration or the environment may move it.
build() {
  local name release
  for name in $to_build; do
    release=''
    if [[ $(profile_of "$name") == release ]]; then release='--release'; fi
    # shellcheck disable=SC2086 # one word or none
    cargo build --message-format=json-render-diagnostics $release -p "$name" || return
  done
}
executable() { sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' "$files/built" | grep "/$1\$"; }

bold='' plain='' files=$(mktemp -d) errors='' demo='' watchdog='' builder='' terminal=''
errors=$files/errors
if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
  bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
# Ends what is still running: the demo and the watchdog each are a process group of their own.
# shellcheck disable=SC2317,SC2329 # called by the trap
finish() {
  local group
  for group in $demo $watchdog $builder; do kill -KILL -- "-$group" 2>/dev/null || true; done
  if [[ -n $terminal ]]; then stty "$terminal" || true; fi
  rm -rf "$files"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

now() { local time=${EPOCHREALTIME:-$(date +%s)}; echo "${time/,/.}"; }
since() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f s", to - from }'; }

# Waits for the build, and says how far it is. No demo runs before: what it measures is not disturbed.
wait_for_build() {
  if [[ -z $builder ]]; then return; fi
  local code=0 progress shown=''
  while kill -0 "$builder" 2>/dev/null; do
    progress=$(tr '\r' '\n' <"$files/log" | grep -o '[0-9]*/[0-9]*:.*' | tail -n 1) || true
    printf '\r%-79.79s' "building ${progress:-the demos}"
    shown=yes
    sleep 0.2
  done
  if [[ -n $shown ]]; then printf '\r%79s\r' ''; fi
  wait "$builder" || code=$?
  builder=''
  if ((code)); then
    tr '\r' '\n' <"$files/log" | grep -v '^ *Building \[' >&2
    exit "$code"
  fi
}

# What was typed while a demo ran is no answer to the next question.
forget_keys() {
  stty -icanon -echo min 0 time 0
  cat >/dev/null
  stty "$terminal"
}

if [[ $pause == yes && -t 0 ]]; then
  terminal=$(stty -g)
  set -m # a process group of its own, which Ctrl-C does not reach
  # Cargo draws its progress also into a file, if it is told how wide.
  CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=80 build </dev/null >"$files/built" 2>"$files/log" &
  builder=$!
  set +m
else
  build >"$files/built"
fi

# Runs the command given and sets `code`. Without a pause nobody is there who could press Ctrl-C.
run() {
  code=0
  if [[ $pause == yes && -t 0 ]]; then
    trap : INT # Ctrl-C ends the demo, not the lecture
    "$@" 2>"$errors" || code=$?
    trap 'exit 130' INT
    stty "$terminal" # a demo that was killed may have left it otherwise
    return
  fi
  set -m # each background job becomes a process group, so that it can be ended as a whole
  "$@" </dev/null 2>"$errors" & demo=$!
  (sleep 60 && kill -KILL -- "-$demo" && echo "hung: ended after 60 s" >>"$errors") & watchdog=$!
  set +m
  wait "$demo" 2>/dev/null || code=$?
  { kill -KILL -- "-$watchdog" "-$demo"; wait "$watchdog"; } 2>/dev/null || true
  demo='' watchdog=''
}

# Runs demo $1, says whether it showed its point, and adds a row to the table.
show() {
  local code=0 begin seconds reason verdict
  begin=$(now)
  if [[ $1 == mpi-* && -n $no_mpi ]]; then
    echo "$no_mpi" >"$errors"
    code=77
  else
    run "$(executable "$1")"
  fi
  seconds=$(since "$begin")
  cat "$errors" >&2
  # An error with its causes, in one line; with RUST_BACKTRACE=1 a backtrace follows.
  reason=$(sed '/^Stack backtrace:/,$d' "$errors" | tr -s ' \n' ' ')
  reason=${reason% }
  case $code in
    0) verdict='shown' reason='' ;;
    77) verdict='cannot run here' ;;
    *) verdict='NOT SHOWN' reason="exit code $code: $reason" failed=1 ;;
  esac
  printf '\n%s\n' "$bold$verdict$plain ($seconds)"
  table+="$(printf '%-16s %-24s %8s' "$verdict" "$1" "$seconds")"$'\n'
  if [[ -n $reason ]]; then table+="$(fold -s -w 76 <<<"$reason" | sed 's/^/    /')"$'\n'; fi
}

# Shows the code of demo $1, a screen at a time.
show_code() {
  local pager=${PAGER:-less}
  if ! command -v "${pager%% *}" >/dev/null; then pager='more'; fi
  $pager "$(folder "$1")/src/main.rs" || true
}

# Asks the question of demo $1 until Enter, s or q; sets `key`.
ask() {
  while true; do
    printf 'Predict: %s\n' "$(question "$1")"
    printf '[Enter runs it, c shows its code, r the last one again, s skips, q quits] '
    read -r key || key=q
    case $key in
      c) show_code "$1" ;;
      r)
        if [[ -z $last ]]; then echo "none has run so far"; continue; fi
        show "$last"
        echo
        if [[ -n $terminal ]]; then forget_keys; fi ;;
      '' | s | q) return ;;
    esac
  done
}

table='' failed=0 number=0 begin=$(now) last=''
count=$(wc -w <<<"$chosen" | tr -d ' ')
for name in $chosen; do
  number=$((number + 1))
  printf '\n%s\n%s\n\n' "${bold}[$number/$count] $name$plain" "$(description "$name")"
  if [[ $pause == yes ]]; then
    ask "$name"
    case $key in
      s) table+="skipped          $name"$'\n'; continue ;;
      q) break ;;
    esac
    wait_for_build
  fi
  show "$name"
  last=$name
  if [[ -n $terminal ]]; then forget_keys; fi
done

printf '\n%s\n%s%s\n' "${bold}The lecture's demos$plain" "$table" "total time: $(since "$begin")"
exit $failed
