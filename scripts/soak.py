#!/usr/bin/env python3
"""Runs a demo again and again where little is allowed or something is odd, and holds it to these promises:

  1. never a wrong result with exit code 0
  2. never a hang; nothing outlives a demo by more than ten seconds, and nothing stays in TMPDIR
  3. never a riddle: what fails names its reason on standard error
  4. `| head -1` ends it quietly

A demo shows its point (exit code 0), on one screen, or says in one sentence that it cannot run here (77).
What else it may do in a surrounding is named below: end with 1 and a sentence, with 101 (a panic) and the
standard library's words, or by a signal. The MPI demos become mpirun: it may fail in its own words with any
exit code, does not notice a full disk, and keeps its folder ompi.* in TMPDIR where it is killed.

Exit code: 0 all kept, 1 one was not, 2 bad arguments.

Surroundings (one that cannot be made here is not tried; many take root, or Linux):
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from signal import SIGABRT, SIGKILL, SIGPIPE, SIGXFSZ

import demos
from terminal import left

# A thread before main, as some libraries have it.
THREAD = """
#include <pthread.h>
#include <unistd.h>
static void *sleeps(void *nothing) { for (;;) pause(); return nothing; }
__attribute__((constructor)) static void start(void) {
    pthread_t thread;
    pthread_create(&thread, 0, sleeps, 0);
}
"""

# For the lines of Bash below.
FUNCTIONS = r"""
unset RUST_BACKTRACE RUST_LIB_BACKTRACE
limited() { # FOLDER FILE LIMIT: puts this process into a control group of its own
  group=/sys/fs/cgroup/$1/soak-$SOAK
  [[ -d ${group%/*} ]] && mkdir "$group" && [[ -e $group/$2 ]] &&
    echo "$3" >"$group/$2" && echo $$ >"$group/cgroup.procs"
}
unshared() { if ((EUID)); then set -- --map-root-user "$@"; fi; exec unshare "$@"; }
mounted() { unshared --mount sh -c "mount $1"' && shift && exec "$@"' sh "$@"; }
"""

USUAL = [0, 77]
SURROUNDINGS = {  # how a demo may end ([]: anyhow); what the help says; a line of Bash, whose arguments run the demo
    "free": (USUAL, "as the machine is", 'exec "$@"'),
    "pinned": (USUAL, "on one core", """exec taskset -c "$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')" "$@" """),
    "busy": (USUAL, "beside four busy loops",
             '(for _ in 1 2 3 4; do (exec >/dev/null 2>&1; while kill -0 $$; do :; done) & done); exec "$@"'),
    "help": ([0], "--help; then an unknown option, and numbers that are none: 2", 'exec "$@" --help'),
    "no-reader": ([*USUAL, -SIGPIPE, 128 + SIGPIPE], "nobody reads: SIGPIPE, not a word",
                  'exec 3> >(exec true); wait $!; exec "$@" >&3 3>&-'),
    "full-disk": ([77, 1, 101], "its output goes to a full disk: 1, 101, never 0", 'exec "$@" >/dev/full'),
    "sigchld": ([*USUAL, 1], "SIGCHLD is ignored, so nobody learns how a child ended: 1", 'trap "" CHLD; exec "$@"'),
    "no-proc": (USUAL, "no /proc", 'mounted "-t tmpfs none /proc" "$@"'),
    "own-proc": (USUAL, "a /proc mounted with subset=pid", 'mounted "-t proc -o subset=pid proc /proc" "$@"'),
    "no-sys": (USUAL, "no /sys", 'mounted "-t tmpfs none /sys" "$@"'),
    "processes": ([*USUAL, 1, 101], "its user may have 2 to 12 processes and threads: 1, 101",
                  "exec setpriv --reuid=$((100000 + SOAK)) --regid=$((100000 + SOAK)) --clear-groups "
                  'prlimit --nproc=$((SOAK % 11 + 2)) "$@"'),
    "memory": ([*USUAL, 1, 101, -SIGABRT], "128 MiB of its control group: 1, 101, SIGABRT",
               'limited memory memory.limit_in_bytes 128M || limited . memory.max 128M && exec "$@"'),
    "addresses": ([*USUAL, 1, 101, -SIGABRT], "128 MiB of addresses: 1, 101, SIGABRT", 'ulimit -v 131072 && exec "$@"'),
    "quota": (USUAL, "half a core, by its control group",
              'limited cpu cpu.cfs_quota_us 50000 || limited . cpu.max "50000 100000" && exec "$@"'),
    "container": (USUAL, "PID 1, another user, a read-only disk",
                  "exec unshare --pid --mount --fork --kill-child sh -c 'mount -t proc proc /proc && "
                  'mount -o remount,bind,ro / && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"\''
                  ' sh "$@"'),
    "inherited": (USUAL, "open descriptors 3 to 60, variables of a Slurm job, a thread before main",
                  'for number in {3..60}; do eval "exec $number</dev/null"; done; '
                  "export SLURM_JOB_ID=7 SLURM_JOBID=7 SLURM_NODELIST='node[1-2]' SLURM_JOB_NODELIST='node[1-2]' "
                  "SLURM_NNODES=2 SLURM_NTASKS=2 SLURM_TASKS_PER_NODE='1(x2)' SLURM_PROCID=0; "
                  'LD_PRELOAD=$THREAD exec "$@"'),
    "small-tmp": ([*USUAL, 1], "TMPDIR has 1 MiB: 1", 'mounted "-t tmpfs -o size=1m none $TMPDIR" "$@"'),
    "no-network": ([*USUAL, 1], "not even a loopback interface: 1", 'unshared --net "$@"'),
    "file-size": ([*USUAL, 1, 101, -SIGXFSZ], "no file may have a byte: 1, 101, SIGXFSZ", 'ulimit -f 0 && exec "$@"'),
    "killed": ([], "kill -9 at a random moment: be gone",
               'exec timeout --foreground -s KILL "$((RANDOM % 2)).$((RANDOM % 9))$((RANDOM % 9 + 1))" "$@"'),
    "interrupted": ([], "Ctrl-C at a random moment: be gone",
                    'exec timeout -k 11 -s INT "$((RANDOM % 2)).$((RANDOM % 9))$((RANDOM % 9 + 1))" "$@"'),
}

numbers = count(os.getpid() % 10000 * 100000)  # of the runs
stopped = threading.Event()  # by Ctrl-C


class Run:
    """One run of a command in a surrounding. `wrong` says which promise it broke."""

    def __init__(self, surrounding, command, variables):
        self.surrounding = surrounding
        self.wrong = ""
        number = next(numbers)
        folder = Path(tempfile.mkdtemp(prefix="soak-"))
        folder.chmod(0o777)
        environment = {**os.environ, **variables, "TMPDIR": str(folder), "SOAK": str(number)}
        line = FUNCTIONS + SURROUNDINGS[surrounding][2]
        process = subprocess.Popen(["bash", "-c", line, "bash", *command], env=environment, start_new_session=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, errors="replace")
        try:
            self.output, self.errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.wrong = "hung for 60 s"
            os.killpg(process.pid, SIGKILL)
        still_there = left(f"SOAK={number}")
        if still_there:
            self.wrong += f" left processes {still_there}"
        for pid in still_there:
            os.kill(pid, SIGKILL)
        if self.wrong:
            self.output, self.errors = process.communicate()
        self.code = process.returncode  # -N: killed by signal N
        self.reason = self.errors.strip().partition("\n")[0]
        kept = [path.name for path in folder.iterdir() if not path.name.startswith("ompi.")]
        if kept:
            self.wrong += f" left files {kept[:3]}"
        shutil.rmtree(folder, ignore_errors=True)
        for group in ("", "memory/", "cpu/"):
            with suppress(OSError):
                os.rmdir(f"/sys/fs/cgroup/{group}soak-{number}")

    def judge(self, is_mpi):
        codes = SURROUNDINGS[self.surrounding][0]
        if self.wrong or not codes:
            return
        said = self.errors.strip()
        lines = self.output.splitlines()
        if self.code not in codes and not is_mpi:
            self.wrong = f"exit code {self.code}"
        elif self.code not in (0, -SIGPIPE, -SIGXFSZ) and not said:
            self.wrong = f"exit code {self.code}, without a word"
        elif self.code == -SIGPIPE and said:
            self.wrong = "not quiet"
        elif self.code == 77 and len(said.splitlines()) > 3:
            self.wrong = "exit code 77, in more than three lines"
        elif self.surrounding == "help" and "Usage:" not in self.output:
            self.wrong = "no help"
        elif self.surrounding == "free" and (len(lines) > 24 or any(len(line) > 80 for line in lines)):
            self.wrong = "more than a projector's 80 columns and 24 lines"


def wrong_arguments(text):
    """Of a help text: what has to be refused. Each option whose default is a number gets what is none."""
    yield ["--no-such-option"]
    for option in re.split(r"\n +(?=-)", text)[1:]:
        if re.search(r"\[default: \d[\d.]*\]", option):
            yield [option.split()[0], "x"]
            yield [option.split()[0], "99999999999999999999"]


def soak(name, command, surrounding, times, variables):
    """Runs a demo in a surrounding; tells what was wrong. Returns how many runs there were, and how many wrong."""
    codes = Counter()
    runs = []
    while len(runs) < times and not stopped.is_set():
        run = Run(surrounding, command, variables)
        run.judge(name.startswith("mpi-"))
        codes[run.code] += 1
        runs.append(run)
    if surrounding == "help":
        for arguments in wrong_arguments(runs[0].output):
            refused = Run("free", [*command, *arguments], variables)
            if refused.code != 2 or refused.output or not refused.errors:
                refused.wrong += f"{arguments}: exit code {refused.code}"
            runs.append(refused)
    wrong = [run for run in runs if run.wrong]
    for run in wrong:
        print(f"{name} {surrounding}: {run.wrong.strip()}: {run.reason}", flush=True)
    if times > 1:
        print(f"{name} {surrounding}: shown {codes[0]} of {len(runs)}, cannot run here {codes[77]}", flush=True)
    fickle = 0 < codes[77] < times  # now it can run here, now it cannot
    return len(runs), len(wrong) + fickle


def arguments():
    says = "".join(f"  {name:12} {says}\n" for name, (_, says, _) in SURROUNDINGS.items())
    parser = argparse.ArgumentParser(description=f"{__doc__}\n{says}", formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--release", action="store_true", help="build optimised (default: as the lecture does)")
    parser.add_argument("--arguments", nargs=argparse.REMAINDER, default=[], help="for the demo")
    parser.add_argument("demo", help="a demo; all: every demo that can be built here, several at the same time")
    parser.add_argument("times", type=int, nargs="?", default=1, help="how often (default: once)")
    parser.add_argument("surroundings", nargs="*", help="default: all; for more than once: free, pinned and busy")
    words = parser.parse_intermixed_args()
    if words.times < 1:
        parser.error("how often: at least once")
    for name in words.surroundings:
        if name not in SURROUNDINGS:
            parser.error(f"there is no surrounding '{name}' (--help shows all)")
    if not words.surroundings:
        words.surroundings = ["free", "pinned", "busy"] if words.times > 1 else list(SURROUNDINGS)
    return words


def main():
    words = arguments()
    chosen = demos.chosen([] if words.demo == "all" else [words.demo])
    executables = demos.build(chosen, "release" if words.release else None, demos.test_settings())
    copies = tempfile.TemporaryDirectory(prefix="soak-")  # no other user may enter /root
    os.chmod(copies.name, 0o755)
    for name, executable in executables.items():
        executables[name] = shutil.copy(executable, copies.name)
    variables = {"THREAD": f"{copies.name}/thread.so" if shutil.which("cc") else ""}
    if variables["THREAD"]:
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", variables["THREAD"], "-pthread"],
                       input=THREAD, text=True, check=True)
    begin = time.monotonic()
    possible = []
    for surrounding in words.surroundings:
        probe = Run(surrounding, ["true"], variables)
        if probe.code in (0, 124, 128 + SIGKILL):  # timeout may be as quick as `true`
            possible.append(surrounding)
        else:
            print(f"{surrounding}: not tried, it cannot be made here: {probe.wrong or probe.reason}")
    jobs = []
    # One demo alone is disturbed by nothing else.
    with ThreadPoolExecutor(4 * (os.cpu_count() or 1) if len(chosen) > 1 else 1) as pool:
        try:
            for surrounding in possible:
                for name, executable in executables.items():
                    command = [executable, *words.arguments]
                    jobs.append(pool.submit(soak, name, command, surrounding, words.times, variables))
            results = [job.result() for job in jobs]
        except KeyboardInterrupt:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            return 130
    runs = sum(runs for runs, _ in results)
    wrong = sum(wrong for _, wrong in results)
    print(f"soak: {len(chosen)} demos, {runs} runs, {wrong} wrong, {time.monotonic() - begin:.0f} s")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
