"""Usage: scripts/book.sh [--handout]

Makes the lecture as a book: runs every demo and every Try line, records what they print, and makes a
page of each, with its question, its answer and its code. The book is book/html/index.html in the
target folder; it needs no server and no network. mdBook 0.5 makes the pages; if there is none, it is
built into the target folder, which takes minutes.

  --handout  also print it, by Chromium, to one PDF beside it: handout.pdf

Exit code: 0 made; 1 made, but a demo did not show its point (it is named), or something failed;
2 bad arguments; 77 what is needed is missing, and cannot be installed here.
"""

import itertools
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS / "book")]  # also if PYTHONSAFEPATH is set

import demos
import pages
from terminal import Terminal

SETUP = str(SCRIPTS / "setup.sh")
SECONDS = 120  # that a run may take, and each of the other programs

# What a demo says when it waits for somebody to type.
ASKS = re.compile(r"press Enter\.|press Ctrl-C three times|handler runs: [12] of 3|next step: ")

# What a terminal showed of a command, and its exit code.
Recording = namedtuple("Recording", "command text code")


def record(command):
    # No progress of cargo, and no colours: the book has its own.
    environment = dict(os.environ, TERM="xterm", CARGO_TERM_QUIET="true", CARGO_TERM_COLOR="never")
    for name in ("PYTHONUTF8", "RUST_BACKTRACE", "RUST_LIB_BACKTRACE"):
        environment.pop(name, None)
    # Nobody is there to type a password; and root may have no sudo.
    sudo = "command sudo -n" if shutil.which("sudo") else ""
    terminal = Terminal(["bash", "-c", f'sudo() {{ {sudo} "$@"; }}\n{command}'], environment, folder=demos.ROOT)
    deadline = time.monotonic() + SECONDS
    keys = itertools.repeat("\x03" if "--wait" in command else "\r")
    if "--play" in command:
        keys = itertools.cycle(["A\r", "B\r"])  # the threads take turns, so that an update gets lost
    more = True
    while more and time.monotonic() < deadline:
        length = len(terminal.text)
        more = terminal.read(0.2)
        if more and len(terminal.text) == length and ASKS.search(terminal.new()):  # it says no more
            terminal.seen = length
            terminal.type(next(keys))
    code = terminal.end(deadline - time.monotonic())
    return Recording(command, terminal.text.replace("\r\n", "\n").strip("\n"), code)


def excused(command, code):
    """Not every machine has what a Try line needs: taskset, say, which ends with 127."""
    if code == 127 or "if installed" in command or platform.system() != "Linux":
        return True
    if "sudo" in command and os.geteuid() != 0:
        return True
    if " target" in command and demos.target() != demos.ROOT / "target":
        return True
    cpu = re.search(r"taskset -c (\d+)", command)
    return bool(cpu) and int(cpu[1]) not in os.sched_getaffinity(0)


def record_all(wrong):
    """For each demo the recordings of its run and of its Try lines."""
    runs = {}
    for demo in demos.all_demos():
        runs[demo.name] = []
        for command in [demo.run, *demo.tries]:
            recording = Recording(command, demo.why_not(), 77) if demo.why_not() else record(command)
            runs[demo.name].append(recording)
            print(f"{recording.code:3} {command}", flush=True)
            said = re.search(r"# exits (\d+)", command)
            as_it_should = recording.code in (77, int(said[1]) if said else 0)
            if not as_it_should and (command == demo.run or not excused(command, recording.code)):
                wrong.append(f"{command}: exit code {recording.code}\n{recording.text}")
    return runs


def run(command, seconds=SECONDS):
    """Runs a program, for so long at most. Its exit code, and what it printed."""
    terminal = Terminal([str(word) for word in command])
    return terminal.end(seconds), terminal.text


def find_mdbook():
    ours = demos.target() / "mdbook"
    for mdbook in ("mdbook", ours / "bin/mdbook"):
        if shutil.which(mdbook) and " v0.5." in run([mdbook, "--version"])[1]:
            return mdbook
    print(f"book.sh: building mdBook into {ours}, once; this takes some minutes", file=sys.stderr)
    install = ["cargo", "install", "--quiet", "--locked", "--root", ours, "--target-dir", ours / "build"]
    code, text = run([*install, "mdbook@^0.5"], 3600)
    if code:
        print(f"{text}\ncannot run here: there is no mdBook 0.5, and it could not be built", file=sys.stderr)
        sys.exit(77)
    shutil.rmtree(ours / "build")
    return ours / "bin/mdbook"


def build_demos():
    """All that will run, so that nothing is built while something is measured."""
    print("book.sh: building the demos, where they are not built", file=sys.stderr)
    for demo in demos.all_demos():
        profiles = {"release" if " --release " in command else "debug" for command in [demo.run, *demo.tries]}
        for profile in profiles:
            if not demo.why_not():
                demos.build([demo], profile)


def print_handout(book, wrong):
    """One PDF of all pages, put beside them when it is complete."""
    where = subprocess.run([SETUP, "--where", "chromium"], stdout=subprocess.PIPE, text=True)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    options += ["--generate-pdf-document-outline", f"--user-data-dir={book / 'profile'}"]
    pdf = book / "handout.pdf"
    address = (book / "html/print.html").as_uri()
    code, text = run([where.stdout.strip(), *options, f"--print-to-pdf={pdf}", address])
    shutil.rmtree(book / "profile", ignore_errors=True)
    if code or not pdf.exists():
        wrong.append(f"Chromium made no PDF in {SECONDS} s: exit code {code}\n{text}")
        return
    pdf.rename(book / "html/handout.pdf")
    first = book / "html/index.html"
    first.write_text(first.read_text().replace(pages.HANDOUT, pages.HANDOUT_LINK))
    print(f"the handout: {book}/html/handout.pdf")


def make(handout):
    """Makes the book. The old one stays until the new one is there. Returns what went wrong."""
    wrong = []
    mdbook = find_mdbook()
    build_demos()
    runs = record_all(wrong)
    book = demos.target() / "book.new"
    shutil.rmtree(book, ignore_errors=True)
    (book / "src").mkdir(parents=True)
    for name in ("book.toml", "book.css"):
        shutil.copy(SCRIPTS / "book" / name, book)
    pages.write(runs, book / "src", wrong)
    code, text = run([mdbook, "build", "--dest-dir", book / "html", book])
    if code:
        return [*wrong, f"mdBook made no book in {SECONDS} s: exit code {code}\n{text}"]
    if pages.GAME.exists():
        shutil.copy(pages.GAME, book / "html")
    place = demos.target() / "book"
    shutil.rmtree(place, ignore_errors=True)
    book.rename(place)
    print(f"the book: {place}/html/index.html")
    if handout:
        print_handout(place, wrong)
    return wrong


def main():
    words = sys.argv[1:]
    if words in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    if words not in ([], ["--handout"]):
        print("book.sh: bad arguments (--help shows how)", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this without a traceback
    os.environ["CARGO_TERM_VERBOSE"] = "false"  # Cargo cannot be verbose and quiet
    pages.questions()  # what can be wrong with them is said before anything is built
    if words:
        subprocess.run([SETUP, "chromium"])
        if demos.missing("chromium"):
            return 77
    wrong = make(handout=bool(words))
    for what in wrong:
        print(f"WRONG: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
