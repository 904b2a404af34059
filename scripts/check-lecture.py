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
touch "begun-$2"
printf '    Building [==>   ] 3/9: syn\\r' >&2
while [[ -e slow-$2 ]]; do sleep 0.02; done
if [[ -e broken-$2 ]]; then printf 'warning: old\\nerror[E0425]: no `x`\\n --> main.rs\\n' >&2; exit 101; fi
touch "built-$2"
echo "{\\"executable\\":\\"$FOLDER/$2\\", \\"target\\":{\\"name\\":\\"$2\\"}}"
"""


class Lecture(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="check [1] lecture "))
        self.addCleanup(shutil.rmtree, self.folder)
        self.environment = dict(os.environ, FOLDER=str(self.folder), CARGO=shutil.which("cargo"), TERM="xterm")
        self.environment.update(PATH=f"{self.folder}:{os.environ['PATH']}", PAGER="cat", CDPATH=f".:{ROOT}")
        self.environment.pop("NO_COLOR", None)
        self.script("cargo", CARGO)
        (self.folder / "python3").symlink_to(sys.executable)

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
            lecture.expect(QUESTION)
            lecture.type(f"{keys}\r")
            lecture.expect(seen)

    def table(self, lecture, code):
        """The words of the table, once the lecture has ended with this exit code and left nothing."""
        self.assertEqual(lecture.end(), code, lecture.text)
        self.assertEqual(left(lecture.mark), [])
        lines = lecture.text.split("The lecture's demos")[-1].splitlines()
        self.assertEqual([line for line in lines if len(line) > 80], [])
        return " ".join(" ".join(lines).split())

    def test_demos_are_built_behind_a_question_and_not_while_one_runs(self):
        """The pager waits until what comes is being built. In the end a signal ends all, at once."""
        (self.folder / "slow-mutex-fix").touch()
        self.environment["PAGER"] = "pager"
        self.script("pager", 'until [[ -e begun-mutex-fix ]]; do sleep 0.02; done; cat "$1"')
        race = "rm slow-mutex-fix; sleep 0.3; [[ ! -e built-mutex-fix ]]"
        lecture = self.give(race_condition=race, mutex_fix="trap '' HUP; echo it runs; exec sleep 60")
        self.answer(lecture, ("c", "//! Race condition: "), ("", "\033[1mshown"))
        (self.folder / "slow-mutex-fix").touch()
        self.answer(lecture, ("", "3/9: syn"))
        (self.folder / "slow-mutex-fix").unlink()
        lecture.expect("it runs")
        os.kill(lecture.pid, signal.SIGTERM)
        self.assertEqual(left(lecture.mark), [])  # asked before end(), which kills what is left
        self.table(lecture, 143)

    def test_what_fails_is_a_row_with_its_reason(self):
        """At once, and without a backtrace in the table; a child that has standard error open is not waited for, nor
        left. No escapes where they are not understood."""
        self.environment["TERM"] = "dumb"
        (self.folder / "broken-mutex-fix").touch()
        error = f"Error: {'no thread ' * 20}\\n\\nCaused by:\\n    refused\\n\\nStack backtrace:\\n   0: main\\n"
        race = f"printf '{error}' >&2; until [[ -e seen ]]; do sleep 0.02; done; echo last; sleep 60 & exit 1"
        lecture = self.give("--no-pause", race_condition=race, mutex_fix="", deadlock="kill -KILL $$", atomic_fix="")
        lecture.expect("Error: no thread")
        (self.folder / "seen").touch()
        table = self.table(lecture, 1)
        self.assertRegex(lecture.text, r"(?s)last.*NOT SHOWN.*\rwarning: old\r\nerror.*\n --> main.rs")
        self.assertRegex(table, "NOT SHOWN race-condition .* code 1: Error: no thread .* Caused by: refused does")
        self.assertRegex(table, "does not build mutex-fix .* s error.E0425.: no `x` NOT SHOWN deadlock .* 137: shown")
        self.assertNotIn("\033", lecture.text)

    def test_what_is_missing_is_installed_behind_the_questions(self):
        """Here in vain: this MPI compiles nothing, and this apt-get has no network. (Nor are there colours.)"""
        self.script("mpicc", "exit 1")
        self.script("apt-get", "while [[ -e slow ]]; do sleep 0.02; done; echo E: no network >&2; exit 100")
        self.script("apt-cache", "")
        self.script("sudo", 'if [[ $1 == -n ]]; then shift; fi; exec "$@"')
        self.environment.update(SETUP="1", NO_COLOR="1")
        (self.folder / "slow").touch()
        lecture = self.give(race_condition="", mpi_reduction="", deadlock="", atomic_fix="")
        self.answer(lecture, ("r", "Predict"), ("", "shown"), ("r", "shown"), ("", "waiting for scripts/setup.sh"))
        (self.folder / "slow").unlink()
        lecture.expect("E: no network")
        self.answer(lecture, ("s", "[4/4] atomic-fix"), ("q", "total time"))
        missing = "cannot run here mpi-reduction .* E: no network missing: mpi; "
        rows = f"(shown race-condition .* s ){{2}}{missing}.*skipped deadlock total"
        self.assertRegex(self.table(lecture, 0), rows)
        self.assertNotIn("\033", lecture.text)

    def test_the_keyboard_is_the_demos_while_it_runs(self):
        """What it does not read is no answer to the next question. Whatever it does: the terminal is as before."""
        race = "echo go; read -r key; echo read: $key; until [[ -e typed ]]; do sleep 0.02; done; stty raw"
        lecture = self.give(race_condition=race, mutex_fix="echo it runs; exec sleep 60", deadlock="")
        settings = termios.tcgetattr(lecture.file)
        self.answer(lecture, ("", "go\r\n"))
        lecture.type("mine\r")
        lecture.expect("read: mine")
        lecture.type("q\rq")
        lecture.expect("q\r\nq")
        (self.folder / "typed").touch()
        self.answer(lecture, ("", "it runs"))
        self.assertEqual(termios.tcgetattr(lecture.file), settings)
        lecture.type("\x03")
        lecture.expect("NOT SHOWN")
        lecture.expect(QUESTION)
        lecture.type("\x03")
        self.table(lecture, 130)

    def test_the_real_cargo_may_build_elsewhere(self):
        """Its name for the executable counts, and what the user has set does no harm."""
        (self.folder / "cargo").unlink()
        self.environment.update(demos.test_settings(), CARGO_TERM_VERBOSE="true", PYTHONSAFEPATH="1")
        lecture = self.give("--no-pause", "race-condition")
        lecture.expect("updates lost", 120)
        self.table(lecture, 0)
        self.assertTrue((Path(self.environment["CARGO_TARGET_DIR"]) / "debug/race-condition").exists())


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__.strip())
    else:
        unittest.main()
