#!/usr/bin/env python3
"""Usage: scripts/check-lecture.py [TEST...]

Tests the runner at a terminal of 80 x 24, as a lecturer sees it: its questions, keys and table, what it
builds when, and that it leaves nothing. The demos are scripts, and a small `cargo` hands them out.

Exit code: 0 all hold, 1 one does not, 2 bad arguments.
"""

import os
import shutil
import signal
import sys
import tempfile
import termios
import time
import unittest
from pathlib import Path

import demos
from terminal import Terminal, left

ROOT = Path(__file__).resolve().parent.parent
QUESTION = "q quits] "

# Builds as long as there is a file slow-NAME, and fails if there is one broken-NAME.
CARGO = """
if [[ $1 == metadata ]]; then cd "$OLDPWD"; exec "$CARGO" "$@"; fi
while [[ $1 != -p ]]; do shift; done
echo "$2" >>order
printf '    Building [==>   ] 3/9: syn\\r' >&2
while [[ -e slow-$2 ]]; do echo >>ticks; sleep 0.02; done
if [[ -e broken-$2 ]]; then printf 'warning: old\\nerror[E0425]: no `x`\\n --> main.rs\\n' >&2; exit 101; fi
echo "{\\"executable\\":\\"$FOLDER/$2\\"}"
"""


