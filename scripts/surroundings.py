#!/usr/bin/env python3
"""Runs every demo (or those named) where little is allowed or something is odd, once in each surrounding
(or in those named), and holds it to four promises:

  1. never a wrong result with exit code 0
  2. never a hang; nothing outlives a demo by more than ten seconds, and nothing stays in TMPDIR
  3. never a riddle: what fails names its reason on standard error
  4. `| head -1` ends it quietly

A demo may show its point (exit code 0), or say in one sentence that it cannot run here (77). What else it
may do is named below: to end with 1 and a sentence, with 101 (a panic) and the standard library's words, or
by a signal. The MPI demos become mpirun: it may fail in its own words with any exit code, does not notice a
full disk, and keeps its folder ompi.* in TMPDIR where it is killed.

Exit code: 0 all kept, 1 one was not, 2 bad arguments.

The surroundings (*: only root can make them):
"""

import argparse
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import demos
from terminal import marked

NOBODY = 65534
CGROUPS = Path("/sys/fs/cgroup")
ROOT = os.geteuid() == 0


class Run:
    """One demo in one surrounding. `wrong` says which promise it broke."""

    def __init__(self, demo, executable, number, arguments=()):
        self.demo, self.number = demo, number
        self.mark = f"SURROUNDINGS={os.getpid()}-{number}"
        self.command = [executable, *arguments]
        self.folder = Path(tempfile.mkdtemp(prefix="surroundings-"))
        self.folder.chmod(0o777)
        self.before = None  # what the child does before exec
        self.group = None  # its control group
        self.variables = {}
        self.stdout = subprocess.PIPE
        self.kill_with, self.kill_after = None, 60
        self.code, self.output, self.errors, self.wrong = None, "", "", ""

    def go(self):
        name, value = self.mark.split("=")
        environment = {**os.environ, "TMPDIR": str(self.folder), **self.variables, name: value}
        for backtrace in ("RUST_BACKTRACE", "RUST_LIB_BACKTRACE"):
            environment.pop(backtrace, None)
        process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.stdout,
                                   stderr=subprocess.PIPE, env=environment, preexec_fn=self.before,
                                   start_new_session=True, errors="replace", text=True,
                                   close_fds=self.before is not inherit)
        try:
            self.output, self.errors = process.communicate(timeout=self.kill_after)
        except subprocess.TimeoutExpired:
            if self.kill_with is None:
                self.wrong = f"hung for {self.kill_after} s"
            if self.kill_with == signal.SIGINT:
                os.killpg(process.pid, signal.SIGINT)
            else:
                process.kill()
        left = self.left_after_11_seconds()
        if left:
            self.wrong += f" left processes {left}"
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        self.code = process.wait()
        process.communicate()
        kept = [path.name for path in self.folder.iterdir() if not path.name.startswith("ompi.")]
        if kept:
            self.wrong += f" left files {kept[:3]}"
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.group:
            self.group.rmdir()

    def left_after_11_seconds(self):
        deadline = time.monotonic() + 11
        while marked(self.mark) and time.monotonic() < deadline:
            time.sleep(0.05)
        return marked(self.mark)

    def judge(self, codes):
        """Who is killed by signal N has code -N here."""
        if self.wrong or codes is ANY:
            return
        said = self.errors.strip()
        if self.code not in codes and not self.demo.startswith("mpi-"):
            self.wrong = f"exit code {self.code}"
        elif self.code not in (0, -signal.SIGPIPE, -signal.SIGXFSZ) and not said:
            self.wrong = f"exit code {self.code}, without a word"
        elif self.code == -signal.SIGPIPE and said:
            self.wrong = "not quiet"
        elif self.code == 77 and len(said.splitlines()) > 3:
            self.wrong = "exit code 77, in more than three lines"


# --- What each surrounding does before a run ------------------------------------------------------


def help_(run):
    run.command.append("--help")


def wrong_arguments(text):
    """Of a help text: what has to be refused. Each option whose default is a number gets what is none."""
    bad = [["--no-such-option"]]
    for option in re.split(r"\n +(?=-)", text)[1:]:
        if re.search(r"\[default: \d[\d.]*\]", option):
            bad += [[option.split()[0], "x"], [option.split()[0], "99999999999999999999"]]
    return bad


def no_reader(run):
    reader, writer = os.pipe()
    os.close(reader)
    run.stdout = os.fdopen(writer, "w")


def full_disk(run):
    run.stdout = open("/dev/full", "w")


