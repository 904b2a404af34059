# Sourced by the blocks of the slides, in a line that these hide. It runs the lines after that one itself,
# in the terminal that the slides give away, and comes back to them at Enter.
# shellcheck shell=bash

# The demos are built behind the slides, in a process group of its own. While a block runs, they are not:
# nothing disturbs what it measures, and it does not wait for Cargo's lock.
start_builder() {
  set -m
  nice "$LECTURE/scripts/demos.py" build </dev/null >/dev/null 2>&1 &
  echo "$!" >"$DECK_BUILDER"
  set +m
}
stop_builder() { kill -TERM -- "-$(cat "$DECK_BUILDER" 2>/dev/null)" 2>/dev/null; }
if (($#)); then "$1" || true; exit; fi # called by deck.sh

cd "$LECTURE" || exit
exec 2>&1
export CARGO_TERM_QUIET=true

# The code, a screen at a time, by what there is.
# shellcheck disable=SC2317,SC2329 # the slides call it
less() {
  local pager
  for pager in ${PAGER:+"$PAGER"} less more cat; do
    if type -P "${pager%% *}" >/dev/null; then break; fi
  done
  command $pager "$@"
}
export -f less

commands=$(sed 1d "$0")
printf '\033[H\033[2J'
printf '$ %s\n' "$commands"
unfinished=''
if stop_builder; then unfinished=yes; fi
# The slides ignore SIGINT (deck.sh), and so does this. What runs now shall not: Ctrl-C ends it alone.
code=0
python3 -c '
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp("bash", ["bash", "-o", "pipefail", "-c", sys.argv[1]])' "$commands" || code=$?
stty sane
if ((code)); then printf '\n(exit code %s)' "$code"; fi
if [[ -n ${DECK_LOG:-} ]]; then echo "$code" >>"$DECK_LOG"; fi # for the deck's test
if [[ -n $unfinished ]]; then start_builder; fi
printf '\n[Enter goes back to the slides] '
read -r
exit
