#!/usr/bin/env python3
"""Usage: scripts/check-lecture.py [TEST...]

Tests the scripts that a lecturer calls, in surroundings that are not ours: another target folder,
RUST_BACKTRACE=1, TERM=dumb, a German system, a clone with the line ends of Windows. And the runner
at a terminal of 80 x 24: its keys, Ctrl-C, and that the first question does not wait for the build.
A small `cargo` stands in where only the runner is tested: its demos are scripts.

Exit code: 0 all hold, 1 one does not, 2 bad arguments.
"""

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LECTURE = str(ROOT / "scripts/lecture.sh")

# Stands in for cargo build: says where the executables are, as cargo does. If there is a file
# `slow`, it shows its progress and waits until that is gone; if there is a file `broken`, it fails.
CARGO = """#!/usr/bin/env bash
if [[ -e $DEMOS/slow ]]; then printf '    Building [==>   ] 3/9: syn\\r' >&2; fi
while [[ -e $DEMOS/slow ]]; do sleep 0.05; done
if [[ -e $DEMOS/broken ]]; then echo "error: no such crate" >&2; exit 101; fi
while (($#)); do
  if [[ $1 == -p ]]; then echo "{\\"executable\\":\\"$DEMOS/$2\\"}"; shift; fi
  shift
done
"""


class Terminal:
    """A command at a terminal of its own, of 80 x 24."""

    def __init__(self, command, environment):
        self.mark = f"CHECK_LECTURE={os.getpid()}-{time.monotonic()}"
        name, value = self.mark.split("=")
        self.text = ""
        self.seen = 0  # so many characters of it were expected, and came
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execvpe(command[0], command, environment | {name: value})
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.settings = termios.tcgetattr(self.file)

    def read(self, seconds):
        """More text, if there is some before the time is over; False at the end."""
        if select.select([self.file], [], [], max(seconds, 0))[0]:
            try:
                self.text += os.read(self.file, 4096).decode(errors="replace")
            except OSError:  # EIO: no process has the terminal open any more
                return False
        return True

    def expect(self, text, seconds=20):
        """Returns when this text has come, after what was expected before."""
        deadline = time.monotonic() + seconds
        while text not in self.text[self.seen :]:
            more = self.read(deadline - time.monotonic())
            if not more or time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in {self.text[self.seen:]!r}")
        self.seen = self.text.index(text, self.seen) + len(text)

    def type(self, keys):
        os.write(self.file, keys.encode())

    def end(self):
        """The exit code, once nothing has the terminal open any more."""
        deadline = time.monotonic() + 20
        while self.read(deadline - time.monotonic()):
            if time.monotonic() > deadline:
                raise AssertionError(f"no end after {self.text[self.seen:]!r}")
        os.close(self.file)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def processes(self):
        """PIDs of what was started here and is still there (Linux)."""
        pids = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in environ.read_bytes().split(b"\0"):
                    pids.append(environ.parent.name)
            except OSError:
                pass  # it has ended, or belongs to somebody else
        return pids


