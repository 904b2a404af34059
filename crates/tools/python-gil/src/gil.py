"""Does what each line on standard input asks for: KIND COUNT TASK AMOUNT.

Every worker reports: seconds, of them on a core, and how often it blocked. An empty line says
that all have ended.
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


def compute(rounds):  # needs the GIL: whoever waits for it, asks for it every 5 ms
    x = 1
    for _ in range(rounds):
        x = (x * 1664525 + 1013904223) % 2**32


def ask(questions):
    for _ in range(questions):
        with socket.create_connection(("127.0.0.1", PORT)) as server:
            server.sendall(b"?")
            server.recv(1)  # gives the GIL away while it blocks


def blocked():  # how often this thread has given up its core, as it had to wait
    if not hasattr(resource, "RUSAGE_THREAD"):
        return 0  # macOS does not tell
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def work(task, amount):
    begin, before = time.monotonic(), blocked()
    task(amount)
    report = time.monotonic() - begin, time.thread_time(), blocked() - before
    os.write(1, ("%f %f %d\n" % report).encode())


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
