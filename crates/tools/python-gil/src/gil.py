"""The same work in threads, and then in processes.

main.rs starts this program, answers it, and reads what it prints.
"""

import multiprocessing
import os
import resource
import signal
import sys
import time
from threading import Thread, get_native_id  # Python 3.8 or newer

ROUNDS = 600_000

# A worker that computes reads the clock far more often than this (seconds).
# If two readings are farther apart, it did not run in between.
GAP = 0.00002

# A copy of standard input, since multiprocessing closes that in its children.
ANSWERS = os.dup(0)


def work():
    # Only for a lecture: in 10 s a signal ends this process in any case.
    # In a real program, remove it.
    signal.alarm(10)

    asked = time.monotonic()
    tell("asks")
    answer = os.read(ANSWERS, 1)  # lets go of the GIL while it waits
    answered = time.monotonic()
    if not answer:
        sys.exit()  # main.rs is gone: this worker ends

    cpu_before = time.thread_time()
    blocked_before = blocked()
    turns = compute()  # holds the GIL, and loses it to a thread that waits
    ended = time.monotonic()
    cpu = time.thread_time() - cpu_before
    times_blocked = blocked() - blocked_before

    tell("waited", asked, answered)
    tell("worked", answered, ended)
    for start, end in turns:
        tell("computed", start, end)
    tell("done", cpu, times_blocked)


def compute():
    """Computes, and returns when it did: the start and end of each turn."""
    turns = []
    x = 1
    start = last = time.monotonic()
    for _ in range(ROUNDS):
        x = (x * 1664525 + 1013904223) % 2**32
        now = time.monotonic()
        if now - last > GAP:  # it did not run: this is the next turn
            turns.append((start, last))
            start = now
        last = now
    turns.append((start, last))
    return turns


def blocked():
    """How often this thread had to wait, and so gave up its core."""
    if not hasattr(resource, "RUSAGE_THREAD"):
        return 0  # macOS does not tell
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def tell(*words):
    """Prints a line for main.rs. It begins with the kernel's thread ID."""
    line = " ".join(str(word) for word in (get_native_id(), *words))
    os.write(1, line.encode() + b"\n")  # the whole line at once


# Ctrl-C, or a main.rs that is gone, ends this program without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def tell_error(kind, error, traceback):
    """In one line: what failed, such as to start a thread."""
    print(f"{kind.__name__}: {error}", file=sys.stderr)


sys.excepthook = tell_error

gil = True
if hasattr(sys, "_is_gil_enabled"):  # Python 3.13 or newer
    gil = sys._is_gil_enabled()
version = sys.version.split()[0]
tell(sys.implementation.name, version, gil, sys.getswitchinterval())

number = int(sys.argv[1])

# Threads: all of them are in this process, and need its GIL.
# daemon=True: if one of them cannot start, the others end with this program.
threads = [Thread(target=work, daemon=True) for _ in range(number)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

# Processes: fork makes each one a copy of this process, with its own GIL.
Process = multiprocessing.get_context("fork").Process
processes = [Process(target=work, daemon=True) for _ in range(number)]
for process in processes:
    process.start()
for process in processes:
    process.join()
