#!/usr/bin/env python3
"""Usage: scripts/demos.py readme | slides | build [DEMO...]

What the lecture knows of its demos, for every script: asked of Cargo (the manifests, and their order
in Cargo.toml) and read from the header of each main.rs; what is made of it; and the one way to build.

  readme          make the table in README.md again
  slides          write the slides into the target folder (scripts/lecture.md, with two of every demo),
                  and print their path
  build [DEMO...] build them (all that can be built here), and print the paths of their executables

Exit code: 0 done, 1 not, 2 bad arguments.
"""

import json
import os
import re
import subprocess
import sys
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Demo:
    """A demo: what its manifest says, and the header of its main.rs."""

    def __init__(self, package):
        self.name = package["name"]
        self.folder = Path(package["manifest_path"]).parent
        self.description = package["description"]
        lecture = package["metadata"]["lecture"]
        self.slide = lecture["slide"]  # of the lecture, which this demo shows
        self.part = lecture.get("part", self.folder.parent.name)
        self.needs = lecture.get("needs", [])  # tools, as scripts/setup.sh calls them
        self.notes = lecture["notes"].strip()  # what the speaker looks at, the answer, what a class says
        self.main = self.folder / "src/main.rs"
        self.read_header()

    def read_header(self):
        """The paragraphs of the //! lines, and below them the lines `Key: text`, each perhaps continued."""
        header = re.match(r"(//!.*\n)*", self.main.read_text())[0]
        header = re.sub(r"^//! ?", "", header, flags=re.M)
        prose, *fields = re.split(r"^(Predict|Run|Try|See also): +", header, flags=re.M)
        self.prose = [" ".join(paragraph.split()) for paragraph in prose.strip().split("\n\n")]
        found = {"Predict": [], "Run": [], "Try": [], "See also": []}
        for key, text in zip(fields[::2], fields[1::2]):
            between = "\n" if key == "Try" else " "
            found[key].append(between.join(line.strip() for line in text.strip().split("\n")))
        self.predict = " ".join(found["Predict"])
        self.run = " ".join(found["Run"]) or f"cargo run -p {self.name}"
        self.tries = found["Try"]
        self.see_also = " ".join(found["See also"])
        self.profile = "release" if " --release" in self.run else "debug"  # one that measures optimised code

    def why_not(self):
        """What is missing, in a sentence, if it cannot even be built here."""
        return missing("mpi") if "mpi" in self.needs else ""


@lru_cache(maxsize=None)
def missing(tool):
    checked = subprocess.run([ROOT / "scripts/setup.sh", "--check", tool], capture_output=True, text=True)
    return checked.stderr.strip() if checked.returncode else ""


@lru_cache(maxsize=None)
def metadata():
    command = ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"]
    told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
    if told.returncode:
        sys.exit(1)  # Cargo has said why
    return json.loads(told.stdout)


def target():
    return Path(metadata()["target_directory"])


@lru_cache(maxsize=None)
def all_demos():
    """In the order of the lecture, that of `members` in Cargo.toml."""
    return [Demo(package) for package in metadata()["packages"]]


def build_command(profile, *demos):
    command = ["cargo", "build", "--message-format=json-render-diagnostics"]
    for demo in demos:
        command += ["-p", demo.name]
    return command + ["--release"] if profile == "release" else command


def executables(messages):
    """By its name the path of each executable, of what Cargo prints while it builds demos."""
    paths = {}
    for line in messages.splitlines():
        if line.startswith("{"):
            message = json.loads(line)
            if message.get("executable"):
                paths[message["target"]["name"]] = message["executable"]
    return paths


def test_settings():
    """What tests build: in a folder of its own, and without what only a debugger or the next build reads."""
    folder = str(target() / "tested")
    return {"CARGO_TARGET_DIR": folder, "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_INCREMENTAL": "0"}


