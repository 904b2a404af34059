#!/usr/bin/env bash
# Usage: scripts/check-copy-out.sh [DEMO...]
#
# Copies each demo (or those named) alone to a fresh folder outside this repository, as a student
# would, and there runs its tests and the demo itself, whose output is to fit 80 columns and 24 lines.
# Built dependencies are shared between them.
#
# Exit code: 0 each one builds, passes, runs and fits, 1 one does not, 2 bad arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
  -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
  -*) echo "check-copy-out.sh: unknown option '$1' (--help shows how)" >&2; exit 2 ;;
esac

folders=$(sed -n 's|^ *"\(crates/.*\)",.*|\1|p' Cargo.toml)
if (($#)); then
  for name in "$@"; do
    if [[ $folders$'\n' != *"/$name"$'\n'* ]]; then
      echo "check-copy-out.sh: there is no demo '$name'" >&2
      exit 2
    fi
  done
  folders=$(printf '%s\n' "$@" | while read -r name; do grep "/$name\$" <<<"$folders"; done)
fi

CARGO_TARGET_DIR=$(cargo metadata --no-deps --format-version 1 |
  sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/copy-out
export CARGO_TARGET_DIR
outside=$(mktemp -d)
trap 'rm -rf "$outside"' EXIT

for folder in $folders; do
  name=$(basename "$folder")
  if [[ $name == mpi-* ]] && ! no_mpi=$(scripts/setup.sh --check mpi 2>&1); then
    echo "$name cannot be built here: $no_mpi"
    continue
  fi
  cp -R "$folder" "$outside/$name"
  arguments=$(sed -n 's|^//! Run: .* -- ||p' "$folder/src/main.rs")
  code=0
  rm -f "$outside/log" "$outside/screen"
  # shellcheck disable=SC2086 # a list of arguments, which hold no blanks
  (cd "$outside/$name" && cargo test -q >>"$outside/log" && cargo run -q -- $arguments >"$outside/screen") \
    </dev/null 2>>"$outside/log" || code=$?
  case $code in
    0)
      # Characters, of which UTF-8 has all but the first byte in this range
      wide=$(LC_ALL=C tr -d '\200-\277' <"$outside/screen" | LC_ALL=C awk 'length > 80' | wc -l)
      if ((wide > 0 || $(wc -l <"$outside/screen") > 24)); then
        cat "$outside/screen"
        echo "$name: that is more than a projector's 80 columns and 24 lines"
        exit 1
      fi
      echo "$name, copied out alone: builds, passes its tests, shows its point on one screen" ;;
    77) echo "$name, copied out alone: builds, passes its tests, $(tail -n 1 "$outside/log")" ;;
    *) cat "$outside"/{screen,log} 2>/dev/null || true; echo "$name, copied out alone: exit code $code"; exit 1 ;;
  esac
done
