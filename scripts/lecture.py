#!/usr/bin/env python3
"""Usage: scripts/lecture.sh [OPTION...] [DEMO...]

Runs the demos of the lecture in their order (that of `members` in Cargo.toml), and says of each
whether it showed its point. With names: just these, in the order given. Behind the
questions the demos are built, one by one, and what some of them need is installed (scripts/setup.sh).

  --pause      before each demo ask its question and wait for a key and Enter (the default at a
               terminal): Enter alone runs it, c shows its code (in $PAGER, else less), r runs the
               last demo again, s skips, q quits; Ctrl-C ends a demo that runs, and at a question
               the lecture
  --no-pause   run through, with no keyboard; a demo that hangs is ended after 60 seconds
  --from DEMO  start with this one
  --release    build optimised
  --list       print part, name and description of every demo, and run none

Exit code: 0 every demo that can run here showed its point, 1 one did not, or does not build,
2 bad arguments, 77 no python3.
"""

import argparse
import os
import re
import select
import shlex
import shutil
import signal
import sys
import termios
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from tempfile import TemporaryFile
from textwrap import wrap

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import demos

TIME_LIMIT = 60  # seconds for a demo, where nobody is there who could press Ctrl-C
# Cargo draws its progress also into a file, if it is told how wide. Colours would stand in the table.
CARGO_TERM = {"CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "80",
              "CARGO_TERM_COLOR": "never", "CARGO_TERM_VERBOSE": "false"}

signals = []  # those that came, and end the lecture


def note_signal(number, _frame):
    signals.append(number)


def wait(seconds, *files):
    """Waits so long, or until a file can be read, and says if one can. It is here that a signal ends the
    lecture, and not between the start of a process and the `try` that ends it."""
    readable, _, _ = select.select(files, [], [], seconds)
    if signals:
        sys.exit(128 + signals[0])
    return bool(readable)


def kill_group(process):
    with suppress(OSError):  # none of the group is left
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def behind(command, **options):
    """A process in a session of its own, which Ctrl-C does not reach, and without the keyboard. At the end it is
    killed, with all that it has left."""
    process = Popen(command, stdin=DEVNULL, start_new_session=True, **options)
    try:
        yield process
    finally:
        kill_group(process)


@contextmanager
def in_front(command, **options):
    """A process that has the keyboard: Ctrl-C ends it, and not the lecture. What is typed meanwhile is dropped,
    and the terminal's settings are put back: a process that is killed does not do that."""
    settings = termios.tcgetattr(0)
    termios.tcflush(0, termios.TCIFLUSH)  # nor is Enter, typed once more, meant for a demo that pauses
    signal.signal(signal.SIGINT, lambda *_: None)
    process = Popen(command, **options)
    try:
        yield process
    finally:
        process.kill()
        signal.signal(signal.SIGINT, note_signal)
        with suppress(termios.error):  # it has been closed
            termios.tcsetattr(0, termios.TCSAFLUSH, settings)


def written(file):
    """What a process has written into it so far. (A seek would move the place where it writes on.)"""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


