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
import tempfile
import time
from pathlib import Path

import demos
from terminal import Terminal

PATIENCE = 120  # seconds for what one block may take, with building it
LEFT_SCREEN = "\033[?1049l"  # the slides give the terminal to a block
BACK_ON_SCREEN = "\033[?1049h"


class Show(Terminal):
    """The slides, in a terminal of this size."""

    def __init__(self, columns, rows, log):
        self.log = log
        environment = dict(os.environ, TERM="xterm-256color", PAGER="cat", DECK_LOG=str(log))
        environment.pop("RUST_BACKTRACE", None)
        command = [str(demos.ROOT / "scripts/deck.sh"), "--", "--validate-overflows"]
        super().__init__(command, environment, columns, rows)

    def read(self, seconds):
        length = len(self.text)
        more = super().read(seconds)
        if "\033[5n" in self.text[length:]:  # what kind of terminal is this? An ordinary one.
            self.type("\033[?62;22c\033[0n")
        return more

    def codes(self):
        return [int(line) for line in self.log.read_text().split()]

    def run_with_terminal(self, command):
        """Runs a block that takes the whole terminal. Returns its exit code."""
        before = len(self.codes())
        self.type("\x05")
        self.expect(LEFT_SCREEN)
        deadline = time.monotonic() + PATIENCE
        while len(self.codes()) == before:
            length = len(self.text)
            self.settle(2)
            # A demo that says nothing for so long may pause, until somebody types: Ctrl-C, or Enter.
            if len(self.codes()) == before and length == len(self.text):
                self.type("\x03" if "--wait" in command else "\r")
            if time.monotonic() > deadline:
                raise AssertionError(f"{command} does not end: {self.new()[-1000:]!r}")
        self.expect("goes back to the slides] ")
        self.type("\r")
        self.expect(BACK_ON_SCREEN)
        self.settle(0.15)
        return self.codes()[-1]

    def run_on_slide(self):
        """Runs a block whose output stands on the slide."""
        self.type("\x05")
        self.expect("finished", PATIENCE)
        self.settle(0.15)
        return 1 if "finished with error" in self.text[-5000:] else 0


def may_end_with(command):
    """The exit codes that a block may have."""
    said = re.search(r"# exits (\d+)", command)
    codes = {int(said[1])} if said else {0, 77}
    if "sudo" in command or "if installed" in command:
        codes |= {1, 127}  # not every machine has them
    return codes


def give_lecture(slides, columns, rows, log):
    show = Show(columns, rows, log)
    show.expect("Processes and threads, live", 600)  # the first time, presenterm is built
    show.settle(0.15)
    for number, slide in enumerate(slides, start=2):
        show.type("l")
        show.expect(f"{number} / {len(slides) + 1}")
        show.settle(0.15)
        blocks = re.findall(r"^```bash (.*)\n/// .*\n((?:.*\n)*?)```$", slide, re.M)
        for i, (attributes, command) in enumerate(blocks):
            if i > 0:
                show.type("l")  # what stands behind a pause
                show.settle(0.15)
            if "+acquire_terminal" in attributes:
                code = show.run_with_terminal(command)
            else:
                code = show.run_on_slide()
            print(f"{columns} x {rows}, {number} of {len(slides) + 1}: {code} {command.strip()}", flush=True)
            if code not in may_end_with(command):
                yield f"{command}: exit code {code}"
    show.type("q")
    code = show.end(PATIENCE)
    if code != 0:
        yield f"deck.sh: exit code {code}"
    left = show.left()
    if left:
        yield f"left running: {left}"


def main():
    sizes = sys.argv[1:] or ["80x24", "120x36"]
    if not all(re.fullmatch(r"\d+x\d+", size) for size in sizes):
        print(__doc__.strip())
        return 0 if sizes in (["-h"], ["--help"]) else 2
    text = demos.slides().split("---\n", 2)[2]  # after the front matter
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "codes"
        log.touch()
        for size in sizes:
            columns, rows = map(int, size.split("x"))
            wrong += give_lecture(text.split("<!-- end_slide -->"), columns, rows, log)
    for what in wrong:
        print(f"WRONG: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
