"""Does what each line on standard input asks for: KIND COUNT TASK AMOUNT.

Every worker reports what it has used; an empty line says that all have ended.
"""

import os
import resource
import signal
import socket
import sys
import time
from multiprocessing import get_context
from threading import Thread

PORT = int(sys.argv[1])
KINDS = {"serial": Thread, "threading": Thread, "multiprocessing": get_context("fork").Process}


def compute(steps):  # needs the GIL: whoever waits for it, asks for it every 5 ms
    x = 1
    for _ in range(steps):
        x = (x * 1664525 + 1013904223) % 2**32


def ask(requests):
    for _ in range(requests):
        with socket.create_connection(("127.0.0.1", PORT)) as server:
            server.sendall(b"?")
            server.recv(1)  # gives the GIL away while it blocks


def used():  # time; then of this thread: ns on a core, ns waiting for one, times blocked
    if sys.platform != "linux":
        return f"{time.monotonic_ns()} {time.thread_time_ns()} 0 0"
    with open("/proc/thread-self/schedstat") as file:
        run, waited, _ = file.read().split()
    blocked = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    return f"{time.monotonic_ns()} {run} {waited} {blocked}"


def work(task, amount):
    before = used()
    task(amount)
    os.write(1, f"{before} {used()}\n".encode())


signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
gil = getattr(sys, "_is_gil_enabled", lambda: True)()
print(sys.implementation.name, sys.version.split()[0], gil, flush=True)
for kind, count, task, amount in map(str.split, sys.stdin):
    args = ({"compute": compute, "ask": ask}[task], int(amount))
    workers = [KINDS[kind](target=work, args=args) for _ in range(int(count))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(flush=True)
