#!/usr/bin/env python3
"""Usage: scripts/surroundings.py [--release] [DEMO...] [--in SURROUNDING...]

Runs every demo (or those named) where little is allowed or something is odd, once in each surrounding
(or in those named), and holds it to four promises:

  1. never a wrong result with exit code 0
  2. never a hang; nothing outlives a demo by more than ten seconds, and nothing stays in TMPDIR
  3. never a riddle: what fails names its reason on standard error
  4. `| head -1` ends it quietly

The surroundings, and what a demo may do there beside showing its point (0) or saying in one sentence
that it cannot run here (77):

  help         nothing: --help has to end with 0
  arguments    nothing: an unknown option, and numbers that are none, have to end with 2
  no-reader    end by SIGPIPE, without a word
  full-disk    101, with the standard library's words, or 1
  sigchld      1: whoever starts it ignores SIGCHLD, so nobody learns how a child ended
  no-proc, own-proc (*), no-sys
               nothing: no /proc, or one mounted with subset=pid; no /sys
  processes    1 or 101: its user may have 2 to 12 processes and threads (*)
  memory       1, 101 or 134: 128 MiB, of its control group as root, else of addresses
  quota        nothing: half a core, by its control group (*)
  container    nothing: PID 1, another user, a read-only disk (*)
  inherited    nothing: descriptors 3 to 60 are open, variables of a Slurm job that is elsewhere, and a
               library that starts a thread before main
  small-tmp    1: TMPDIR has 1 MiB (*)
  no-network   1: not even a loopback interface
  file-size    1, 101, or end by SIGXFSZ: no file may have a byte (output goes to a pipe)
  killed       be gone: kill -9 at a random moment
  interrupted  be gone: Ctrl-C at a random moment
               (*) only root can

The MPI demos become mpirun: it may fail in its own words with any exit code, does not notice a full disk,
and keeps its folder ompi.* in TMPDIR where it is killed.

Exit code: 0 all kept, 1 one was not, 2 bad arguments.
"""

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
        self.variables = {}
        self.stdout = subprocess.PIPE
        self.kill_with, self.kill_after = None, 60
        self.code, self.output, self.errors, self.wrong = None, "", "", ""

    def go(self):
        environment = {**os.environ, "TMPDIR": str(self.folder), **self.variables}
        for name in ("RUST_BACKTRACE", "RUST_LIB_BACKTRACE"):
            environment.pop(name, None)
        name, value = self.mark.split("=")
        environment[name] = value
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
        left = self.wait_until_gone()
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

    def wait_until_gone(self):
        """PIDs of what is left after 11 seconds."""
        deadline = time.monotonic() + 11
        while True:
            left = []
            for environ in Path("/proc").glob("[0-9]*/environ"):
                try:
                    if self.mark.encode() in environ.read_bytes().split(b"\0"):
                        left.append(int(environ.parent.name))
                except OSError:
                    pass  # it has ended
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.05)

    def may_end_with(self, *codes):
        """Besides 0 and 77. Who is killed by signal N has code -N here."""
        if self.wrong:
            return
        if self.code not in (0, 77, *codes) and not self.demo.startswith("mpi-"):
            self.wrong = f"exit code {self.code}"
        elif self.code not in (0, -signal.SIGPIPE, -signal.SIGXFSZ) and not self.errors.strip():
            self.wrong = f"exit code {self.code}, without a word"
        elif self.code == 77 and len(self.errors.strip().splitlines()) > 3:
            self.wrong = "exit code 77, in more than three lines"


def help_(run):
    run.command.append("--help")
    run.go()
    if run.code != 0 or "Usage:" not in run.output:
        run.wrong = run.wrong or f"no help: exit code {run.code}"
    # What has to be refused, too: each option whose default is a number, with what is none
    bad = [["--no-such-option"]]
    for option in re.split(r"\n +(?=-)", run.output)[1:]:
        if re.search(r"\[default: \d[\d.]*\]", option):
            bad += [[option.split()[0], "x"], [option.split()[0], "99999999999999999999"]]
    return bad


def arguments(run):
    run.go()
    if run.code != 2 or run.output or not run.errors:
        run.wrong = run.wrong or f"{run.command[1:]}: exit code {run.code}"


def no_reader(run):
    reader, run.stdout = os.pipe()
    os.close(reader)
    run.go()
    os.close(run.stdout)
    run.may_end_with(-signal.SIGPIPE, 128 + signal.SIGPIPE)
    if run.errors and run.code != 77:
        run.wrong = run.wrong or "not quiet"


def full_disk(run):
    run.stdout = os.open("/dev/full", os.O_WRONLY)
    run.go()
    os.close(run.stdout)
    run.may_end_with(1, 101)
    if run.code == 0 and not run.demo.startswith("mpi-"):
        run.wrong = "exit code 0, and its output is lost"


def sigchld(run):
    run.before = lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    run.go()
    run.may_end_with(1)


def unshare(*options):
    return ["unshare", *([] if ROOT else ["-r"]), *options]


def with_mount(run, mount):
    run.command = [*unshare("-m"), "sh", "-c", f'mount {mount} && exec "$@"', "sh", *run.command]
    run.go()
    run.may_end_with()


def no_proc(run):
    with_mount(run, "-t tmpfs none /proc")


def own_proc(run):
    with_mount(run, "-t proc -o subset=pid proc /proc")


def no_sys(run):
    with_mount(run, "-t tmpfs none /sys")


def become_nobody(limit):
    user = 100000 + os.getpid() % 1000 * 1000 + limit  # a user without any other process
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit % 11 + 2, limit % 11 + 2))


def processes(run):
    run.before = lambda: become_nobody(run.number)
    run.go()
    run.may_end_with(1, 101)


