#!/usr/bin/env bash
# Usage: scripts/picture.sh
#
# Runs a demo, and draws what it prints as .github/run.svg, the picture in the README. The drawing is
# done by rich, which is installed from PyPI into the target folder.
#
# Exit code: 0 drawn, 1 not, 2 bad arguments, 77 there is no Python with pip.
set -euo pipefail
case ${1:-} in
  '') ;;
  -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
  *) echo "picture.sh: unknown argument '$1' (--help shows how)" >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
python=$target/picture/bin/python
if ! "$python" -c 'import rich' 2>/dev/null; then
  if ! python3 -m venv "$target/picture" || ! "$python" -m pip install -q 'rich>=14,<16'; then
    echo "cannot run here: this needs python3 with venv and pip, and PyPI" >&2
    exit 77
  fi
fi
cargo build -q -p race-condition
command='cargo run -p race-condition'
{
  echo "\$ $command"
  CARGO_TERM_QUIET=true $command
} | "$python" -c '
import io, sys
from rich.console import Console
from rich.text import Text

console = Console(record=True, width=80, file=io.StringIO())
console.print(Text(sys.stdin.read()))
console.save_svg(sys.argv[1], title=sys.argv[2])
' .github/run.svg race-condition
echo ".github/run.svg is drawn"
