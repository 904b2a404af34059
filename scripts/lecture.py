#!/usr/bin/env python3
"""Usage: scripts/lecture.sh [OPTION...] [DEMO...]

Runs the demos of the lecture in their order (that of `members` in Cargo.toml), and says of each
whether it showed its point. With names: just these, in the order given. Behind the first question
the demos are built, one by one, and what some of them need is installed (scripts/setup.sh).

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
from difflib import get_close_matches
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from tempfile import TemporaryFile
from textwrap import wrap

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import demos

TIME_LIMIT = 60  # seconds for a demo, where nobody is there who could press Ctrl-C
# Cargo draws its progress also into a file, if it is told how wide. The user's own settings could hide it.
PROGRESS = {"CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "80"}
PLAIN = {"CARGO_TERM_COLOR": "never", "CARGO_TERM_QUIET": "false", "CARGO_TERM_VERBOSE": "false"}

signals = []  # those that came, and end the lecture


def note_signal(number, _frame):
    signals.append(number)


def wait(seconds, *files):
    """Waits so long, or until a file can be read, and says if one can. It is here that a signal ends the
    lecture, and not between the start of a process and the note that it runs."""
    readable, _, _ = select.select(files, [], [], seconds)
    if signals:
        sys.exit(128 + signals[0])
    return bool(readable)


def start_behind(command, **options):
    """In a process group of its own, which Ctrl-C does not reach, and without the keyboard."""
    return Popen(command, stdin=DEVNULL, preexec_fn=os.setpgrp, **options)


def signal_group(process, number):
    if process:
        with suppress(OSError):  # none of the group is left
            os.killpg(process.pid, number)


def written(file):
    """What a process has written into it so far. (A seek would move the place where it writes on.)"""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


class Builder:
    """Builds the demos, one after the other. Whoever waits for something else calls step() again and again."""

    def __init__(self, chosen, release):
        self.queue = list(dict.fromkeys(chosen))
        self.release = release
        self.results = {}  # of each demo: what hinders it and words about it, or '' and its executable
        self.cargo = None  # the process that builds self.demo
        self.setup_said = TemporaryFile()
        tools = sorted({tool for demo in chosen for tool in demo.needs})
        if tools:
            self.setup = start_behind(["scripts/setup.sh", *tools], stdout=DEVNULL, stderr=self.setup_said)

    def step(self):
        """Takes the result of a build that has ended, and begins the next one."""
        if self.cargo and self.cargo.poll() is not None:
            self.take_result()
        ready = [demo for demo in self.queue if not demo.needs or self.setup.poll() is not None]
        if ready and not self.cargo:
            self.queue.remove(ready[0])
            self.begin(ready[0])

    def begin(self, demo):
        if demo.why_not():
            self.results[demo] = "cannot run here", written(self.setup_said) or demo.why_not()
            return
        self.demo = demo
        self.messages = TemporaryFile()
        self.log = TemporaryFile()
        command = demos.build_command(demo, "release" if self.release else demo.profile)
        environment = {**os.environ, **PROGRESS, **PLAIN}
        self.cargo = start_behind(command, stdout=self.messages, stderr=self.log, env=environment)

    def take_result(self):
        if self.cargo.returncode == 0:
            self.results[self.demo] = "", demos.executable(written(self.messages))
        else:
            lines = re.split(r"[\r\n]+", written(self.log))
            said = "\n".join(line for line in lines if not re.match(" *Building ", line))
            self.results[self.demo] = "does not build", said
        self.cargo = None

    def progress(self):
        if not self.cargo:
            return "waiting for scripts/setup.sh, which installs what is missing"
        steps = re.findall(r"\d+/\d+: [^\r\n]*|waiting for .*", written(self.log))
        return f"building {steps[-1] if steps else self.demo.name}"

    def wait_for(self, demo):
        self.step()
        while demo not in self.results:
            if sys.stdout.isatty():
                print(f"\r{self.progress():79.79}", end="", flush=True)
            wait(0.1)
            self.step()
        if sys.stdout.isatty():
            print(f"\r{'':79}\r", end="", flush=True)


class Lecture:
    def __init__(self, chosen, pause, release):
        self.chosen = chosen
        self.pause = pause
        self.keyboard = termios.tcgetattr(0) if pause and os.isatty(0) else None  # as it was; None: demos have none
        self.process = None  # the demo that runs, or the pager
        self.last = None
        self.rows = []
        self.failed = False
        plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
        self.bold = "{}" if plain else "\033[1m{}\033[0m"
        self.builder = Builder(chosen, release)

    def give(self):
        begin = time.monotonic()
        for number, demo in enumerate(self.chosen, 1):
            title = self.bold.format(f"[{number}/{len(self.chosen)}] {demo.name}")
            print(f"\n{title}\n{demo.description}\n")
            key = self.ask(demo) if self.pause else ""
            if key == "q":
                break
            if key == "s":
                self.rows.append(f"{'skipped':16} {demo.name}")
                if demo in self.builder.queue:
                    self.builder.queue.remove(demo)
            else:
                self.show(demo)
                self.last = demo
        print("", self.bold.format("The lecture's demos"), *self.rows, sep="\n")
        print(f"total time: {time.monotonic() - begin:.1f} s")

    def ask(self, demo):
        """Asks the question of a demo until it is answered by Enter, s or q."""
        while True:
            print(f"Predict: {demo.predict}")
            print("[Enter runs it, c shows its code, r the last one again, s skips, q quits] ", end="", flush=True)
            key = self.read_key()
            if key == "c":
                self.show_code(demo)
            elif key == "r" and self.last:
                self.show(self.last)
                print()
            elif key == "r":
                print("none has run so far")
            elif key in ("", "s", "q"):
                return key

    def read_key(self):
        while not wait(0.1, 0):
            self.builder.step()
        with open(0, "rb", buffering=0, closefd=False) as keys:  # takes no more than the line
            line = keys.readline()
        return line.decode(errors="replace").strip() if line else "q"

    def show_code(self, demo):
        """A screen at a time, by what there is for that."""
        pagers = [shlex.split(os.environ.get("PAGER", "")), ["less"], ["more"], ["cat"]]
        pager = next(words for words in pagers if words and shutil.which(words[0]))
        with self.keyboard_given_away():
            self.process = Popen([*pager, demo.main])
            while self.process.poll() is None:
                wait(0.05)
                self.builder.step()

    def show(self, demo):
        """Runs a demo, says whether it showed its point, and adds a row to the table."""
        self.builder.wait_for(demo)
        begin = time.monotonic()
        verdict, said = self.builder.results[demo]
        if verdict:
            print(said.strip(), file=sys.stderr)
            error = re.search("^error.*", said, re.M)
            reason = error[0] if error else said
        else:
            signal_group(self.builder.cargo, signal.SIGSTOP)  # nothing that is built disturbs what a demo measures
            verdict, reason = self.run(said)
            signal_group(self.builder.cargo, signal.SIGCONT)
        seconds = f"{time.monotonic() - begin:.1f} s"
        print(f"\n{self.bold.format(verdict)} ({seconds})")
        self.rows.append(f"{verdict:16} {demo.name:24} {seconds:>8}")
        self.rows += ["    " + line for line in wrap(" ".join(reason.split()), 76, break_on_hyphens=False)]
        self.failed |= verdict in ("NOT SHOWN", "does not build")

    def run(self, executable):
        """The verdict, and the reason for it: what the demo wrote on standard error."""
        with self.keyboard_given_away():
            try:
                start = Popen if self.keyboard else start_behind
                self.process = start([executable], stderr=PIPE)
            except OSError as error:
                return "NOT SHOWN", str(error)
            with self.process.stderr:
                errors = self.listen()
        if not self.keyboard:
            signal_group(self.process, signal.SIGKILL)  # what it has left
        code = self.process.returncode
        reason = re.split("(?im)^stack backtrace:", errors)[0]
        if code == 0:
            return "shown", ""
        if code == 77:
            return "cannot run here", reason
        return "NOT SHOWN", f"exit code {code if code > 0 else 128 - code}: {reason}"

    def listen(self):
        """What the demo writes on standard error until it ends: shown at once, so it stands in its place. The
        end of the file may come later, if a child has it open, or before."""
        deadline = time.monotonic() + TIME_LIMIT
        files = [self.process.stderr]
        errors = b""
        while True:
            ended = self.process.poll() is not None  # asked first: so all that it wrote is read below
            part = b""
            if wait(0 if ended else 0.02, *files):
                part = os.read(files[0].fileno(), 65536)
                if not part:
                    files = []
            if ended and not part:
                return errors.decode(errors="replace")
            if time.monotonic() > deadline and not self.keyboard:
                signal_group(self.process, signal.SIGKILL)
                part += f"hung: ended after {TIME_LIMIT} s\n".encode()
                deadline = float("inf")
            sys.stderr.buffer.write(part)
            sys.stderr.flush()
            errors += part

    @contextmanager
    def keyboard_given_away(self):
        """Ctrl-C ends what runs now, and not the lecture. What was typed meanwhile is no answer to the next
        question, and a demo that was killed may leave the terminal otherwise than it was."""
        if not self.keyboard:
            yield
            return
        termios.tcflush(0, termios.TCIFLUSH)  # nor is Enter, typed once more, meant for a demo that pauses
        signal.signal(signal.SIGINT, lambda *_: None)
        yield
        signal.signal(signal.SIGINT, note_signal)
        termios.tcsetattr(0, termios.TCSAFLUSH, self.keyboard)

    def end(self):
        """Leaves nothing running. Only a set-up goes on, and ends by itself: killed, it could leave half a package."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)
        signal_group(self.builder.cargo, signal.SIGKILL)
        if self.process and self.process.poll() is None:
            self.process.kill()
            signal_group(self.process, signal.SIGKILL)
        if self.keyboard:
            with suppress(termios.error):  # it has been closed
                termios.tcsetattr(0, termios.TCSANOW, self.keyboard)