def control_group(run, files):
    """A control group for this run, with a limit: for each version, its folder, file and text."""
    for parent, file, text in files:
        group = parent / run.mark.replace("=", "-")
        try:
            group.mkdir()
            (group / file).write_text(text)
            (group / "cgroup.procs").read_text()
            return group
        except OSError:
            if group.is_dir():
                group.rmdir()
    return None


def within(run, group):
    run.before = lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    run.go()
    group.rmdir()


def memory(run):
    group = control_group(run, ((CGROUPS / "memory", "memory.limit_in_bytes", "128M"),
                                (CGROUPS, "memory.max", "128M")))
    if group:
        within(run, group)
    else:
        run.before = lambda: resource.setrlimit(resource.RLIMIT_AS, (128 * 2**20, 128 * 2**20))
        run.go()
    run.may_end_with(1, 101, -signal.SIGABRT)


def quota(run):
    group = control_group(run, ((CGROUPS / "cpu", "cpu.cfs_quota_us", "50000"),
                                (CGROUPS, "cpu.max", "50000 100000")))
    if group:
        within(run, group)
        run.may_end_with()


def container(run):
    inner = (f"mount -t proc proc /proc && mount -o remount,bind,ro / && exec setpriv --reuid={NOBODY} "
             f'--regid={NOBODY} --clear-groups "$@"')
    run.command = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c", inner, "sh", *run.command]
    run.go()
    run.may_end_with()


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
    run.go()
    run.may_end_with()


def small_tmp(run):
    mount = f"mount -t tmpfs -o size=1m none {run.folder}"
    run.command = [*unshare("-m"), "sh", "-c", f'{mount} && exec "$@"', "sh", *run.command]
    run.go()
    run.may_end_with(1)


def no_network(run):
    run.command = [*unshare("-n"), *run.command]
    run.go()
    run.may_end_with(1)


def file_size(run):
    run.before = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    run.go()
    run.may_end_with(1, 101, -signal.SIGXFSZ)


def killed(run):
    run.kill_with, run.kill_after = signal.SIGKILL, random.uniform(0.01, 1.5)
    run.go()


def interrupted(run):
    run.kill_with, run.kill_after = signal.SIGINT, random.uniform(0.01, 1.5)
    run.go()


SURROUNDINGS = {"help": help_, "no-reader": no_reader, "full-disk": full_disk, "sigchld": sigchld,
                "no-proc": no_proc, "own-proc": own_proc, "no-sys": no_sys, "processes": processes,
                "memory": memory, "quota": quota, "container": container, "inherited": inherited,
                "small-tmp": small_tmp, "no-network": no_network, "file-size": file_size, "killed": killed,
                "interrupted": interrupted}


def why_not(surrounding):
    """Why a surrounding cannot be made here; None if it can."""
    if surrounding in ("own-proc", "processes", "container", "small-tmp") and not ROOT:
        return "only root can"
    if surrounding in ("no-proc", "own-proc", "no-sys", "container", "small-tmp", "no-network"):
        pid = ["--pid", "--fork"] if surrounding == "container" else []
        if not shutil.which("unshare") or subprocess.run([*unshare("-m"), *pid, "true"], stderr=-3).returncode:
            return "no namespaces here"
    if surrounding == "full-disk" and not os.path.exists("/dev/full"):
        return "no /dev/full here"
    return None


def main():
    words, chosen, profile = sys.argv[1:], list(SURROUNDINGS), "debug"
    if "-h" in words or "--help" in words:
        print(__doc__.strip())
        return 0
    if "--release" in words:
        words.remove("--release")
        profile = "release"
    if "--in" in words:
        words, chosen = words[: words.index("--in")], words[words.index("--in") + 1 :]
    names = words or [demo.name for demo in demos.all_demos() if not demo.why_not()]
    unknown = [word for word in names if word not in [demo.name for demo in demos.all_demos()]]
    unknown += [word for word in chosen if word not in SURROUNDINGS]
    if unknown:
        print(f"surroundings.py: '{unknown[0]}' is no demo or surrounding (--help shows how)", file=sys.stderr)
        return 2
    executables = demos.build(demos.named(names), profile)
    copies = tempfile.TemporaryDirectory(prefix="surroundings-")  # no other user may enter /root
    os.chmod(copies.name, 0o755)
    for name, executable in executables.items():
        executables[name] = shutil.copy(executable, copies.name)
    if shutil.which("cc") and "inherited" in chosen:
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", f"{copies.name}/thread.so", "-pthread"],
                       input=THREAD, text=True, check=True)

    def in_turn(surrounding, name, number):
        first = Run(name, executables[name], number)
        more = SURROUNDINGS[surrounding](first)
        runs = [first]
        for extra in more or []:
            runs.append(Run(name, executables[name], number, extra))
            arguments(runs[-1])
        return surrounding, runs

    begin, jobs, wrong = time.monotonic(), [], 0
    with ThreadPoolExecutor(4 * (os.cpu_count() or 1)) as pool:
        for surrounding in chosen:
            if why_not(surrounding):
                print(f"{surrounding}: not tried, {why_not(surrounding)}")
                continue
            for name in names:
                jobs.append(pool.submit(in_turn, surrounding, name, len(jobs)))
        count = 0
        for job in jobs:
            surrounding, runs = job.result()
            for run in runs:
                count += 1
                if run.wrong:
                    wrong += 1
                    said = run.errors.strip().splitlines()
                    print(f"{run.demo} {surrounding}: {run.wrong.strip()}: {said[0] if said else ''}", flush=True)
    print(f"surroundings: {len(names)} demos, {count} runs, {wrong} wrong, {time.monotonic() - begin:.0f} s")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
