# Sourced by the blocks of lecture.md, in a line that the slides hide: what they do around the command
# that they show. The slides give them the whole terminal.
# shellcheck shell=bash

set -m # the command is a process group of its own: Ctrl-C ends it, and not the slides
set -o pipefail
exec 2>&1
export CARGO_TERM_QUIET=true

# The code, a screen at a time.
less() { if [[ -n ${PAGER:-} ]]; then $PAGER "$@"; else command less "$@"; fi; }

# Says how it ended, and waits. The deck's test asks for a file with the exit codes.
back_to_the_slides() {
  local code=$?
  stty sane
  if ((code)); then printf '\n(exit code %s)' "$code"; fi
  if [[ -n ${DECK_LOG:-} ]]; then echo "$code" >>"$DECK_LOG"; fi
  printf '\n[Enter goes back to the slides] '
  read -r
}
trap back_to_the_slides EXIT
trap : INT

printf '\033[H\033[2J'
sed -n '2,$s/^/$ /p' "$0" # the command, as it stands on the slide
