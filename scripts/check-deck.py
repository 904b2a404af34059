#!/usr/bin/env python3
"""Usage: scripts/check-deck.py [--size COLUMNSxROWS]...

Gives the lecture: drives the real slides (scripts/lecture.md in presenterm) through a terminal, of 80 x 24
and of 120 x 36, visits every slide, starts every block and waits for it, and types Enter where a
demo pauses. No slide may overflow, every demo has to show its point or to say with exit code 77 why
it cannot, a Try line has to end as its comment says, and nothing may be left running.

Exit code: 0 all of that holds, 1 it does not, 2 bad arguments.
"""

import argparse
import fcntl
import itertools
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DECK = ROOT / "scripts/lecture.md"
PATIENCE = int(os.environ.get("PATIENCE", "90"))  # seconds for what one block or one slide may take
LEFT_SCREEN = "\033[?1049l"  # the slides give the terminal to a block
BACK_ON_SCREEN = "\033[?1049h"


class Block:
    def __init__(self, attributes, command):
        self.takes_terminal = "+acquire_terminal" in attributes
        self.command = command
        said = re.search(r"# exits (\d+)", command)
        self.codes = {int(said[1])} if said else {0, 77}
        if "sudo" in command or "if installed" in command:
            self.codes |= {1, 127}  # not every machine has them


class Slide:
    def __init__(self, text):
        self.title = text.strip().split("\n")[0]
        fences = re.findall(r"^```bash (.*)\n(?:/// .*\n)?(.*)\n```$", text, re.M)
        self.blocks = [Block(*fence) for fence in fences]


def slides_of(deck):
    text = deck.read_text().split("---\n", 2)[2]  # after the front matter
    return [Slide(slide) for slide in text.split("<!-- end_slide -->")]


class Show:
    """The slides, in a terminal of this size."""

    def __init__(self, presenterm, columns, rows, log):
        self.mark = f"CHECK_DECK={os.getpid()}-{columns}"
        name, value = self.mark.split("=")
        self.log = log
        self.text = ""
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # as deck.sh does
            os.chdir(ROOT)
            environment = dict(os.environ, TERM="xterm-256color", PAGER="cat", DECK_LOG=str(log))
            environment[name] = value
            environment.pop("RUST_BACKTRACE", None)
            time.sleep(0.2)  # until the terminal has its size
            command = [presenterm, "--enable-snippet-execution", "--validate-overflows", str(DECK)]
            os.execve(presenterm, command, environment)
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        """Whether there was more text within this time."""
        if not select.select([self.file], [], [], seconds)[0]:
            return False
        try:
            part = os.read(self.file, 65536).decode(errors="replace")
        except OSError:  # EIO: presenterm has ended
            part = ""
        if not part:
            raise AssertionError(f"the slides have ended: {self.text[-1000:]!r}")
        self.text += part
        if "\033[5n" in part:  # what kind of terminal is this? An ordinary one.
            self.type("\033[?62;22c\033[0n")
        return True

    def expect(self, wanted):
        """Reads until this is in the text, forgets what was before it."""
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.text:
            self.read(0.5)
            if time.monotonic() > deadline:
                raise AssertionError(f"no {wanted!r} in {self.text[-1000:]!r}")
        self.text = self.text.split(wanted, 1)[1]

    def settle(self):
        """Reads until the slide is drawn: nothing more comes for a moment."""
        while self.read(0.15):
            pass

    def type(self, keys):
        os.write(self.file, keys.encode())

    def run_with_terminal(self, block):
        """Runs a block that takes the whole terminal. Returns its exit code."""
        before = len(self.codes())
        self.type("\x05")
        self.expect(LEFT_SCREEN)
        deadline = time.monotonic() + PATIENCE
        quiet_since = time.monotonic()
        keys = keys_for(block)
        while len(self.codes()) == before:
            if self.read(0.1):
                quiet_since = time.monotonic()
            if time.monotonic() > deadline:
                raise AssertionError(f"{block.command} does not end: {self.text[-1000:]!r}")
            # A demo that says nothing for so long may pause, until somebody types.
            if time.monotonic() - quiet_since > 2:
                self.type(next(keys))
                quiet_since = time.monotonic()
        self.expect("goes back to the slides] ")
        output = self.text
        self.type("\r")
        self.expect(BACK_ON_SCREEN)
        self.settle()
        return self.codes()[-1], output

    def run_on_slide(self, block):
        """Runs a block whose output stands on the slide."""
        self.type("\x05")
        deadline = time.monotonic() + PATIENCE
        while "finished" not in self.text:
            self.read(0.5)
            if time.monotonic() > deadline:
                raise AssertionError(f"{block.command} does not end: {self.text[-1000:]!r}")
        code = 1 if "finished with error" in self.text else 0
        self.settle()
        return code

    def codes(self):
        return [int(line) for line in self.log.read_text().split()]

    def end(self):
        self.type("q")
        try:
            while True:
                self.read(PATIENCE)
        except AssertionError:
            pass
        os.close(self.file)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def left(self):
        """PIDs of what was started here and is still there (Linux)."""
        pids = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in environ.read_bytes().split(b"\0"):
                    pids.append(environ.parent.name)
            except OSError:
                pass  # it has ended
        return pids


def keys_for(block):
    """What a class could answer to a demo that asks."""
    if "--play" in block.command:
        return itertools.cycle(["A\r", "B\r"])
    if "--wait" in block.command:
        return itertools.repeat("\x03")  # Ctrl-C
    return itertools.repeat("\r")


def give_lecture(presenterm, columns, rows):
    slides = slides_of(DECK)
    total = len(slides) + 1  # and the first, with the title
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "codes"
        log.touch()
        show = Show(presenterm, columns, rows, log)
        show.expect("Processes and threads, live")
        show.settle()
        for number, slide in enumerate(slides, start=2):
            show.text = ""
            show.type("l")
            show.expect(f"{number} / {total}")
            show.settle()
            for i, block in enumerate(slide.blocks):
                if i > 0:
                    show.text = ""
                    show.type("l")  # what stands behind a pause
                    show.settle()
                if block.takes_terminal:
                    code, _ = show.run_with_terminal(block)
                else:
                    show.text = ""
                    code = show.run_on_slide(block)
                print(f"{columns} x {rows}, {number} of {total}: {code} {block.command}", flush=True)
                if code not in block.codes:
                    wrong.append(f"{block.command}: exit code {code}")
        code = show.end()
        if code != 0:
            wrong.append(f"presenterm: exit code {code}")
        deadline = time.monotonic() + 11  # an alarm ends what was left, after 10 s
        while show.left() and time.monotonic() < deadline:
            time.sleep(0.1)
        if show.left():
            wrong.append(f"left running: {show.left()}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", action="append", metavar="COLUMNSxROWS")
    sizes = parser.parse_args().size or ["80x24", "120x36"]
    build = [str(ROOT / "scripts/deck.sh"), "--build"]
    built = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True)
    presenterm = built.stdout.split("\n")[-2]
    wrong = []
    for size in sizes:
        columns, rows = map(int, size.split("x"))
        wrong += give_lecture(presenterm, columns, rows)
    for what in wrong:
        print(f"WRONG: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
