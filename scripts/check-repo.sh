#!/usr/bin/env bash
# Usage: scripts/check-repo.sh
#
# Checks what no compiler does: that the README's table lists every demo with the part and the
# description of its manifest, in the lecture's order; that the slides run every demo once, in that
# order, with the question and the Try lines of its header; that every demo has its tests and header
# lines, and stands alone; and that no dependency is wanted in two versions.
#
# Exit code: 0 all is well, 1 it is not (each finding on a line), 2 bad arguments.
set -euo pipefail
case ${1:-} in
  '') ;;
  -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
  *) echo "check-repo.sh: unknown argument '$1' (--help shows how)" >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

found=$(
  # The demos of Cargo.toml are those that exist.
  members=$(sed -n 's|^ *"\(crates/.*\)",.*|\1|p' Cargo.toml)
  diff <(sort <<<"$members") <(find crates -mindepth 2 -maxdepth 2 -type d | sort) |
    sed -n 's/^< /Cargo.toml lists what does not exist: /p; s/^> /missing in Cargo.toml: /p'

  # The README's rows: | slide | [`demo`](crates/part/demo) | description |
  # shellcheck disable=SC2016 # backquotes of Markdown
  diff <(sed -n 's/^|.*| \[`\(.*\)`\](\(.*\)) | \(.*\) |$/\1 in \2: \3/p' README.md | sed 's/\\|/|/g') \
    <(for demo in $members; do
      echo "$(basename "$demo") in $demo: $(sed -n 's/^description = "\(.*\)"$/\1/p' "$demo/Cargo.toml")"
    done) | sed -n 's/^< /the README has, no manifest: /p; s/^> /the README lacks, or has elsewhere: /p'

  # The slides: of each demo its title, question, run and Try lines, and nothing else of that kind.
  diff <(grep -E '^(\*\*Predict:\*\* |cargo run -q .*[a-z]$|less )|cargo run .*-p|^sudo ' scripts/lecture.md |
    grep -v '| tail ') \
    <(for demo in $members; do
      main=$demo/src/main.rs
      sed -n 's/^\/\/! Predict: */**Predict:** /p' "$main"
      run=$(sed -n 's/^\/\/! Run: *//p' "$main")
      run=${run:-cargo run -p $(basename "$demo")}
      echo "${run/cargo run/cargo run -q}"
      echo "less $main"
      sed -n 's/^\/\/! Try: *//p' "$main"
    done) | sed -n 's/^< /the slides have, no demo: /p; s/^> /the slides lack, or have elsewhere: /p'

  for demo in $members; do
    for file in src/main.rs tests/demo.rs; do
      if [[ ! -f $demo/$file ]]; then echo "$demo has no $file"; fi
    done
    for line in Predict Try 'See also'; do
      if ! grep -q "^//! $line: " "$demo/src/main.rs"; then echo "$demo/src/main.rs: no $line line"; fi
    done
    if ! grep -qx "name = \"$(basename "$demo")\"" "$demo/Cargo.toml"; then
      echo "$demo: the package has another name than its folder"
    fi
    if grep -nE 'workspace *= *true|path *= *"\.\.' "$demo/Cargo.toml"; then
      echo "$demo/Cargo.toml: this breaks the demo when it is copied out"
    fi
    for key in 'edition = "2024"' 'license = "MIT-0"' 'publish = false' 'rust-version = ".*"'; do
      if ! grep -qx "$key" "$demo/Cargo.toml"; then echo "$demo/Cargo.toml: no line $key"; fi
    done
    # rustfmt wraps code, but no comment. Characters, of which UTF-8 has all but the first byte here.
    if LC_ALL=C tr -d '\200-\277' <"$demo/src/main.rs" | LC_ALL=C grep -n '.\{81\}'; then
      echo "$demo/src/main.rs: these lines of over 80 characters do not fit a projector"
    fi
    if (($(sed -n 's/^description = "\(.*\)"$/\1/p' "$demo/Cargo.toml" | wc -m) > 81)); then
      echo "$demo/Cargo.toml: a description of over 80 characters does not fit a projector"
    fi
  done

  # name = "version", or name = { version = "version", ... }
  awk '/^\[/ { in_dependencies = /dependencies\]$/ }
    in_dependencies && match($0, /"[0-9.]+"/) { print $1, substr($0, RSTART, RLENGTH) }
  ' crates/*/*/Cargo.toml | sort -u | awk '{ versions[$1] = versions[$1] " " $2; count[$1]++ }
    END { for (d in count) if (count[d] > 1) print d " is wanted in several versions:" versions[d] }'
)
if [[ -n $found ]]; then printf '%s\n' "$found"; exit 1; fi
echo "check-repo: README, manifests and demos agree"
