# Sourced by the blocks of lecture.md, in a line that the slides hide. It runs the lines after that
# one itself, in the terminal that the slides give away, and comes back to them at Enter.
# shellcheck shell=bash

cd .. # presenterm is in the folder of the slides
exec 2>&1
export CARGO_TERM_QUIET=true

# The code, a screen at a time.
# shellcheck disable=SC2317,SC2329 # the slides call it
less() { if [[ -n ${PAGER:-} ]]; then $PAGER "$@"; else command less "$@"; fi; }
export -f less

commands=$(sed 1d "$0")
printf '\033[H\033[2J'
printf '$ %s\n' "$commands"
# The slides ignore SIGINT (deck.sh), and so does this. What runs now shall not: Ctrl-C ends it alone.
code=0
perl -e '$SIG{INT} = "DEFAULT"; exec "bash", "-o", "pipefail", "-c", @ARGV' "$commands" || code=$?
stty sane
if ((code)); then printf '\n(exit code %s)' "$code"; fi
if [[ -n ${DECK_LOG:-} ]]; then echo "$code" >>"$DECK_LOG"; fi # for the deck's test
printf '\n[Enter goes back to the slides] '
read -r
exit
