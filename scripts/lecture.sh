#!/usr/bin/env bash
# Starts scripts/lecture.py, which gives the lecture (--help says how), and sees to it that there is a python3.
set -euo pipefail
scripts=$(dirname "${BASH_SOURCE[0]}")

has_python() { python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; }

if ! has_python; then "$scripts/setup.sh" python </dev/null; fi
if ! has_python; then
  echo "lecture.sh: cannot run here: it needs python3, 3.9 or newer" >&2
  exit 77
fi
exec python3 -B -X utf8 "$scripts/lecture.py" "$@"
