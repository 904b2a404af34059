#!/usr/bin/env python3
"""Usage: scripts/check-deck.py [COLUMNSxROWS...]

Gives the lecture: drives the slides (scripts/deck.sh) through a terminal, of 80 x 24 and of 120 x 36 if no
size is named, visits every slide, starts every block and waits for it, and types Enter where a demo pauses.
No slide may overflow, every demo has to show its point or to say with exit code 77 why it cannot, a Try
line has to end as its comment says, and nothing may be left running.

Exit code: 0 all of that holds, 1 it does not, 2 bad arguments.
"""

import os
import re
import sys
import time

import demos
from terminal import Terminal, left

PATIENCE = 120  # seconds for what one block may take, with building it
PROMPT = "[Enter goes back to the slides] "  # of scripts/deck-block.sh


def run(show, command):
    """Runs the block that stands on the slide. Returns its exit code."""
    show.type("\x05")
    deadline = time.monotonic() + PATIENCE
    while PROMPT not in show.new():
        length = len(show.text)
        more = show.read(2)
        if not more or time.monotonic() > deadline:
            raise AssertionError(f"{command} does not end: {show.new()[-1000:]!r}")
        # A demo that says nothing for so long may pause, until somebody types: Ctrl-C, or Enter.
        if len(show.text) == length:
            show.type("\x03" if "--wait" in command else "\r")
    said = re.search(r"\(exit code (\d+)\)\s+" + re.escape(PROMPT), show.new())
    show.type("\r")
    show.expect("\033[?1049h")  # the slides have the screen again
    show.settle(0.15)
    return int(said[1]) if said else 0


def may_end_with(command):
    """The exit codes that a block may have."""
    said = re.search(r"# exits (\d+)", command)
    codes = {int(said[1])} if said else {0, 77}
    if "sudo" in command or "if installed" in command:
        codes |= {1, 127}  # not every machine has them
    return codes


def give_lecture(slides, columns, rows):
    """Gives it in a terminal of this size. Yields what is wrong."""
    command = [str(demos.ROOT / "scripts/deck.sh"), "--", "--validate-overflows"]
    show = Terminal(command, dict(os.environ, TERM="xterm-256color", PAGER="cat"), columns, rows)
    show.expect("\033[c", 600)  # what kind of terminal is this? The first time, presenterm is built before.
    show.type("\033[?62;22c")  # an ordinary one
    show.expect("Processes and threads, live")
    show.settle(0.15)
    for number, slide in enumerate(slides, start=2):
        show.type("l")
        show.expect(f"{number} / {len(slides) + 1}")
        show.settle(0.15)
        for i, command in enumerate(re.findall(r"^/// .*\n((?:.*\n)*?)```$", slide, re.M)):
            if i > 0:
                show.type("l")  # what stands behind a pause
                show.settle(0.15)
            code = run(show, command)
            print(f"{columns} x {rows}, {number} of {len(slides) + 1}: {code} {command.strip()}", flush=True)
            if code not in may_end_with(command):
                yield f"{command}: exit code {code}"
    show.type("q")
    code = show.end()
    if code != 0:
        yield f"deck.sh: exit code {code}"
    still_there = left(show.mark)
    if still_there:
        yield f"left running: {still_there}"


def main():
    sizes = sys.argv[1:] or ["80x24", "120x36"]
    if not all(re.fullmatch(r"\d+x\d+", size) for size in sizes):
        print(__doc__.strip())
        return 0 if sizes in (["-h"], ["--help"]) else 2
    text = demos.slides().split("---\n", 2)[2]  # after the front matter
    wrong = []
    for size in sizes:
        columns, rows = map(int, size.split("x"))
        wrong += give_lecture(text.split("<!-- end_slide -->"), columns, rows)
    for what in wrong:
        print(f"WRONG: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
