#!/usr/bin/env python3
"""Usage: scripts/check-book.py [--built]

Makes the book of the lecture (scripts/book.sh), and looks at it in a headless Chromium, as a reader would:
that every demo has its page, in order, with what was recorded; that links lead somewhere, no page scrolls
sideways, pictures of characters stay aligned, folds open, the search finds, and no other host is asked.
Chromium is driven by Playwright, which is installed from PyPI into the target folder.

  --built   look at the book that is there, and make none

Exit code: 0 all of that holds, 1 it does not, 2 bad arguments, 77 what is needed is missing.
"""

import argparse
import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urldefrag, urljoin

ROOT = Path(__file__).resolve().parent.parent
SIZES = [(1280, 720), (390, 844)]
PICTURE = "─█▀░◀→"  # characters that pictures are made of; all are to be as wide as an m
# What of a page can be scrolled sideways; blocks, tables and the table of contents may.
SIDEWAYS = """[...document.querySelectorAll("*")].filter(each =>
    each.scrollWidth > each.clientWidth
    && (each === document.documentElement || /auto|scroll/.test(getComputedStyle(each).overflowX))
    && !each.matches("pre > code, .table-wrapper, nav *")).map(each => each.outerHTML.slice(0, 60))"""
PLOTS = ["nice-priority", "embarrassingly-parallel"]


def target_folder():
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return Path(json.loads(told.stdout)["target_directory"])


def go_on_with_playwright(target):
    """Starts this script anew in an environment that has Playwright, which is made if there is none."""
    folder = target / "book-test"
    python = folder / "bin/python"
    complete = folder / "complete"  # made last, so it is missing if somebody interrupted this
    if not complete.exists():
        print(f"check-book.py: installing Playwright into {folder}, once", file=sys.stderr)
        setup = subprocess.run([ROOT / "scripts/setup.sh", "venv"])
        make = [sys.executable, "-m", "venv", "--clear", folder]
        install = [python, "-m", "pip", "install", "-q", "playwright>=1.50,<2"]
        if setup.returncode or subprocess.run(make).returncode or subprocess.run(install).returncode:
            print("cannot run here: this needs python3 with venv and pip, and PyPI", file=sys.stderr)
            sys.exit(77)
        complete.touch()
    os.execve(python, [python, *sys.argv], dict(os.environ, BOOK_TEST="yes", PYTHONUTF8="1"))


def find_chromium():
    setup = str(ROOT / "scripts/setup.sh")
    subprocess.run([setup, "chromium"], check=True)
    found = subprocess.run([setup, "--where", "chromium"], stdout=subprocess.PIPE, text=True)
    if found.returncode:
        print("cannot run here: there is no Chromium", file=sys.stderr)
        sys.exit(77)
    return found.stdout.strip()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve(folder):
    """Serves the folder on this machine, and returns its address."""
    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def expected_pages():
    """The name of each page, in order, and how many runs it has: the demo's, and those of its Try lines."""
    pages = {"index": 0}
    for folder in re.findall(r'^    "(crates/.*)",', (ROOT / "Cargo.toml").read_text(), re.M):
        main = (ROOT / folder / "src/main.rs").read_text()
        pages[Path(folder).name] = 1 + len(re.findall(r"^//! Try: ", main, re.M))
    pages["process-or-thread"] = 0
    return pages


