#!/usr/bin/env bash
# Makes the lecture as a book: scripts/book.sh --help says how. Python makes it.
set -euo pipefail
export LC_ALL=C PYTHONUTF8=1 # whatever the locale, files are UTF-8, and programs say what they say in English
scripts=$(dirname "${BASH_SOURCE[0]}")
"$scripts/setup.sh" --check python
exec python3 -B "$scripts/book/make.py" "$@"
