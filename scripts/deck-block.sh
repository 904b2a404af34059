# Sourced by the blocks of the slides, in a line that these hide. It runs the lines after that one itself,
# in the terminal that the slides give away, and comes back to them at Enter. The functions are those of deck.sh.
# shellcheck shell=bash

cd "$LECTURE" || exit
exec 2>&1
export CARGO_TERM_QUIET=true

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
if [[ -n $unfinished ]]; then start_builder; fi
printf '\n[Enter goes back to the slides] '
read -r
exit