def build(demos, profile=None, settings={}):
    """Builds these demos, and gives by its name the path of each one's executable."""
    paths = {}
    for kind in ("debug", "release"):
        wanted = [demo for demo in demos if (profile or demo.profile) == kind]
        if not wanted:
            continue
        command = [*build_command(kind, *wanted), "--quiet"]
        built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, **settings})
        if built.returncode:
            sys.exit(1)  # Cargo has said why
        paths.update(executables(built.stdout))
    return paths


def named(name):
    by_name = {demo.name: demo for demo in all_demos()}
    if name not in by_name:
        close = get_close_matches(name, by_name, 1, 0.3)
        meant = f"; did you mean {close[0]}?" if close else ""
        print(f"there is no demo '{name}'{meant} (scripts/lecture.sh --list shows them all)", file=sys.stderr)
        sys.exit(2)
    return by_name[name]


def chosen(names):
    """The demos of these names; if there is none, all that can be built here."""
    return [named(name) for name in names] or [demo for demo in all_demos() if not demo.why_not()]


# --- What is made of it ---------------------------------------------------------------------------


def with_table(readme):
    """The README, with the table made again between its two comments."""
    rows = ["| slide | demo | what it shows |", "| --- | --- | --- |"]
    for demo in all_demos():
        cells = [demo.slide, f"[`{demo.name}`]({demo.folder.relative_to(ROOT)})", demo.description]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    before, rest = readme.split("<!-- table -->\n")
    _, after = rest.split("<!-- end of the table -->\n")
    return "\n".join([f"{before}<!-- table -->", *rows, f"<!-- end of the table -->\n{after}"])


def block(command):
    return f'```bash +exec +acquire_terminal\n/// . "$LECTURE/scripts/deck-block.sh"\n{command}\n```\n'


def slides_of(demo):
    """Two slides: the question and the run; the code and the Try lines."""
    notes = demo.notes.replace("\n", "\n  ")
    blocks = [block(f"less {demo.main.relative_to(ROOT)}"), *map(block, demo.tries)]
    return (
        f"{demo.name}\n===\n\n{demo.description}\n\n**Predict:** {demo.predict}\n\n"
        + block(demo.run.replace("cargo run", "cargo run -q"))
        + f"\n<!--\nspeaker_note: |\n  {notes}\n-->\n\n<!-- end_slide -->\n\n"
        + f"{demo.name}: the code, and what else to try\n===\n\n"
        + "\n<!-- pause -->\n\n".join(blocks)
    )


def slides():
    """A line `<!-- demos from NAME -->` becomes the slides of this demo and of those that follow it, up to the
    next one that has such a line."""
    source = (ROOT / "scripts/lecture.md").read_text()
    marked = re.findall(r"^<!-- demos from (\S+) -->$", source, re.M)
    groups = {}
    for demo in all_demos():
        if demo.name in marked or not groups:
            first = demo.name
            groups[first] = []
        groups[first].append(slides_of(demo))
    if list(groups) != marked:
        sys.exit(f"scripts/lecture.md names demos in another order than Cargo.toml, or one that is none: {marked}")
    for first, made in groups.items():
        source = source.replace(f"<!-- demos from {first} -->\n", "\n<!-- end_slide -->\n\n".join(made))
    return source


def main():
    words = sys.argv[1:]
    if words in (["-h"], ["--help"]):
        print(__doc__.strip())
    elif words == ["readme"]:
        file = ROOT / "README.md"
        file.write_text(with_table(file.read_text()))
    elif words == ["slides"]:
        deck = target() / "lecture.md"
        deck.parent.mkdir(parents=True, exist_ok=True)
        text = slides()
        if not deck.exists() or deck.read_text() != text:  # slides that are shown would begin again
            deck.write_text(text)
        print(deck)
    elif words[:1] == ["build"]:
        for demo in chosen(words[1:]):  # one by one: the first ones are shown while the others are built
            print(build([demo])[demo.name], flush=True)
    else:
        print("demos.py: bad arguments (--help shows how)", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