def sigchld(run):
    run.before = lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def unshare(*options):
    return ["unshare", *([] if ROOT else ["-r"]), *options]


def mounted(run, what):
    run.command = [*unshare("-m"), "sh", "-c", f'mount {what} && exec "$@"', "sh", *run.command]


def no_proc(run):
    mounted(run, "-t tmpfs none /proc")


def own_proc(run):
    mounted(run, "-t proc -o subset=pid proc /proc")


def no_sys(run):
    mounted(run, "-t tmpfs none /sys")


def small_tmp(run):
    mounted(run, f"-t tmpfs -o size=1m none {run.folder}")


def no_network(run):
    run.command = [*unshare("-n"), *run.command]


def container(run):
    inner = (f"mount -t proc proc /proc && mount -o remount,bind,ro / && exec setpriv --reuid={NOBODY} "
             f'--regid={NOBODY} --clear-groups "$@"')
    run.command = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c", inner, "sh", *run.command]


def become_somebody(number):
    user = 100000 + os.getpid() % 1000 * 1000 + number  # a user without any other process
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    resource.setrlimit(resource.RLIMIT_NPROC, (number % 11 + 2, number % 11 + 2))


def processes(run):
    run.before = lambda: become_somebody(run.number)


def in_control_group(run, files):
    """Whether this run gets a control group with a limit; for version 1 and 2 the folder, file and text."""
    for parent, file, text in files:
        group = parent / run.mark.replace("=", "-")
        try:
            group.mkdir()
            (group / file).write_text(text)
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        run.group = group
        run.before = lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
        return True
    return False


def memory(run):
    if not in_control_group(run, ((CGROUPS / "memory", "memory.limit_in_bytes", "128M"),
                                  (CGROUPS, "memory.max", "128M"))):
        run.before = lambda: resource.setrlimit(resource.RLIMIT_AS, (128 * 2**20, 128 * 2**20))


def quota(run):
    in_control_group(run, ((CGROUPS / "cpu", "cpu.cfs_quota_us", "50000"), (CGROUPS, "cpu.max", "50000 100000")))


THREAD = """
#include <pthread.h>
#include <unistd.h>
static void *sleeps(void *nothing) { for (;;) pause(); return nothing; }
__attribute__((constructor)) static void start(void) {
    pthread_t thread;
    pthread_create(&thread, 0, sleeps, 0);
}
"""
SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOBID": "7", "SLURM_NODELIST": "node[1-2]", "SLURM_JOB_NODELIST": "node[1-2]",
         "SLURM_NNODES": "2", "SLURM_NTASKS": "2", "SLURM_TASKS_PER_NODE": "1(x2)", "SLURM_PROCID": "0"}


def inherit():
    for number in range(3, 61):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(0, number)


def inherited(run):
    run.variables = dict(SLURM)
    library = Path(run.command[0]).parent / "thread.so"
    if library.exists():
        run.variables["LD_PRELOAD"] = str(library)
    run.before = inherit


def file_size(run):
    run.before = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def killed(run):
    run.kill_with, run.kill_after = signal.SIGKILL, random.uniform(0.01, 1.5)


def interrupted(run):
    run.kill_with, run.kill_after = signal.SIGINT, random.uniform(0.01, 1.5)


ANY = []
USUAL = [0, 77]
SURROUNDINGS = {  # what prepares it, how a demo may end, and what the help says
    "help": (help_, [0], "--help; then an unknown option, and numbers that are none: 2"),
    "no-reader": (no_reader, [*USUAL, -signal.SIGPIPE, 128 + signal.SIGPIPE], "nobody reads: SIGPIPE, not a word"),
    "full-disk": (full_disk, [77, 1, 101], "its output goes to a full disk: 1, 101, never 0"),
    "sigchld": (sigchld, [*USUAL, 1], "SIGCHLD is ignored, so nobody learns how a child ended: 1"),
    "no-proc": (no_proc, USUAL, "no /proc"),
    "own-proc": (own_proc, USUAL, "* a /proc mounted with subset=pid"),
    "no-sys": (no_sys, USUAL, "no /sys"),
    "processes": (processes, [*USUAL, 1, 101], "* its user may have 2 to 12 processes and threads: 1, 101"),
    "memory": (memory, [*USUAL, 1, 101, -signal.SIGABRT], "128 MiB (as root of its control group): 1, 101, SIGABRT"),
    "quota": (quota, USUAL, "half a core, by its control group (as root; else as usual)"),
    "container": (container, USUAL, "* PID 1, another user, a read-only disk"),
    "inherited": (inherited, USUAL, "open descriptors 3 to 60, variables of a Slurm job, a thread before main"),
    "small-tmp": (small_tmp, [*USUAL, 1], "* TMPDIR has 1 MiB: 1"),
    "no-network": (no_network, [*USUAL, 1], "not even a loopback interface: 1"),
    "file-size": (file_size, [*USUAL, 1, 101, -signal.SIGXFSZ], "no file may have a byte: 1, 101, SIGXFSZ"),
    "killed": (killed, ANY, "kill -9 at a random moment: be gone"),
    "interrupted": (interrupted, ANY, "Ctrl-C at a random moment: be gone"),
}


