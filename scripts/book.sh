#!/usr/bin/env bash
# Usage: scripts/book.sh [--handout]
#
# Makes the lecture as a book: runs every demo and every Try line, records what they print, and makes a
# page of each, with its question, its answer and its code. The book is book/html/index.html in the
# target folder; it needs no server and no network. mdBook 0.5 makes the pages; if there is none, it is
# built into the target folder, which takes minutes. gnuplot draws the plots.
#
#   --handout  also print it, by Chromium, to one PDF beside it: handout.pdf
#
# Exit code: 0 made; 1 made, but a demo did not show its point (it is named), or something failed;
# 2 bad arguments; 77 what is needed is missing, and cannot be installed here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if (($# > 1)); then echo "book.sh: too many arguments (--help shows how)" >&2; exit 2; fi
handout=no
case ${1:-} in
  '') ;;
  --handout)
    handout=yes
    export HANDOUT=yes ;; # pages.py: the first page links to it
  -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
  *) echo "book.sh: unknown argument '$1' (--help shows how)" >&2; exit 2 ;;
esac

needs='python gnuplot'
if [[ $handout == yes ]]; then needs+=' chromium'; fi
# shellcheck disable=SC2086 # a list
{
  scripts/setup.sh $needs
  scripts/setup.sh --check $needs 2>/dev/null || exit
}
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))'; then
  echo "cannot run here: this needs Python 3.9" >&2
  exit 77
fi

target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
mdbook=$(command -v mdbook) || mdbook=$target/mdbook/bin/mdbook
if ! "$mdbook" --version 2>/dev/null | grep -q ' v0\.5\.'; then
  mdbook=$target/mdbook/bin/mdbook
  if [[ ! -x $mdbook ]]; then
    echo "book.sh: building mdBook into $target/mdbook, once; this takes some minutes" >&2
    if ! cargo install --quiet --locked --root "$target/mdbook" --target-dir "$target/mdbook/build" mdbook@^0.5; then
      echo "cannot run here: there is no mdBook 0.5, and it could not be built" >&2
      exit 77
    fi
    rm -rf "$target/mdbook/build"
  fi
fi

# All that will run, so that nothing is built while something is measured. One by one: with all of
# them Cargo would build a dependency with the features that any of them wants, and later build it again.
echo "book.sh: building the demos, where they are not built" >&2
for main in crates/*/*/src/main.rs; do
  name=$(cut -d/ -f3 <<<"$main")
  if [[ $name == mpi-* ]] && ! scripts/setup.sh --check mpi 2>/dev/null; then continue; fi
  cargo build --quiet -p "$name"
  if grep -q '^//! \(Run\|Try\): .* --release ' "$main"; then cargo build --quiet --release -p "$name"; fi
done

# The old book stays until the new one is there.
book=$(mktemp -d "$target/book.XXXXXX")
trap 'rm -rf "$book"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
cp scripts/book/book.toml scripts/book/book.css "$book"
code=0
PYTHONUTF8=1 python3 -B scripts/book/pages.py "$book" || code=$?
if [[ ! -f $book/src/SUMMARY.md ]]; then exit "$code"; fi
"$mdbook" build --dest-dir "$book/html" "$book"

if [[ $handout == yes ]]; then
  chromium=$(scripts/setup.sh --where chromium)
  page=$(python3 -c 'import pathlib, sys; print(pathlib.Path(sys.argv[1]).as_uri())' "$book/html/print.html")
  "$chromium" --headless --no-sandbox --disable-gpu --no-pdf-header-footer --generate-pdf-document-outline \
    --user-data-dir="$book/profile" --print-to-pdf="$book/html/handout.pdf" "$page" 2>"$book/log" || true
  if [[ ! -s $book/html/handout.pdf ]]; then
    cat "$book/log" >&2
    echo "book.sh: Chromium made no PDF" >&2
    exit 1
  fi
  rm -rf "$book/profile" "$book/log"
fi

chmod 755 "$book"
rm -rf "$target/book"
mv "$book" "$target/book"
echo "the book: $target/book/html/index.html"
if [[ $handout == yes ]]; then echo "the handout: $target/book/html/handout.pdf"; fi
exit $code