class Scripts(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="check lecture "))
        self.addCleanup(shutil.rmtree, self.folder)
        self.environment = dict(os.environ)
        self.environment.pop("NO_COLOR", None)

    def executable(self, name, text):
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o755)
        return file

    def with_demos(self, **demos):
        """Lets the runner find these scripts in place of the demos."""
        self.executable("cargo", CARGO)
        for name, text in demos.items():
            self.executable(name.replace("_", "-"), "#!/usr/bin/env bash\n" + text)
        path = f"{self.folder}:{os.environ['PATH']}"
        self.environment.update(PATH=path, DEMOS=str(self.folder))

    def run_script(self, *command, **environment):
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment | environment,
            timeout=300,
        )

    def at_terminal(self, *command, **environment):
        return Terminal(command, self.environment | environment)

    def lecture(self, *demos, **environment):
        terminal = self.at_terminal(LECTURE, *demos, **environment)
        terminal.expect("q quits] ")
        return terminal

    def test_cargo_says_where_an_executable_is(self):
        """The old file in target/debug is not what was built."""
        target = ROOT / "target/check-lecture"
        old = target / "debug/race-condition"
        old.parent.mkdir(parents=True, exist_ok=True)
        old.write_text("#!/bin/sh\necho an old file\n")
        old.chmod(0o755)
        rustc = subprocess.run(["rustc", "-vV"], stdout=subprocess.PIPE, text=True)
        (host,) = [line[6:] for line in rustc.stdout.splitlines() if line.startswith("host: ")]
        places = {"CARGO_TARGET_DIR": str(target), "CARGO_BUILD_TARGET": host}
        for command in (
            [LECTURE, "--no-pause", "race-condition"],
            [str(ROOT / "scripts/soak.py"), "--debug", "race-condition", "1", "free"],
        ):
            output = self.run_script(*command, **places)
            self.assertEqual(output.returncode, 0, output.stdout)
            self.assertIn("shown", output.stdout)
            self.assertNotIn("an old file", output.stdout)
        self.assertTrue((target / host / "debug/race-condition").exists())

    def test_the_reason_is_the_error(self):
        """Not a line of the backtrace that follows it."""
        error = "Error: no thread\n\nCaused by:\n    refused\n\nStack backtrace:\n   0: main\n"
        self.with_demos(race_condition=f"printf '{error}' >&2; exit 1")
        output = self.run_script(LECTURE, "--no-pause", "race-condition")
        self.assertEqual(output.returncode, 1)
        table = output.stdout.split("The lecture's demos")[1]
        self.assertIn("    exit code 1: Error: no thread Caused by: refused\n", table.replace(" \n", "\n"))
        self.assertNotIn("main", table)

    def test_what_the_runner_prints_fits_80_columns(self):
        long = "cannot run here: " + "it is as it is, " * 20
        self.with_demos(race_condition=f"echo '{long}' >&2; exit 77")
        output = self.run_script(LECTURE, "--no-pause", "race-condition")
        self.assertEqual(output.returncode, 0)
        for line in output.stdout.replace(long, "").splitlines():
            self.assertLessEqual(len(line), 80)
        listed = self.run_script(LECTURE, "--list").stdout.splitlines()
        self.assertEqual(len(listed), 38)

    def test_a_dumb_terminal_gets_no_escapes(self):
        self.with_demos(race_condition="echo a demo")
        command = (LECTURE, "--no-pause", "race-condition")
        bold = self.at_terminal(*command, TERM="xterm")
        self.assertEqual(bold.end(), 0)
        self.assertIn("\033[1m", bold.text)
        for nothing in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}):
            dumb = self.at_terminal(*command, **nothing)
            self.assertEqual(dumb.end(), 0)
            self.assertIn("a demo", dumb.text)
            self.assertNotIn("\033", dumb.text)

    def test_the_first_question_does_not_wait_for_the_build(self):
        self.with_demos(race_condition="echo a demo ran")
        slow = self.folder / "slow"
        slow.touch()
        lecture = self.lecture("race-condition")
        self.assertIn("Predict: ", lecture.text)
        lecture.type("\r")
        lecture.expect("building 3/9: syn")
        self.assertNotIn("a demo ran", lecture.text)
        slow.unlink()
        lecture.expect("a demo ran")
        lecture.expect("shown")
        self.assertEqual(lecture.end(), 0)
        self.assertEqual(lecture.processes(), [])

    def test_a_build_that_fails_is_told_once_it_matters(self):
        self.with_demos()
        (self.folder / "broken").touch()
        lecture = self.lecture("race-condition")
        lecture.type("\r")
        lecture.expect("error: no such crate")
        self.assertEqual(lecture.end(), 101)

    def test_keys(self):
        self.with_demos(race_condition="echo the race", mutex_fix="echo the lock", deadlock="echo no")
        lecture = self.lecture("race-condition", "mutex-fix", "deadlock", "atomic-fix", PAGER="cat")
        lecture.type("r\r")
        lecture.expect("none has run so far")
        lecture.expect("q quits] ")
        lecture.type("c\r")
        lecture.expect("//! Race condition: ")
        lecture.expect("q quits] ")
        lecture.type("\r")
        lecture.expect("the race")
        lecture.expect("mutex-fix")
        lecture.expect("q quits] ")
        lecture.type("r\r")
        lecture.expect("the race")
        lecture.expect("q quits] ")
        lecture.type("\r")
        lecture.expect("the lock")
        lecture.expect("q quits] ")
        lecture.type("s\r")
        lecture.expect("atomic-fix")
        lecture.expect("q quits] ")
        lecture.type("q\r")
        self.assertEqual(lecture.end(), 0)
        rows = lecture.text.split("The lecture's demos")[1].split("\n")
        rows = [row.split()[:2] for row in rows]
        shown = ["shown", "race-condition"]
        self.assertEqual(rows[1:5], [shown, shown, ["shown", "mutex-fix"], ["skipped", "deadlock"]])
        for line in lecture.text.split("The lecture's demos")[0].splitlines():
            self.assertLessEqual(len(line), 80, line)

    def test_ctrl_c_in_a_demo_ends_the_demo(self):
        self.with_demos(race_condition="echo it runs; exec sleep 60", mutex_fix="echo the lock")
        lecture = self.lecture("race-condition", "mutex-fix")
        lecture.type("\r")
        lecture.expect("it runs")
        lecture.type("\x03")
        lecture.expect("NOT SHOWN")
        lecture.expect("q quits] ")
        lecture.type("\r")
        lecture.expect("the lock")
        self.assertEqual(lecture.end(), 1)
        self.assertEqual(lecture.processes(), [])

    def test_ctrl_c_at_a_question_ends_the_lecture_and_the_build(self):
        self.with_demos()
        (self.folder / "slow").touch()
        lecture = self.lecture("race-condition")
        lecture.type("\x03")
        self.assertEqual(lecture.end(), 130)
        deadline = time.monotonic() + 10
        while lecture.processes() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(lecture.processes(), [])

    def test_a_demo_that_pauses_reads_the_keyboard(self):
        self.with_demos(race_condition="echo press Enter; read -r key; echo read: $key")
        lecture = self.lecture("race-condition")
        lecture.type("\r")
        lecture.expect("press Enter")
        lecture.type("mine\r")
        lecture.expect("read: mine")
        self.assertEqual(lecture.end(), 0)

    def test_what_was_typed_while_a_demo_ran_is_no_answer(self):
        wait = "echo it runs; while [[ -e $DEMOS/wait ]]; do sleep 0.05; done"
        self.with_demos(race_condition=wait, mutex_fix="echo the lock")
        (self.folder / "wait").touch()
        lecture = self.lecture("race-condition", "mutex-fix")
        lecture.type("\r")
        lecture.expect("it runs")
        lecture.type("q\rq")
        lecture.expect("q\r\nq")  # the echo: the terminal has it
        (self.folder / "wait").unlink()
        lecture.expect("q quits] ")
        lecture.type("\r")
        lecture.expect("the lock")
        self.assertEqual(lecture.end(), 0)

    def test_the_terminal_is_as_it_was(self):
        self.with_demos(race_condition="stty raw -echo; kill -KILL $$", mutex_fix="echo the lock")
        lecture = self.lecture("race-condition", "mutex-fix")
        lecture.type("\r")
        lecture.expect("NOT SHOWN")
        lecture.expect("q quits] ")
        self.assertEqual(termios.tcgetattr(lecture.file), lecture.settings)
        lecture.type("q\r")
        self.assertEqual(lecture.end(), 1)

    def test_setup_on_a_system_that_speaks_german(self):
        for tool in "bash dirname sed tr uname id cat".split():
            (self.folder / tool).symlink_to(shutil.which(tool))
        self.executable("apt-get", "#!/bin/sh\n")
        self.executable(
            "apt-cache",
            '#!/bin/sh\nif [ "$LC_ALL" = C ]; then echo "  Depends: libclang1-19"\n'
            'else echo "  Hängt ab von: libclang1-19"; fi\n',
        )
        setup = str(ROOT / "scripts/setup.sh")
        place = {"PATH": str(self.folder), "LC_ALL": "de_DE.UTF-8"}
        output = self.run_script(shutil.which("bash"), setup, "--check", "mpi", **place)
        self.assertEqual(output.returncode, 77, output.stdout)
        self.assertIn("libclang1 libclang-common-19-dev\n", output.stdout)

    @unittest.skipUnless((ROOT / ".git").exists(), "no clone of Git's")
    def test_a_clone_with_the_line_ends_of_windows(self):
        clone = self.folder / "clone"
        git = ["git", "clone", "-q", "-c", "core.autocrlf=true", str(ROOT), str(clone)]
        subprocess.run(git, check=True)
        for file in (clone / "scripts").rglob("*.*"):
            self.assertEqual(file.read_bytes().count(b"\r"), 0, file)


if __name__ == "__main__":
    if any(argument in ("-h", "--help") for argument in sys.argv[1:]):
        print(__doc__.strip())
    else:
        os.chdir(ROOT)
        unittest.main(verbosity=1)
