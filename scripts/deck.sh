#!/usr/bin/env bash
# Usage: scripts/deck.sh [OPTION...] [-- PRESENTERM-OPTION...]
#
# Builds the demos, and shows the slides of the lecture (scripts/lecture.md), which run them. This
# needs presenterm 0.16: if there is none, it is built into the target folder, which takes minutes.
#
#   --notes  show only the speaker notes, in a second terminal; they follow the slides in the first
#   --html   write the slides as one page: lecture.html in the target folder
#   --build  build what is needed, and print the path of presenterm
#
# Exit code: that of presenterm; 2 bad arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=show
while (($#)); do
  case $1 in
    --notes) mode=notes ;;
    --html) mode=html ;;
    --build) mode=build ;;
    --) shift; break ;;
    -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
    *) echo "deck.sh: unknown option '$1' (--help shows how)" >&2; exit 2 ;;
  esac
  shift
done

target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
presenterm=$(command -v presenterm) || presenterm=$target/presenterm/bin/presenterm
if ! "$presenterm" --version 2>/dev/null | grep -q ' 0\.16\.'; then
  presenterm=$target/presenterm/bin/presenterm
  if [[ ! -x $presenterm ]]; then
    echo "deck.sh: building presenterm into $target/presenterm, once; this takes some minutes" >&2
    cargo install --quiet --locked --root "$target/presenterm" --target-dir "$target/presenterm/build" presenterm@^0.16
    rm -rf "$target/presenterm/build"
  fi
fi

# In both ways in which the slides run them, and one by one, as they do: with all of them Cargo would
# build a dependency with the features that any of them wants, and on a slide build it again.
# Without MPI its demos cannot be built.
if [[ $mode == show || $mode == build ]]; then
  echo "deck.sh: building the demos, where they are not built" >&2
  for main in crates/*/*/src/main.rs; do
    name=$(cut -d/ -f3 <<<"$main")
    if [[ $name == mpi-* ]] && ! scripts/setup.sh --check mpi 2>/dev/null; then continue; fi
    cargo build --quiet -p "$name"
    if grep -q "^cargo run.* --release .*-p $name\b" scripts/lecture.md; then cargo build --quiet --release -p "$name"; fi
  done
fi

trap '' INT # Ctrl-C ends what a slide runs, and not the slides: deck-block.sh
case $mode in
  show) exec "$presenterm" --enable-snippet-execution --publish-speaker-notes "$@" scripts/lecture.md ;;
  notes) exec "$presenterm" --listen-speaker-notes "$@" scripts/lecture.md ;;
  build) echo "$presenterm" ;;
  html) exec "$presenterm" --export-html --output "$target/lecture.html" "$@" scripts/lecture.md ;;
esac
