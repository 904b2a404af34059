#!/usr/bin/env bash
# Usage: scripts/check-copy-out.sh [DEMO...]
#
# Copies each demo (or those named) alone to a folder outside this repository, as a student would, and
# there runs its tests and the demo itself, whose output is to fit 80 columns and 24 lines; those with a
# Run line also optimised. Two demos at a time for each core, as many tests wait; built dependencies are
# shared between them.
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

target=$(cargo metadata --no-deps --format-version 1 |
  sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
export CARGO_TARGET_DIR=$target/copy-out
# The copies keep their folder and the files' times, so that Cargo builds again only what has changed.
# Outside this repository: below it, Cargo would look for them among its members.
outside=${TMPDIR:-/tmp}/copy-out-$(id -u)-$(cksum <<<"$PWD" | cut -d' ' -f1)
if [[ ! -d $outside ]]; then mkdir -m 700 "$outside"; fi
if [[ ! -O $outside || -L $outside ]]; then
  echo "check-copy-out.sh: $outside belongs to somebody else" >&2
  exit 1
fi
export outside
no_mpi=''
if [[ $folders == */mpi-* ]]; then no_mpi=$(scripts/setup.sh --check mpi 2>&1) || true; fi
export no_mpi

# Copies the demo in folder $1 out, and tests and runs it there. Its lines come in one piece.
check() {
  local name copy code=0 wide
  name=$(basename "$1")
  if [[ $name == mpi-* && -n $no_mpi ]]; then
    echo "$name cannot be built here: $no_mpi"
    return
  fi
  copy=$outside/$name
  mkdir -p "$copy"
  find "$copy" -mindepth 1 -maxdepth 1 ! -name Cargo.lock -exec rm -rf {} + # what was removed here, too
  cp -Rp "$1/." "$copy"
  (cd "$copy" && cargo test -q >../"$name.log" && cargo run -q >../"$name.screen") \
    </dev/null 2>"$copy.errors" || code=$?
  # One with a Run line measures optimised code.
  if ((code == 0)) && grep -q '^//! Run: .*--release' "$copy/src/main.rs"; then
    (cd "$copy" && cargo test -q --release >../"$name.log" && cargo run -q --release >../"$name.screen") \
      </dev/null 2>"$copy.errors" || code=$?
  fi
  case $code in
    0)
      # Characters, of which UTF-8 has all but the first byte in this range
      wide=$(LC_ALL=C tr -d '\200-\277' <"$copy.screen" | LC_ALL=C awk 'length > 80' | wc -l)
      if ((wide > 0 || $(wc -l <"$copy.screen") > 24)); then
        printf '%s\n' "$(cat "$copy.screen")" "$name: more than a projector's 80 columns and 24 lines"
        return 1
      fi
      echo "$name, copied out alone: builds, passes its tests, shows its point on one screen" ;;
    77) echo "$name, copied out alone: builds, passes its tests, $(tail -n 1 "$copy.errors")" ;;
    *)
      printf '%s\n' "$(cat "$copy".{log,screen,errors} 2>/dev/null)" "$name, copied out alone: exit code $code"
      return 1 ;;
  esac
}
export -f check

cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# The last ones of the lecture take longest, so they begin.
last_first=$(awk '{ text = $0 "\n" text } END { printf "%s", text }' <<<"$folders")
# shellcheck disable=SC2016 # for the inner Bash
xargs -n 1 -P "$((2 * cores))" bash -c 'set -euo pipefail; check "$1"' check <<<"$last_first" || exit 1
