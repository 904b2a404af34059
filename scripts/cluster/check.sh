#!/usr/bin/env bash
# Usage: scripts/cluster/check.sh
#
# Parses the job files without a cluster: Bash those of Slurm and PBS, and Condor's own parser
# job.condor, where it can be installed from PyPI (into target/htcondor).
#
# Exit code: 0 they parse, 1 one does not, 2 bad arguments.
set -euo pipefail
unset CDPATH
case ${1:-} in
  '') ;;
  -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
  *) echo "check.sh: unknown argument '$1' (--help shows how)" >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

for file in scripts/cluster/job.{slurm,pbs}; do
  bash -n "$file" || exit 1
  echo "$file: Bash parses it"
done
python=target/htcondor/bin/python
if ! "$python" -c 'import htcondor' 2>/dev/null &&
  ! { python3 -m venv --clear target/htcondor && "$python" -m pip install htcondor==24.12.24; } >/dev/null 2>&1; then
  echo "scripts/cluster/job.condor: not parsed, the Python package htcondor cannot be installed here"
  exit
fi
# -W ignore: it has no configuration, and needs none.
"$python" -W ignore - <<'END'
import htcondor

file = "scripts/cluster/job.condor"
jobs = htcondor.Submit(open(file).read()).jobs()
tasks = [(job["Args"], job["TransferOutput"]) for job in jobs]
assert tasks == [(f"--index {i}", f"result-{i}.json") for i in range(1, 5)], tasks
print(f"{file}: Condor parses it, as {len(tasks)} tasks")
END
