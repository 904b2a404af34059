"""2 threads compute, then 2 processes compute, then 10 threads wait.

CPython, the usual Python, has a lock: the GIL, global interpreter lock. By
default, each process has one GIL. A thread must hold the GIL to run Python
code. Another thread that wants to run waits for the GIL. After 5 ms, that
thread demands the GIL, and then the holder lets go. A thread that waits for a
file or a network does not hold the GIL meanwhile. Nor need C code hold it that
does no work on Python objects, such as much of NumPy.
"""

import multiprocessing
import os
import resource
import signal
import sys
import time
from threading import Thread, get_native_id  # Python 3.8 or newer

ROUNDS = 1_000_000


def compute(begin):
    """Computes which millisecond it is, a million times. Then draws in which
    milliseconds that was.
    """
    computed = set()
    for _ in range(ROUNDS):
        millisecond = int(1000 * (time.monotonic() - begin))
        computed.add(millisecond)

    picture = ""
    for millisecond in range(60):
        picture += "\N{FULL BLOCK}" if millisecond in computed else " "
    tell(f"{os.getpid():>7} {get_native_id():>7}  {picture}".rstrip())


def wait(_begin):
    """Stands for waiting for a file, or a network."""
    time.sleep(0.1)


def run(kind, number, work):
    """Starts so many workers of this kind, threads or processes, and waits
    until all have ended. Returns a line: what they used.
    """
    cpu_before, blocked_before = used()
    begin = time.monotonic()
    workers = [kind(target=work, args=(begin,)) for _ in range(number)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()  # returns when this worker has ended
    seconds = time.monotonic() - begin
    cpu, blocked = used()

    busy = (cpu - cpu_before) / seconds
    times = blocked - blocked_before
    return f"{seconds:.2f} s, {busy:.2f} cores busy, blocked {times} times"


def used():
    """CPU time in seconds; and how often a thread was blocked, which means that
    it had to wait for something else than a core. In this process and its
    child processes that have ended.
    """
    cpu = blocked = 0
    for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(whose)
        cpu += usage.ru_utime + usage.ru_stime
        blocked += usage.ru_nvcsw  # voluntary context switches
    return cpu, blocked


def tell(line):
    """Prints a whole line at once, as other workers print, too."""
    os.write(1, line.encode() + b"\n")


sys.stdout.flush()  # first, what Python may have printed at its start
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head -1` ends it quietly

gil = True
if hasattr(sys, "_is_gil_enabled"):  # Python 3.13 or newer
    gil = sys._is_gil_enabled()
version = sys.version.split()[0]
tell(f"Python {version} {'with' if gil else 'without'} the GIL")
tell("    PID  thread  when it computed, in the first 60 ms")

# fork makes each process a copy of this one. Where fork is not the default, a
# process starts as a new Python, which would run all of this file again.
Process = multiprocessing.get_context("fork").Process
rows = [
    "2 threads compute:     " + run(Thread, 2, compute),
    "2 processes compute:   " + run(Process, 2, compute),
    "10 threads wait 0.1 s: " + run(Thread, 10, wait),
]
for row in rows:
    tell(row)
