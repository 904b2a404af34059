#!/usr/bin/env python3
"""Usage: scripts/check-lecture.py [TEST...]

Tests the scripts that a lecturer calls, in surroundings that are not ours: another target folder,
RUST_BACKTRACE=1, TERM=dumb, a German system, a clone with the line ends of Windows.
A small `cargo` stands in where only the runner is tested: its demos are scripts.

Exit code: 0 all hold, 1 one does not, 2 bad arguments.
"""

import os
import pty
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LECTURE = str(ROOT / "scripts/lecture.sh")

# Stands in for cargo build: says where the executables are, as cargo does.
CARGO = """#!/usr/bin/env bash
while (($#)); do
  if [[ $1 == -p ]]; then echo "{\\"executable\\":\\"$DEMOS/$2\\"}"; shift; fi
  shift
done
"""


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
        """What a command writes to a terminal, where nobody types."""
        self.environment.update(environment)
        terminal, end = pty.openpty()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=end, stderr=end, env=self.environment
        )
        os.close(end)
        text = b""
        try:
            while part := os.read(terminal, 4096):
                text += part
        except OSError:  # EIO: no process has the terminal open any more
            pass
        os.close(terminal)
        process.wait()
        return text.decode()

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
            [str(ROOT / "scripts/soak.sh"), "--debug", "race-condition", "1", "free"],
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
        self.assertIn("\033[1m", self.at_terminal(*command, TERM="xterm"))
        for nothing in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}):
            text = self.at_terminal(*command, **nothing)
            self.assertIn("a demo", text)
            self.assertNotIn("\033", text)

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
            self.assertNotIn(b"\r", file.read_bytes(), file)


if __name__ == "__main__":
    if any(argument in ("-h", "--help") for argument in sys.argv[1:]):
        print(__doc__.strip())
    else:
        os.chdir(ROOT)
        unittest.main(verbosity=1)