def why_not(surrounding):
    """Why a surrounding cannot be made here; None if it can."""
    if SURROUNDINGS[surrounding][2].startswith("*") and not ROOT:
        return "only root can"
    if surrounding in ("no-proc", "own-proc", "no-sys", "container", "small-tmp", "no-network"):
        pid = ["--pid", "--fork"] if surrounding == "container" else []
        if not shutil.which("unshare") or subprocess.run([*unshare("-m"), *pid, "true"], stderr=-3).returncode:
            return "no namespaces here"
    if surrounding == "full-disk" and not os.path.exists("/dev/full"):
        return "no /dev/full here"
    return None


def run_in(surrounding, name, executable, number):
    """Runs a demo in a surrounding; gives the run, and those with wrong arguments."""
    prepare, codes, _ = SURROUNDINGS[surrounding]
    run = Run(name, executable, number)
    prepare(run)
    run.go()
    run.judge(USUAL + codes if name.startswith("mpi-") and codes else codes)
    runs = [run]
    if surrounding == "help":
        if "Usage:" not in run.output:
            run.wrong += "no help"
        for arguments in wrong_arguments(run.output):
            refused = Run(name, executable, number, arguments)
            refused.go()
            if refused.code != 2 or refused.output or not refused.errors:
                refused.wrong += f"{arguments}: exit code {refused.code}"
            runs.append(refused)
    return runs


def arguments():
    """The demos, the surroundings, the profile and the time that were asked for."""
    says = "".join(f"  {name:12} {says}\n" for name, (_, _, says) in SURROUNDINGS.items())
    parser = argparse.ArgumentParser(description=f"{__doc__}\n{says}", formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--release", action="store_true", help="test optimised builds")
    parser.add_argument("--seconds", type=float, help="in random order, and none begins later")
    parser.add_argument("--in", nargs="+", metavar="SURROUNDING", choices=SURROUNDINGS, dest="chosen")
    parser.add_argument("demos", nargs="*", metavar="DEMO")
    words = parser.parse_args()
    asked = [demo for demo in demos.named(words.demos) if words.demos or not demo.why_not()]
    return asked, words.chosen or SURROUNDINGS, "release" if words.release else "debug", words.seconds


def main():
    asked, chosen, profile, seconds = arguments()
    executables = demos.build(asked, profile, demos.test_settings())
    copies = tempfile.TemporaryDirectory(prefix="surroundings-")  # no other user may enter /root
    os.chmod(copies.name, 0o755)
    for name, executable in executables.items():
        executables[name] = shutil.copy(executable, copies.name)
    if shutil.which("cc") and "inherited" in chosen:
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", f"{copies.name}/thread.so", "-pthread"],
                       input=THREAD, text=True, check=True)

    planned = []
    for surrounding in chosen:
        if why_not(surrounding):
            print(f"{surrounding}: not tried, {why_not(surrounding)}")
            continue
        for name, executable in executables.items():
            planned.append((surrounding, name, executable, len(planned)))
    if seconds:
        random.shuffle(planned)
    begin = time.monotonic()

    def run_in_time(job):
        return run_in(*job) if not seconds or time.monotonic() - begin < seconds else []

    count, late, wrong = 0, 0, 0
    with ThreadPoolExecutor(4 * (os.cpu_count() or 1)) as pool:
        for (surrounding, *_), runs in zip(planned, pool.map(run_in_time, planned)):
            late += not runs
            for run in runs:
                count += 1
                if run.wrong:
                    wrong += 1
                    said = run.errors.strip().partition("\n")[0]
                    print(f"{run.demo} {surrounding}: {run.wrong.strip()}: {said}", flush=True)
    if late:
        print(f"surroundings: {late} of {len(planned)} pairs of a demo and a surrounding, by chance, not tried in time")
    print(f"surroundings: {len(executables)} demos, {count} runs, {wrong} wrong, {time.monotonic() - begin:.0f} s")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
