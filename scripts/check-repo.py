#!/usr/bin/env python3
"""Checks what no compiler does: that the README's table and the slides are up to date, that every demo is a
member, has its tests and header lines, fits a projector and stands alone, and that no dependency is wanted
in two versions or with two sets of features.

Exit code: 0 all is well, 1 it is not (each finding on a line), 2 bad arguments.
"""

import argparse
import re
import sys

import demos


def findings(demo, wanted):
    """What is wrong with one demo; `wanted` collects how each dependency is asked for."""
    manifest = (demo.folder / "Cargo.toml").read_text()
    if demo.name != demo.folder.name:
        yield "the package has another name than its folder"
    if not (demo.folder / "tests/demo.rs").exists():
        yield "no tests/demo.rs"
    for key, text in (("Predict", demo.predict), ("Try", demo.tries), ("See also", demo.see_also)):
        if not text:
            yield f"main.rs: no {key} line"
    if re.search(r'workspace *= *true|path *= *"\.\.', manifest):
        yield "Cargo.toml: this breaks the demo when it is copied out"
    if len(demo.description) > 80:
        yield "Cargo.toml: a description of over 80 characters"
    for file in demo.folder.glob("src/**/*.rs"):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if len(line) > 80:  # rustfmt wraps code, but no comment
                yield f"{file.name}: line {number} has over 80 characters"
    for section in re.findall(r"^\[.*dependencies\]\n((?:.+\n)*)", manifest, re.M):
        for name, how in re.findall(r"^([\w-]+) = (.*)", section, re.M):
            wanted.setdefault(name, set()).add(how)


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    found, wanted = [], {}
    for demo in demos.all_demos():
        found += [f"{demo.name}: {what}" for what in findings(demo, wanted)]
    found += [f"{name} is wanted in several ways: {how}" for name, how in wanted.items() if len(how) > 1]
    members = {demo.folder for demo in demos.all_demos()}
    for manifest in demos.ROOT.glob("crates/*/*/Cargo.toml"):
        if manifest.parent not in members:
            found.append(f"{manifest.parent.name} is no member in Cargo.toml")
    demos.slides()
    readme = (demos.ROOT / "README.md").read_text()
    if readme != demos.with_table(readme):
        found.append("README.md: its table is not up to date: scripts/demos.py readme makes it")
    for what in found:
        print(what)
    if not found:
        print("check-repo: README, slides, manifests and demos agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
