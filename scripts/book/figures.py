"""The numbers in what the demos print: for the table of the last page, and for the plots.

Each function takes text that a demo has printed. If it has changed, and has no such line any more, that
is an error which names the demo: a book with a gap would go unnoticed.
"""

import re

# For each demo of the table "process or thread?": a line of its output, and how the table says it.
SAID = {
    "launch-cost": [
        (r"^thread .* (\S+)  █", r"from \1 on for a thread"),
        (r"^fork  .* (\S+)  █", r"from \1 on for a fork"),
        (r"^fork \+ exec python3 .* (\S+)  █", r"from \1 on for a Python"),
    ],
    "communication-cost": [
        (r"^threads, shared memory +(\d+) ", r"\1 round trips/s by shared memory"),
        (r"^threads, channel +(\d+) ", r"\1 round trips/s by channel"),
        (r"^processes, pipe +(\d+) ", r"\1 round trips/s by pipe"),
    ],
    "process-isolation": [
        (r"^child \d+, (with both threads: killed by SIGSEGV)$", r"a child \1"),
        (r"^parent \d+ (outlived .*)$", r"its parent \1"),
    ],
    "failing-operations": [(r"^(\d+ workers started: .*)$", r"\1")],
    "fork-then-load": [(r"^((?:fork, then load|load, then fork): \d+ MiB in use)", r"\1")],
    "stacks-and-heap": [(r"^heap: +(.*)$", r"\1")],
    "embarrassingly-parallel": [
        (r"^ +(\d+) +[\d.]+ +([\d.]+)  \d+ to \d+$", r"\2 times as fast, threads: \1"),
    ],
    "blocking-operations": [(r"^(\d+ threads?: \S+ s = \S+ times \S+),", r"\1")],
    "python-gil": [
        (r"^(\d+ (?:threads|processes)) compute: .* (\S+ cores busy),", r"\1: \2"),
        (r"^(\d+ threads wait \S+ s: +\S+ s),", r"\1"),
    ],
}


def find(demo_name, pattern, text):
    """All lines of this pattern, at least one."""
    found = list(re.finditer(pattern, text, re.M))
    if not found:
        raise SystemExit(f"the book: {demo_name} prints no line like {pattern} any more:\n{text}")
    return found


def of(demo):
    """What the table says of a demo: lines of text."""
    if demo.shown.code == 77:
        return ["cannot run here"]
    if demo.shown.code != 0:
        return ["did not show its point"]
    said = []
    for pattern, words in SAID[demo.name]:
        for line in find(demo.name, pattern, demo.shown.text):
            said.append(line.expand(words))
    if demo.name == "blocking-operations":
        said += on_one_core(demo)
    return said


def on_one_core(demo):
    """The Try line of blocking-operations that gives it one core."""
    for tried in demo.tried:
        if tried.command.startswith("taskset -c 0 ") and tried.code == 0:
            line = find(demo.name, r"^(\d+ threads: \S+ s = \S+ times \S+),", tried.text)[0]
            return [f"{line[1]}, on one core"]
    return []


def shares(text):
    """nice-priority: for each of the two children its nice value, and predicted and measured share in %."""
    pattern = r"^ *\d+ +(-?\d+) +\d+ +[\d.]+ s +([\d.]+) % +([\d.]+) %  █+$"
    return [(int(row[1]), float(row[2]), float(row[3])) for row in find("nice-priority", pattern, text)]


def speed_ups(name, text):
    """(threads, how many times as fast as one thread): of a demo that computes, or of one that waits."""
    if name == "embarrassingly-parallel":
        rows = find(name, r"^ +(\d+) +[\d.]+ +([\d.]+)  \d+ to \d+$", text)
        return [(int(row[1]), float(row[2])) for row in rows]
    if name == "openmp-reduction":
        threads = find(name, r"^(\d+) threads +[\d.]+ ", text)[0][1]
        return [(int(threads), float(find(name, r"^speed-up: ([\d.]+) times", text)[0][1]))]
    threads = find(name, r"^(\d+) threads: ", text)[0][1]
    return [(int(threads), float(find(name, r"^([\d.]+) times as fast;", text)[0][1]))]
