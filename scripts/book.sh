#!/usr/bin/env bash
# Makes the lecture as a book: scripts/book.sh --help says how. Python makes it.
set -euo pipefail
# What is recorded is in English, without Cargo's progress (it cannot be quiet and verbose), and without colours.
export LC_ALL=C TERM=xterm CARGO_TERM_QUIET=true CARGO_TERM_VERBOSE=false CARGO_TERM_COLOR=never
unset RUST_BACKTRACE RUST_LIB_BACKTRACE
scripts=$(dirname "${BASH_SOURCE[0]}")
"$scripts/setup.sh" --check python
exec python3 -B -X utf8 "$scripts/book/make.py" "$@"