class Lecture:
    def __init__(self, options):
        self.options = options
        self.keyboard = options.pause and os.isatty(0)
        self.start = in_front if self.keyboard else behind
        self.last = None
        self.rows = []
        self.failed = False
        plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
        self.bold = "{}" if plain else "\033[1m{}\033[0m"
        self.setup_said = TemporaryFile()
        tools = {tool for demo in options.chosen for tool in demo.needs}
        if tools:
            # Nothing ends it: killed, it could leave half a package. Ctrl-C does not reach its group; in a session
            # of its own, sudo would not know that it was told the password in this one.
            silent = {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": self.setup_said}
            self.setup = Popen(["scripts/setup.sh", *tools], preexec_fn=os.setpgrp, **silent)

    def give(self):
        begin = time.monotonic()
        chosen = self.options.chosen
        for place, demo in enumerate(chosen):
            title = self.bold.format(f"[{place + 1}/{len(chosen)}] {demo.name}")
            print(f"\n{title}\n{demo.description}\n")
            key = self.ask(demo, chosen[place:]) if self.options.pause else ""
            if key == "q":
                break
            if key == "s":
                self.rows.append(f"{'skipped':16} {demo.name}")
            else:
                self.show(demo)
                self.last = demo
        print("", self.bold.format("The lecture's demos"), *self.rows, sep="\n")
        print(f"total time: {time.monotonic() - begin:.1f} s")

    def ask(self, demo, coming):
        """Asks the question of a demo until it is answered by Enter, s or q. What comes is built behind it, and not
        while a demo runs: nothing disturbs what that measures."""
        builds = "\n".join(shlex.join(self.build_command(demo)) for demo in coming)
        while True:
            with behind(["bash", "-c", builds], stdout=DEVNULL, stderr=DEVNULL):
                print(f"Predict: {demo.predict}")
                print("[Enter runs it, c shows its code, r the last one again, s skips, q quits] ", end="", flush=True)
                key = self.read_key()
                if key == "c":
                    self.show_code(demo)
            if key == "r" and self.last:
                self.show(self.last)
                print()
            elif key in ("", "s", "q"):
                return key

    def read_key(self):
        while not wait(0.1, 0):
            pass
        with open(0, "rb", buffering=0, closefd=False) as keys:  # takes no more than the line
            line = keys.readline()
        return line.decode(errors="replace").strip() if line else "q"

    def show_code(self, demo):
        """A screen at a time, by what there is for that."""
        pagers = [shlex.split(os.environ.get("PAGER", "")), ["less"], ["more"], ["cat"]]
        pager = next(words for words in pagers if words and shutil.which(words[0]))
        with self.start([*pager, demo.main]) as process:
            while process.poll() is None:
                wait(0.05)

    def build_command(self, demo):
        return demos.build_command("release" if self.options.release else demo.profile, demo)

    def build(self, demo):
        """A pair: what hinders a demo, and words about that; or '' and its executable."""
        if demo.needs:
            self.wait_for(self.setup, self.setup_said, "waiting for scripts/setup.sh, which installs what is missing")
        if demo.why_not():
            return "cannot run here", written(self.setup_said) or demo.why_not()
        messages = TemporaryFile()
        log = TemporaryFile()
        environment = {**os.environ, **CARGO_TERM}
        with behind(self.build_command(demo), stdout=messages, stderr=log, env=environment) as cargo:
            self.wait_for(cargo, log, f"building {demo.name}")
        if cargo.returncode == 0:
            return "", demos.executables(written(messages))[demo.name]
        return "does not build", "\n".join(line for line in written(log).splitlines() if "Building [" not in line)

    def wait_for(self, process, log, doing):
        """Waits until it ends, and shows the last line of its log."""
        while process.poll() is None:
            lines = written(log).splitlines() or [doing]
            self.say(lines[-1])
            wait(0.05)
        self.say("")

    def say(self, words):
        if sys.stdout.isatty():
            print(f"{words:79.79}", end="\r", flush=True)

    def show(self, demo):
        """Runs a demo, says whether it showed its point, and adds a row to the table."""
        verdict, said = self.build(demo)
        begin = time.monotonic()
        if verdict:
            print(said.strip(), file=sys.stderr)
            error = re.search("^error.*", said, re.M)
            reason = error[0] if error else said
        else:
            verdict, reason = self.run(said)
        seconds = f"{time.monotonic() - begin:.1f} s"
        print(f"\n{self.bold.format(verdict)} ({seconds})")
        self.rows.append(f"{verdict:16} {demo.name:24} {seconds:>8}")
        self.rows += ["    " + line for line in wrap(" ".join(reason.split()), 76, break_on_hyphens=False)]
        self.failed |= verdict not in ("shown", "cannot run here")

    def run(self, executable):
        """The verdict, and the reason for it: what the demo wrote on standard error. That is shown at once, so it
        stands in its place; a child that has it open is not waited for."""
        deadline = float("inf") if self.keyboard else time.monotonic() + TIME_LIMIT
        errors = b""
        ended = False
        with self.start([executable], stderr=PIPE, bufsize=0) as process:
            os.set_blocking(process.stderr.fileno(), False)
            while not ended:
                wait(0.02)
                ended = process.poll() is not None  # asked first: so all that it wrote is read below
                part = process.stderr.read(2**20) or b""  # more than a pipe holds
                if not ended and time.monotonic() > deadline:
                    part += f"hung: ended after {TIME_LIMIT} s\n".encode()
                    kill_group(process)
                    process.wait()
                sys.stderr.buffer.write(part)
                sys.stderr.flush()
                errors += part
        code = process.returncode
        reason = re.split("(?im)^stack backtrace:", errors.decode(errors="replace"))[0]
        if code == 0:
            return "shown", ""
        if code == 77:
            return "cannot run here", reason
        return "NOT SHOWN", f"exit code {code if code > 0 else 128 - code}: {reason}"


def arguments():
    parser = argparse.ArgumentParser("lecture.sh", "%(prog)s [OPTION...] [DEMO...] (see --help)", allow_abbrev=False)
    parser.format_help = lambda: __doc__
    parser.add_argument("--pause", action="store_true", default=os.isatty(0) and os.isatty(1))
    parser.add_argument("--no-pause", dest="pause", action="store_false")
    parser.add_argument("--from", dest="first", metavar="DEMO", type=demos.named)
    parser.add_argument("--release", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("chosen", nargs="*", metavar="DEMO", type=demos.named)
    words = parser.parse_intermixed_args()
    words.chosen = words.chosen or demos.all_demos()
    if words.first:
        if words.first not in words.chosen:
            parser.error(f"{words.first.name} is not among the demos chosen")
        words.chosen = words.chosen[words.chosen.index(words.first) :]
    return words


def main():
    words = arguments()
    if words.list:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head`
        for demo in demos.all_demos():
            print(f"{demo.part:9} {demo.name:24} {demo.description}")
        return
    os.chdir(demos.ROOT)
    sys.stdout.reconfigure(line_buffering=True)  # the demos write there, too
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTOU):
        signal.signal(number, note_signal)
    lecture = Lecture(words)
    try:
        lecture.give()
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python still wants to write there
        lecture.failed = True
    sys.exit(lecture.failed)


if __name__ == "__main__":
    main()