def demo_named(name):
    by_name = {demo.name: demo for demo in demos.all_demos()}
    if name in by_name:
        return by_name[name]
    close = get_close_matches(name, by_name, 1, 0.3)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise argparse.ArgumentTypeError(f"there is no demo '{name}'{meant} (--list shows them all)")


def arguments():
    usage = "%(prog)s [OPTION...] [DEMO...] (--help shows all)"
    parser = argparse.ArgumentParser("lecture.sh", usage, allow_abbrev=False)
    parser.format_help = lambda: __doc__
    parser.add_argument("--pause", action="store_true", default=os.isatty(0) and os.isatty(1))
    parser.add_argument("--no-pause", dest="pause", action="store_false")
    parser.add_argument("--from", dest="first", metavar="DEMO", type=demo_named)
    parser.add_argument("--release", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("chosen", nargs="*", metavar="DEMO", type=demo_named)
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
        for demo in demos.all_demos():
            print(f"{demo.part:9} {demo.name:24} {demo.description}")
        return
    os.chdir(demos.ROOT)
    sys.stdout.reconfigure(line_buffering=True)  # the demos write there, too
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note_signal)
    lecture = Lecture(words.chosen, words.pause, words.release)
    try:
        lecture.give()
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python still wants to write there
        lecture.failed = True
    finally:
        lecture.end()
    sys.exit(lecture.failed)


if __name__ == "__main__":
    main()
