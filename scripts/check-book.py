#!/usr/bin/env python3
"""Makes the book of the lecture (scripts/book.sh), and looks at it in a headless Chromium, as a reader would:
every demo has its page, in order, with what was recorded; links lead somewhere, no page scrolls sideways,
no other host is asked, and the game can be played. Playwright, which drives it, is installed from PyPI.

Exit code: 0 all of that holds, 1 it does not, 2 bad arguments, 77 what is needed is missing.
"""

import argparse
import site
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

SCRIPTS = Path(__file__).resolve().parent
sys.path.insert(0, str(SCRIPTS))  # also if PYTHONSAFEPATH is set

import check_play
import demos

# What is on a page, with everything unfolded. Code, tables and the table of contents scroll inside themselves.
LOOK = """() => {
    document.querySelectorAll("details").forEach(each => each.open = true);
    const all = (selector, what) => [...document.querySelectorAll(selector)].map(what);
    const wide = each => each.scrollWidth > each.clientWidth && !each.matches("pre > code, .table-wrapper, nav *")
        && (each === document.documentElement || /auto|scroll/.test(getComputedStyle(each).overflowX));
    return {
        links: all("a[href]", each => each.href),
        chapters: all("#mdbook-sidebar a[href]", each => each.href).filter(each => !each.includes("#")),
        recorded: all("pre:has(+ .recorded)", each => each.textContent.trim()).filter(each => each.includes("\\n")),
        sideways: all("*", each => wide(each) ? each.outerHTML.slice(0, 60) : "").filter(each => each),
    };
}"""


def install_playwright():
    folder = demos.target() / "book-test"
    make = [sys.executable, "-m", "venv", folder]
    install = [folder / "bin/python", "-m", "pip", "install", "-q", "playwright>=1.50,<2"]
    if subprocess.run(make).returncode or subprocess.run(install).returncode:
        print("cannot run here: this needs venv and pip of Python, and PyPI", file=sys.stderr)
        sys.exit(77)
    site.addsitedir(str(folder / f"lib/python3.{sys.version_info.minor}/site-packages"))


def look_at_pages(page, home, wrong):
    runs = {"index": 0, **{demo.name: 1 + len(demo.tries) for demo in demos.all_demos()}, "process-or-thread": 0}
    pages = {f"{home}{name}.html": {} for name in runs}
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        for address in pages:
            page.goto(address)
            pages[address] = page.evaluate(LOOK)
            wrong += [f"{address}: scrolls sideways at {width}: {each}" for each in pages[address]["sideways"]]
    for (address, found), expected in zip(pages.items(), runs.values()):
        if len(found["recorded"]) != expected:
            wrong.append(f"{address}: {len(found['recorded'])} runs with what they printed, not {expected}")
        if found["chapters"] != list(pages):
            wrong.append(f"{address}: other chapters, or another order: {found['chapters']}")
        for link in found["links"]:
            file = urlsplit(link)
            if file.scheme == "file" and not Path(unquote(file.path)).is_file():
                wrong.append(f"{address}: a link that leads nowhere: {link}")
    print(f"{len(pages)} pages, {sum(runs.values())} runs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--built", action="store_true", help="look at the book that is there, and make none")
    if not parser.parse_args().built:
        made = subprocess.run([SCRIPTS / "book.sh"])
        if made.returncode:
            return made.returncode
    subprocess.run([SCRIPTS / "setup.sh", "chromium", "venv"])
    where = subprocess.run([SCRIPTS / "setup.sh", "--where", "chromium"], stdout=subprocess.PIPE, text=True)
    home = (demos.target() / "book/html").as_uri() + "/"
    if where.returncode or not (demos.target() / "book/html").exists():
        print("cannot run here: there is no Chromium, or no book", file=sys.stderr)
        return 77
    install_playwright()
    from playwright.sync_api import sync_playwright

    wrong = []
    with sync_playwright() as playwright:
        # As root in a container Chromium has no sandbox; it sees only these pages.
        browser = playwright.chromium.launch(executable_path=where.stdout.strip(), chromium_sandbox=False)
        page = browser.new_page()
        page.on("console", lambda said: said.type in ("error", "warning") and wrong.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error in a page: {error}"))
        page.on("request", lambda asked: asked.url.startswith("http") and wrong.append(f"asks for {asked.url}"))
        look_at_pages(page, home, wrong)
        wrong += check_play.find_wrong(browser, f"{home}play.html")
        browser.close()
    for what in wrong:
        print(f"WRONG: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