class Lecture(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="check [1] lecture "))
        self.addCleanup(shutil.rmtree, self.folder)
        self.environment = dict(os.environ, FOLDER=str(self.folder), CARGO=shutil.which("cargo"), TERM="xterm")
        self.environment.update(PATH=f"{self.folder}:{os.environ['PATH']}", PAGER="cat", CDPATH=f".:{ROOT}")
        self.environment.pop("NO_COLOR", None)
        self.script("cargo", CARGO)

    def script(self, name, text):
        file = self.folder / name
        file.write_text(f'#!/usr/bin/env bash\ncd "$FOLDER"\n{text}\n')
        file.chmod(0o755)

    def give(self, *options, **demos):
        """Starts the lecture; these scripts are its demos."""
        command = [str(ROOT / "scripts/lecture.sh"), *options]
        for name, text in demos.items():
            command.append(name.replace("_", "-"))
            self.script(command[-1], text)
        return Terminal(command, self.environment, folder="/")

    def answer(self, lecture, *answers):
        """Each is the answer to the next question, and what has to come then."""
        for keys, seen in answers:
            lecture.expect(QUESTION, 2 if lecture.seen == 0 else 20)
            lecture.type(f"{keys}\r")
            lecture.expect(seen)

    def table(self, lecture, code):
        """The lines of the table, once the lecture has ended with this exit code and left nothing."""
        self.assertEqual(lecture.end(), code, lecture.text)
        self.assertEqual(left(lecture.mark, 2), [])
        return [" ".join(line.split()) for line in lecture.text.split("The lecture's demos")[-1].splitlines()[1:-1]]

    def test_a_demo_waits_only_for_its_own_build_and_stops_that_of_others(self):
        for name in ("race-condition", "mutex-fix"):
            (self.folder / f"slow-{name}").touch()
        lecture = self.give(race_condition="echo it runs; cp ticks old; sleep 0.5; cmp ticks old", mutex_fix="")
        self.answer(lecture, ("", "building 3/9: syn"))
        self.assertNotIn("it runs", lecture.text)
        (self.folder / "slow-race-condition").unlink()
        lecture.expect("shown")
        lecture.expect(QUESTION)
        deadline = time.monotonic() + 20
        while (self.folder / "old").read_bytes() == (self.folder / "ticks").read_bytes():
            self.assertLess(time.monotonic(), deadline, "the builder does not go on")
            lecture.read(0.02)
        lecture.type("q\r")
        self.assertEqual(len(self.table(lecture, 0)), 1)
        self.assertEqual((self.folder / "order").read_text(), "race-condition\nmutex-fix\n")

    def test_a_demo_that_does_not_build_is_a_row(self):
        (self.folder / "broken-race-condition").touch()
        lecture = self.give("--no-pause", race_condition="", mutex_fix="")
        rows = self.table(lecture, 1)
        self.assertIn("\n --> main.rs", lecture.text)
        self.assertRegex("\n".join(rows), r"^does not build race-condition .*\nerror.E0425.: no `x`\nshown mutex-fix")

    def test_what_is_missing_is_installed_behind_the_questions(self):
        """Here in vain: there is no MPI in this PATH, and this apt-get has no network."""
        for tool in "bash cat dirname env mktemp rm sed sleep tail tr true uname".split():
            (self.folder / tool).symlink_to(shutil.which(tool))
        (self.folder / "python3").symlink_to(sys.executable)
        self.script("apt-get", "while [[ -e slow ]]; do sleep 0.02; done; echo E: no network >&2; exit 100")
        self.script("apt-cache", "")
        self.script("sudo", 'if [[ $1 == -n ]]; then shift; fi; exec "$@"')
        self.environment["PATH"] = str(self.folder)
        (self.folder / "slow").touch()
        lecture = self.give(mpi_reduction="", rayon_reduction="")
        self.answer(lecture, ("", "waiting for scripts/setup.sh"))
        self.assertEqual((self.folder / "order").read_text(), "rayon-reduction\n")
        (self.folder / "slow").unlink()
        lecture.expect("E: no network")
        self.answer(lecture, ("", "shown"))
        table = " ".join(self.table(lecture, 0))
        self.assertRegex(table, "^cannot run here mpi-reduction .*missing: mpi; install it with: .*shown rayon")

    def test_keys(self):
        lecture = self.give(race_condition="echo the race", mutex_fix="", deadlock="", atomic_fix="")
        self.answer(lecture, ("r", "none has run"), ("c", "//! Race condition: "), ("", "the race"), ("r", "the race"))
        self.answer(lecture, ("", "shown"), ("s", "[4/4] atomic-fix"), ("q", "total time"))
        rows = [row.rsplit(" ", 2)[0] for row in self.table(lecture, 0)[:3]]
        self.assertEqual(rows, ["shown race-condition", "shown race-condition", "shown mutex-fix"])
        self.assertIn("skipped          deadlock\r\ntotal", lecture.text)
        self.assertEqual([line for line in lecture.text.splitlines() if len(line) > 80], [])

    def test_ctrl_c_at_a_question_and_a_signal_end_all(self):
        (self.folder / "slow-mutex-fix").touch()
        lecture = self.give(mutex_fix="")
        lecture.expect(QUESTION)
        lecture.type("\x03")
        self.table(lecture, 130)
        lecture = self.give("--no-pause", race_condition="echo it runs; sleep 60", mutex_fix="")
        lecture.expect("it runs")
        os.kill(lecture.pid, signal.SIGTERM)
        self.table(lecture, 143)

    def test_the_keyboard_is_the_demos_while_it_runs(self):
        """What it does not read is no answer to the next question. Whatever it does: the terminal is as before."""
        race = "echo Enter; read -r key; echo read: $key; sleep 0.5; stty raw; kill -KILL $$"
        lecture = self.give(race_condition=race, mutex_fix="echo it runs; exec sleep 60", deadlock="")
        settings = termios.tcgetattr(lecture.file)
        self.answer(lecture, ("", "Enter\r\n"))
        lecture.type("mine\r")
        lecture.expect("read: mine")
        lecture.type("q\rq")
        self.answer(lecture, ("", "it runs"))
        self.assertEqual(termios.tcgetattr(lecture.file), settings)
        lecture.type("\x03")
        self.answer(lecture, ("", "shown"))
        self.assertEqual(self.table(lecture, 1)[1:4:2], ["exit code 137:", "exit code 130:"])

    def test_errors_stand_in_their_place_and_in_the_table(self):
        """As lines that fit, without a backtrace; and a child that has the pipe open is not waited for."""
        error = f"Error: {'no thread ' * 20}\\n\\nCaused by:\\n    refused\\n\\nStack backtrace:\\n   0: main\\n"
        race = f"echo first; sleep 0.2; printf '{error}' >&2; sleep 0.2; echo last; sleep 60 & exit 1"
        lecture = self.give(race_condition=race)
        self.answer(lecture, ("", "NOT SHOWN"))
        table = self.table(lecture, 1)
        self.assertRegex(lecture.text, "(?s)first.*Error: no thread.*last.*NOT SHOWN")
        self.assertRegex(" ".join(table), "exit code 1: Error: no thread .* Caused by: refused$")
        self.assertEqual([line for line in table if len(line) > 76], [])

    def test_escapes_only_where_they_are_understood(self):
        for setting, bold in (({}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)):
            self.environment.update({"TERM": "xterm", **setting})
            lecture = self.give("--no-pause", race_condition="")
            self.table(lecture, 0)
            self.assertEqual("\033" in lecture.text, bold, setting)

    def test_the_real_cargo_may_build_elsewhere(self):
        """Its name for the executable counts, and what the user has set does no harm."""
        (self.folder / "cargo").unlink()
        self.environment.update(demos.test_settings(), CARGO_TERM_VERBOSE="true", PYTHONSAFEPATH="1")
        lecture = self.give("--no-pause", "race-condition")
        lecture.expect("updates lost", 120)
        self.assertEqual(len(self.table(lecture, 0)), 1)
        self.assertTrue((Path(self.environment["CARGO_TARGET_DIR"]) / "debug/race-condition").exists())


if __name__ == "__main__":
    if any(argument in ("-h", "--help") for argument in sys.argv[1:]):
        print(__doc__.strip())
    else:
        unittest.main()
