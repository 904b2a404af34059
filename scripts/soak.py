#!/usr/bin/env python3
"""Runs a demo again and again, and counts how often it showed its point.
(Where little is allowed: scripts/surroundings.py.)

  free    as the machine is
  pinned  on one core
  busy    beside four busy loops

Exit code: 0 shown every time (or it cannot run here, every time), 1 not, 2 bad arguments.
"""

import argparse
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import demos

# Ends when the process that started it has ended.
LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"


def pin():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def soak(name, command, runs, condition):
    """Whether the demo showed its point every time; what happened is printed."""
    ended = Counter()
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_BACKTRACE")}
    before = pin if condition == "pinned" else None
    for number in range(runs):
        try:
            run = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True, preexec_fn=before, timeout=60)
        except subprocess.TimeoutExpired:
            print(f"{name} {condition}, run {number}: hung for 60 s", flush=True)
            continue
        ended[run.returncode] += 1
        if run.returncode not in (0, 77):
            reason = run.stderr.strip().partition("\n")[0]
            print(f"{name} {condition}, run {number}: exit code {run.returncode}: {reason}", flush=True)
    print(f"{name} {condition}: shown {ended[0]} of {runs}, cannot run here {ended[77]}", flush=True)
    return runs in (ended[0], ended[77])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--debug", action="store_true", help="not optimised (the default is a release build)")
    parser.add_argument("--user", help="run as this user (only root can)")
    parser.add_argument("demo", help="a demo; all: every demo, some at the same time")
    parser.add_argument("runs", type=int)
    parser.add_argument("condition", nargs="*", help="free, pinned, busy (default: one after the other)")
    parser.add_argument("--arguments", nargs=argparse.REMAINDER, default=[], help="for the demo")
    args = parser.parse_args()
    conditions = args.condition or ["free", "pinned", "busy"]
    if not set(conditions) <= {"free", "pinned", "busy"}:
        parser.error("a condition is free, pinned or busy")
    chosen = demos.named([] if args.demo == "all" else [args.demo])
    chosen = [demo for demo in chosen if len(chosen) == 1 or not demo.why_not()]
    executables = demos.build(chosen, "debug" if args.debug else "release")
    user = ["setpriv", f"--reuid={args.user}", f"--regid={args.user}", "--clear-groups"] if args.user else []
    well = True
    for condition in conditions:
        if condition == "pinned" and not hasattr(os, "sched_setaffinity"):
            print("pinned: not tried, this system pins no process")
            continue
        loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(4 if condition == "busy" else 0)]
        try:
            with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
                jobs = [pool.submit(soak, name, [*user, path, *args.arguments], args.runs, condition)
                        for name, path in executables.items()]
                well &= all([job.result() for job in jobs])
        finally:
            for loop in loops:
                loop.kill()
    return 0 if well else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
