#!/usr/bin/env bash
# Usage: scripts/deck.sh [OPTION...] [-- PRESENTERM-OPTION...]
#
# Shows the slides of the lecture, which run the demos; these are built meanwhile, and what they need is
# installed (scripts/setup.sh). The slides are scripts/lecture.md, with two of every demo. This needs
# presenterm 0.16: if there is none, it is built into the target folder, which takes minutes.
#
#   --notes  show only the speaker notes, in a second terminal; they follow the slides in the first
#   --html   write the slides as one page: lecture.html in the target folder
#
# Exit code: that of presenterm; 2 bad arguments.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=show
while (($#)); do
  case $1 in
    --notes) mode=notes ;;
    --html) mode=html ;;
    --) shift; break ;;
    -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
    *) echo "deck.sh: unknown option '$1' (--help shows how)" >&2; exit 2 ;;
  esac
  shift
done

if ! command -v python3 >/dev/null; then scripts/setup.sh python </dev/null; fi
deck=$(scripts/demos.py slides)
target=$(dirname "$deck")
PATH=$target/presenterm/bin:$PATH # where it is built, if it has to be
if ! presenterm --version 2>/dev/null | grep -q ' 0\.16\.'; then
  echo "deck.sh: building presenterm into $target/presenterm, once; this takes some minutes" >&2
  cargo install --quiet --locked --root "$target/presenterm" --target-dir "$target/presenterm/build" presenterm@^0.16
  rm -rf "$target/presenterm/build"
fi

export CARGO_TERM_VERBOSE=false # where it is true, `cargo run -q` is an error
# ssh hands over the name of a locale that is not here: Bash complains of it before each block.
if [[ -n $(bash -c : 2>&1) ]]; then export LC_ALL=C.UTF-8; fi
trap '' INT # Ctrl-C ends what a slide runs, and not the slides
case $mode in
  notes) exec presenterm --listen-speaker-notes "$@" "$deck" ;;
  html) exec presenterm --export-html --output "$target/lecture.html" "$@" "$deck" ;;
esac
scripts/setup.sh </dev/null >/dev/null 2>&1 &

# What follows is for the blocks of the slides, too (deck-block.sh). The demos are built behind the slides, in a
# process group of its own, and not while a block runs: nothing disturbs what it measures, and it does not wait
# for Cargo's lock.
export LECTURE=$PWD DECK_BUILDER=$target/deck-builder.$$ # this file has the PID of who builds
start_builder() {
  set -m
  nice "$LECTURE/scripts/demos.py" build </dev/null >/dev/null 2>&1 &
  echo "$!" >"$DECK_BUILDER"
  set +m
}
stop_builder() { kill -TERM -- "-$(cat "$DECK_BUILDER")" 2>/dev/null; }

# The code, a screen at a time, by what there is.
# shellcheck disable=SC2317,SC2329 # the slides call it
less() { "$(type -P "${PAGER%% *}" || type -P less || type -P more || type -P cat)" "$@"; }
export -f start_builder stop_builder less

bash -c start_builder # a shell of its own: this one would say at the end that the builder was killed
trap 'stop_builder || true; rm -f "$DECK_BUILDER"' EXIT
presenterm --enable-snippet-execution --publish-speaker-notes "$@" "$deck"
