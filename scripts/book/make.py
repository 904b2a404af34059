"""Makes the lecture as a book: runs every demo and every Try line, records what they print, and makes a
page of each, with its question, its answer and its code. The book is book/html/index.html in the
target folder; it needs no server and no network. mdBook 0.5 makes the pages; if there is none, it is
built into the target folder, which takes minutes.

Exit code: 0 made; 1 made, but a demo did not show its point (it is named), or something failed;
2 bad arguments; 77 what is needed is missing, and cannot be installed here.
"""

import argparse
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

SETUP = SCRIPTS / "setup.sh"
SECONDS = 120  # that a run may take, and Chromium

# What a demo says when it waits for somebody to type.
ASKS = re.compile(r"press Enter\.|press Ctrl-C three times|handler runs: [12] of 3")

# What a terminal showed of a command, and its exit code.
Recording = namedtuple("Recording", "command text code")


def record(command):
    # Nobody is there to type a password; and root may have no sudo.
    sudo = "command sudo -n" if shutil.which("sudo") else ""
    terminal = Terminal(["bash", "-c", f'sudo() {{ {sudo} "$@"; }}\n{command}'], folder=demos.ROOT)
    deadline = time.monotonic() + SECONDS
    while terminal.read(deadline - time.monotonic()) and time.monotonic() < deadline:
        asked = ASKS.search(terminal.new())
        if asked:
            terminal.seen += asked.end()
            terminal.type("\r" if "Enter" in asked[0] else "\x03")
    code = terminal.end(deadline - time.monotonic())
    return Recording(command, terminal.text.replace("\r\n", "\n").strip("\n"), code)


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
            expected = int(said[1]) if said else 0
            excused = (77,) if command == demo.run else (1, 77, 127)  # taskset, say, is not on every machine
            if recording.code not in (expected, *excused):
                wrong.append(f"{command}: exit code {recording.code}\n{recording.text}")
    return runs


def find_mdbook():
    ours = demos.target() / "mdbook"
    for mdbook in ("mdbook", ours / "bin/mdbook"):
        if shutil.which(mdbook) and b" v0.5." in subprocess.run([mdbook, "--version"], capture_output=True).stdout:
            return mdbook
    print(f"book.sh: building mdBook into {ours}, once; this takes some minutes", file=sys.stderr)
    install = ["cargo", "install", "--quiet", "--locked", "--root", ours, "--target-dir", ours / "build"]
    if subprocess.run([*install, "mdbook@^0.5"]).returncode:
        print("cannot run here: there is no mdBook 0.5, and it could not be built", file=sys.stderr)
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


def print_handout(chromium, book, wrong):
    """One PDF of all pages, put beside them when it is complete. A Chromium that hangs is killed."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    options += ["--generate-pdf-document-outline", f"--user-data-dir={book / 'profile'}"]
    pdf = book / "handout.pdf"
    terminal = Terminal([chromium, *options, f"--print-to-pdf={pdf}", (book / "html/print.html").as_uri()])
    code = terminal.end(SECONDS)
    shutil.rmtree(book / "profile", ignore_errors=True)
    if code or not pdf.exists():
        wrong.append(f"Chromium made no PDF in {SECONDS} s: exit code {code}\n{terminal.text}")
        return
    pdf.rename(book / "html/handout.pdf")
    first = book / "html/index.html"
    first.write_text(first.read_text().replace(pages.HANDOUT, pages.HANDOUT_LINK))
    print(f"the handout: {book}/html/handout.pdf")


def make(chromium):
    """Makes the book, and the handout if this Chromium shall. The old book stays until the new one is there.
    Returns what went wrong."""
    wrong = []
    mdbook = find_mdbook()
    build_demos()
    runs = record_all(wrong)
    book = demos.target() / "book.new"
    shutil.rmtree(book, ignore_errors=True)
    (book / "src").mkdir(parents=True)
    for name in ("book.toml", "book.css"):
        shutil.copy(SCRIPTS / "book" / name, book)
    shutil.copy(SCRIPTS / "book/play.html", book / "src")  # mdBook takes it along
    pages.write(runs, book / "src")
    made = subprocess.run([mdbook, "build", "--dest-dir", book / "html", book], capture_output=True, text=True)
    if made.returncode:
        return [*wrong, f"mdBook made no book:\n{made.stderr}"]
    place = demos.target() / "book"
    shutil.rmtree(place, ignore_errors=True)
    book.rename(place)
    print(f"the book: {place}/html/index.html")
    if chromium:
        print_handout(chromium, place, wrong)
    return wrong


def main():
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="scripts/book.sh", description=__doc__, formatter_class=raw)
    parser.add_argument("--handout", action="store_true", help="also print it, by Chromium, to one PDF beside it")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this without a traceback
    chromium = ""
    if arguments.handout:
        subprocess.run([SETUP, "chromium"])  # it says what is missing
        where = subprocess.run([SETUP, "--where", "chromium"], stdout=subprocess.PIPE, text=True)
        if where.returncode:
            return 77
        chromium = where.stdout.strip()
    wrong = make(chromium)
    for what in wrong:
        print(f"WRONG: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
