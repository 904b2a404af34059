#!/usr/bin/env bash
# Usage: scripts/book.sh [--handout]
#
# Makes the lecture as a book: runs every demo and every Try line, records what they print, and makes a
# page of each, with its question, its answer and its code. The book is book/html/index.html in the
# target folder; it needs no server and no network. mdBook 0.5 makes the pages; if there is none, it is
# built into the target folder, which takes minutes. gnuplot draws the plots.
#
#   --handout  also print it, by Chromium, to one PDF: book/handout.pdf in the target folder
#
# Exit code: 0 made; 1 made, but a demo did not show its point (it is named), or something failed;
# 2 bad arguments; 77 what is needed is missing, and cannot be installed here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

handout=no
case ${1:-} in
  '') ;;
  --handout) handout=yes ;;
  -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
  *) echo "book.sh: unknown argument '$1' (--help shows how)" >&2; exit 2 ;;
esac

needs='python gnuplot'
if [[ $handout == yes ]]; then needs+=' chromium'; fi
# shellcheck disable=SC2086 # a list
{
  scripts/setup.sh $needs
  scripts/setup.sh --check $needs || exit
}

target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
mdbook=$(command -v mdbook) || mdbook=$target/mdbook/bin/mdbook
if ! "$mdbook" --version 2>/dev/null | grep -q ' v0\.5\.'; then
  mdbook=$target/mdbook/bin/mdbook
  if [[ ! -x $mdbook ]]; then
    echo "book.sh: building mdBook into $target/mdbook, once; this takes some minutes" >&2
    cargo install --quiet --locked --root "$target/mdbook" mdbook@^0.5
  fi
fi

# All that will run, in both ways. Nothing is built while something is measured.
without=''
if ! scripts/setup.sh --check mpi >/dev/null 2>&1; then without='--exclude mpi-reduction --exclude mpi-sharded-regression'; fi
optimised=$(sed -n 's/^\/\/! [RT][a-z]*: .* --release .*-p \([a-z-]*\).*/-p \1/p' crates/*/*/src/main.rs | sort -u)
# shellcheck disable=SC2086 # lists of words
{
  cargo build --workspace $without
  cargo build --release $optimised
}

book=$target/book
rm -rf "$book"
mkdir -p "$book"
cp scripts/book/book.toml scripts/book/book.css "$book"
code=0
python3 -B scripts/book/pages.py "$book" || code=$?
if [[ ! -f $book/src/SUMMARY.md ]]; then exit 1; fi
"$mdbook" build --dest-dir "$book/html" "$book"
echo "the book: $book/html/index.html"

if [[ $handout == yes ]]; then
  chromium=$(scripts/setup.sh --where chromium)
  "$chromium" --headless --no-sandbox --disable-gpu --no-pdf-header-footer --generate-pdf-document-outline \
    --user-data-dir="$book/profile" --print-to-pdf="$book/handout.pdf" "file://$book/html/print.html" 2>"$book/chromium.log" ||
    { cat "$book/chromium.log" >&2; exit 1; }
  rm -rf "$book/profile" "$book/chromium.log"
  echo "the handout: $book/handout.pdf"
fi
exit $code
