#!/usr/bin/env bash
# Usage: scripts/picture.sh
#
# Runs a demo, and draws what it prints as .github/run.svg, the picture in the README. The drawing is
# done by rich, from PyPI, in target/picture. Exit code: 0 drawn, 2 bad arguments, 77 there is no rich.
set -euo pipefail
unset CDPATH
if [[ $* == --help || $* == -h ]]; then sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit; fi
if (($#)); then echo "picture.sh: it takes no argument (--help shows how)" >&2; exit 2; fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=target/picture/bin/python
if ! "$python" -c 'import rich' 2>/dev/null &&
  ! { python3 -m venv --clear target/picture && "$python" -m pip install -q 'rich>=14,<16'; }; then
  echo "cannot run here: this needs python3 with venv and pip, and PyPI" >&2
  exit 77
fi
demo=$(scripts/demos.py build race-condition)
{ echo '$ cargo run -p race-condition'; "$demo"; } | "$python" -c '
from rich.console import Console
console = Console(record=True, width=80)
console.print(open(0).read(), markup=False, emoji=False, highlight=False)
console.save_svg(".github/run.svg", title="race-condition")'
