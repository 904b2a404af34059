#!/usr/bin/env python3
"""Usage: scripts/check-copy-out.py [DEMO...]

Copies each demo that can be built here (or those named) alone to a folder outside this repository, as a
student would, and there builds it and runs its tests, which run the demo; those with a Run line also optimised.
Two demos at a time for each core, as many tests wait; built dependencies are shared between them.

Exit code: 0 each one builds and passes, 1 one does not, 2 bad arguments.
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
    """Copies the demo, and tests it there: whether all is well, and what to say of it."""
    copy = OUTSIDE / demo.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(demo.folder, copy)  # with their times: built again is what changed
    shutil.copy(demos.ROOT / "Cargo.lock", copy)  # the versions that are tested here
    for profile in [[], ["--release"]] if demo.profile == "release" else [[]]:
        test = subprocess.run(["cargo", "test", "--quiet", *PACKAGES, *profile], cwd=copy, text=True,
                              env={**os.environ, **demos.test_settings()},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if test.returncode:
            return False, f"{test.stdout}{demo.name}, copied out alone: exit code {test.returncode}"
    return True, f"{demo.name}, copied out alone: builds and passes its tests"


def main():
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    chosen = demos.chosen(sys.argv[1:])
    OUTSIDE.mkdir(mode=0o700, exist_ok=True)
    if OUTSIDE.is_symlink() or OUTSIDE.stat().st_uid != os.getuid():
        sys.exit(f"check-copy-out.py: {OUTSIDE} belongs to somebody else")
    failed = False
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        # The demos of these two parts are short: they come last.
        by_length = sorted(chosen, key=lambda demo: demo.part in ("process", "thread"))
        for well, said in pool.map(check, by_length):
            print(said, flush=True)
            failed |= not well
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