class Reader:
    """A reader of the book, who writes down what is wrong."""

    def __init__(self, browser, home, book):
        self.home = home
        self.book = book
        self.wrong = []
        self.page = browser.new_page()
        self.page.on("console", self.hear)
        self.page.on("pageerror", lambda error: self.find(f"error in the page: {error}"))
        self.page.on("requestfailed", self.miss)
        self.page.on("response", self.receive)

    def find(self, what):
        self.wrong.append(f"{self.page.url}: {what}")

    def hear(self, message):
        if message.type in ("error", "warning"):
            self.find(f"console: {message.text}")

    def miss(self, request):
        if request.failure != "net::ERR_ABORTED":  # the page was turned meanwhile
            self.find(f"cannot be loaded: {request.url}: {request.failure}")

    def receive(self, response):
        if not response.url.startswith((self.home, "data:")):
            self.find(f"asks another host: {response.url}")
        if response.status >= 400:
            self.find(f"status {response.status}: {response.url}")

    def open(self, name):
        self.page.goto(f"{self.home}{name}.html")
        self.page.evaluate("document.fonts.ready")

    def turn_all_pages(self, expected):
        """From the first page, by the arrow to the next one."""
        names = list(expected)
        self.open(names[0])
        for name in names:
            here = self.page.url.removeprefix(self.home).removesuffix(".html")
            if here != name:
                self.find(f"this page should be {name}")
                return
            codes = self.page.locator(".verdict").evaluate_all("all => all.map(each => each.dataset.code)")
            if len(codes) != expected[name]:
                self.find(f"{len(codes)} runs, expected {expected[name]}")
            if codes and codes[0] not in ("0", "77"):
                self.find(f"the demo did not show its point: exit code {codes[0]}")
            for shown in self.page.locator("pre:has(+ .recorded)").all_text_contents():
                if not shown.startswith("$ ") or len(shown.splitlines()) < 2:
                    self.find(f"nothing was recorded: {shown!r}")
            following = self.page.locator("a[rel~='next']").locator("visible=true")
            if name == names[-1]:
                return
            if following.count() == 0:
                self.find("no arrow leads to the next page")
                return
            with self.page.expect_navigation():
                following.first.click()

    def follow_links(self, expected):
        """Every link, also to a heading."""
        targets = {}  # of each page, what a link can name
        links = []
        for name in expected:
            self.open(name)
            address = f"{self.home}{name}.html"
            targets[address] = self.page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
            for link in self.page.locator("a[href]").all():
                links.append((name, urljoin(address, link.get_attribute("href"))))
        print(f"{len(links)} links")
        for name, link in links:
            address, heading = urldefrag(link)
            if not address.startswith(self.home):
                if not address.startswith("https://"):
                    self.wrong.append(f"{name}: a link that is none: {link}")
                continue
            file = address.removeprefix(self.home) or "index.html"
            if not (self.book / file).is_file():
                self.wrong.append(f"{name}: a link that leads nowhere: {link}")
            elif heading and heading not in targets.get(address, []):
                self.wrong.append(f"{name}: no such heading: {link}")

    def look_at_widths(self, expected):
        """With everything unfolded, nothing is wider than the page."""
        for width, height in SIZES:
            self.page.set_viewport_size({"width": width, "height": height})
            for name in expected:
                self.open(name)
                self.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
                for element in self.page.evaluate(SIDEWAYS):
                    self.find(f"can be scrolled sideways in a window of {width}: {element}")
                for image in self.page.locator("main img").all():
                    if not image.evaluate("image => image.decode().then(() => true, () => false)"):
                        self.find("an image that cannot be seen")
        # In the narrow window a block has to scroll; if none does, this looked at nothing.
        self.open("race-condition")
        scrolls = "[...document.querySelectorAll('pre > code')].some(each => each.scrollWidth > each.clientWidth)"
        if not self.page.evaluate(scrolls):
            self.find("no block scrolls in the narrow window")
        self.page.set_viewport_size({"width": SIZES[0][0], "height": SIZES[0][1]})

    def measure_characters(self):
        self.open("fair-scheduling")
        self.page.locator("summary").first.click()
        widths = self.page.locator("pre > code").first.evaluate(
            """(code, characters) => [...characters].map(character => {
                const span = document.createElement("span");
                span.textContent = character.repeat(100);
                code.append(span);
                const width = span.getBoundingClientRect().width / 100;
                span.remove();
                return width;
            })""",
            "m" + PICTURE,
        )
        print(f"widths of m{PICTURE}: {widths}")
        for character, width in zip(PICTURE, widths[1:]):
            if abs(width - widths[0]) > 0.01 or width == 0:
                self.find(f"{character} is {width} wide, m {widths[0]}")

    def unfold(self):
        self.open("zombie-creation")
        fold = self.page.locator("details").first
        summary = fold.locator("summary")
        inside = fold.locator("pre").first
        if inside.is_visible():
            self.find("the answer is not folded")
        summary.click()
        if not inside.is_visible():
            self.find("the mouse does not open the fold")
        summary.focus()
        self.page.keyboard.press("Enter")
        if inside.is_visible():
            self.find("the keyboard does not close the fold")
        self.page.keyboard.press("Enter")
        if not inside.is_visible():
            self.find("the keyboard does not open the fold")

    def search(self):
        self.open("index")
        self.page.keyboard.press("/")
        self.page.keyboard.type("zombie")
        found = self.page.locator("#mdbook-searchresults a")
        found.first.wait_for()
        if not any("zombie-creation.html" in link.get_attribute("href") for link in found.all()):
            self.find("the search does not find zombie-creation")

    def look_for_plots(self):
        for name in PLOTS:
            self.open(name)
            if self.page.locator(f"main img[src='plots/{name}.svg']").count() == 0:
                if self.page.locator(".verdict").first.get_attribute("data-code") == "0":
                    self.find("no plot")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--built", action="store_true")
    built = parser.parse_args().built
    target = target_folder()
    if built and not (target / "book/html/index.html").exists():
        print("cannot run here: there is no book; make book makes it", file=sys.stderr)
        return 77
    if "BOOK_TEST" not in os.environ:
        if not built:
            code = subprocess.run([ROOT / "scripts/book.sh"]).returncode
            if code:
                return code
        go_on_with_playwright(target)
    chromium = find_chromium()
    from playwright.sync_api import sync_playwright

    book = target / "book/html"
    expected = expected_pages()
    with sync_playwright() as playwright:
        # As root in a container Chromium has no sandbox; it sees only these pages.
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False, args=quiet)
        reader = Reader(browser, serve(book), book)
        reader.turn_all_pages(expected)
        reader.follow_links(expected)
        reader.look_at_widths(expected)
        reader.measure_characters()
        reader.unfold()
        reader.search()
        reader.look_for_plots()
        browser.close()
    for what in reader.wrong:
        print(f"WRONG: {what}")
    print(f"{len(expected)} pages, {sum(expected.values())} runs, {len(reader.wrong)} wrong")
    return 1 if reader.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
