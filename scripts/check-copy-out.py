#!/usr/bin/env python3
"""Usage: scripts/check-copy-out.py [DEMO...]

Copies each demo (or those named) alone to a folder outside this repository, as a student would, and
there runs its tests and the demo itself, whose output is to fit 80 columns and 24 lines; those with a
Run line also optimised. Two demos at a time for each core, as many tests wait; built dependencies are
shared between them.

Exit code: 0 each one builds, passes, runs and fits, 1 one does not, 2 bad arguments.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import demos

# Outside this repository: below it, Cargo would look for the copies among its members.
OUTSIDE = Path(tempfile.gettempdir(), f"copy-out-{os.getuid()}-{zlib.crc32(str(demos.ROOT).encode())}")
# As in this workspace's Cargo.toml: to build packages takes most of the time.
PACKAGES = ["--config", "profile.release.package.'*'.opt-level=0"]


def check(demo):
    """Copies the demo, tests and runs it there: whether all is well, and what to say of it."""
    if demo.why_not():
        return True, f"{demo.name} cannot be built here: {demo.why_not()}"
    copy = OUTSIDE / demo.name
    copy.mkdir(exist_ok=True)
    for old in copy.iterdir():  # what was removed here is removed there
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()
    shutil.copytree(demo.folder, copy, dirs_exist_ok=True)  # with their times: built again is what changed
    shutil.copy(demos.ROOT / "Cargo.lock", copy)  # the versions that are tested here
    environment = {**os.environ, **demos.test_settings()}
    for profile in [[], ["--release"]] if demo.profile == "release" else [[]]:
        for command in ("test", "run"):
            cargo = ["cargo", command, "--quiet", *PACKAGES, *profile]
            ran = subprocess.run(cargo, cwd=copy, env=environment, text=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if ran.returncode == 77 and command == "run":
                return True, f"{demo.name}, copied out alone: passes its tests, {ran.stderr.strip()}"
            if ran.returncode:
                return False, f"{ran.stdout}{ran.stderr}{demo.name}, copied out alone: exit code {ran.returncode}"
        lines = ran.stdout.splitlines()
        if len(lines) > 24 or max(map(len, lines)) > 80:
            return False, f"{ran.stdout}{demo.name}: more than a projector's 80 columns and 24 lines"
    return True, f"{demo.name}, copied out alone: passes its tests, shows its point on one screen"


def main():
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    chosen = demos.named(sys.argv[1:])
    OUTSIDE.mkdir(mode=0o700, exist_ok=True)
    if OUTSIDE.is_symlink() or OUTSIDE.stat().st_uid != os.getuid():
        sys.exit(f"check-copy-out.py: {OUTSIDE} belongs to somebody else")
    failed = 0
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        # The first ones measure for seconds, and the last ones take longest to build: so these begin.
        by_length = sorted(chosen, key=lambda demo: demo.part not in ("tools", "computer"))
        for well, said in pool.map(check, by_length):
            print(said, flush=True)
            failed |= not well
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
