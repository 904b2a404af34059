#!/usr/bin/env python3
"""Plays scripts/book/play.html in a headless Chromium: by keys, by touch, and by its address. The rules, written
here once more, tell all orders and how each ends; race-interleavings tells what the steps of a race do.
Exit code: 0 all is well, 1 it is not (each finding on a line), 2 bad arguments, 77 what is needed is missing.
"""

import argparse
import re
import subprocess
import sys
from collections import Counter

import demos

# The steps of each thread: load, +1, store, fetch_add; a capital takes a lock, its small letter gives it back.
LEVELS = {
    "race": {"A": "l+s", "B": "l+s"},
    "mutex": {"A": "Xl+sx", "B": "Xl+sx"},
    "atomic": {"A": "f", "B": "f"},
    "deadlock": {"A": "XYyx", "B": "YXxy"},
    "ordered": {"A": "XYyx", "B": "XYyx"},
    "three": {"A": "l+s", "B": "l+s", "C": "l+s"},
}


def all_orders(steps, memory, order=""):
    """Each order that is possible from here on, and how it ends, in a word that the page uses, too."""
    able = [thread for thread in steps if steps[thread] and steps[thread][0] not in memory]
    if not able:
        counted = f"counted {memory['counter']}" if memory["counter"] else "ended"
        yield order, "Deadlock" if any(steps.values()) else counted
    for thread in able:
        step = steps[thread][0]
        after = dict(memory)  # the counter, the register of each thread, and the locks that are held
        if step == "l":
            after[thread] = memory["counter"]
        elif step == "+":
            after[thread] += 1
        elif step == "s":
            after["counter"] = memory[thread]
        elif step == "f":
            after["counter"] += 1
        elif step.isupper():
            after[step] = thread
        else:
            del after[step.upper()]
        yield from all_orders({**steps, thread: steps[thread][1:]}, after, order + thread)


def play(page, orders, order):
    """By keys. Before each step the page allows what the rules do, and says of another one why not."""
    page.keyboard.press("r")
    for i, next_key in enumerate([*order, "Shift"]):
        able = {other[i] for other in orders if other.startswith(order[:i]) and other != order[:i]}
        shown = page.locator(".step:visible:not([aria-disabled='true']) b").all_inner_texts()
        assert set(shown) == able, f"the page allows {shown}, the rules {able}"
        for letter in {"A", "B"} - able:
            page.keyboard.press(letter)
            said = page.inner_text("#said")
            assert re.match(f"{letter} (waits: lock.* is held by .|has no step left)$", said), f"no reason: {said}"
        page.keyboard.press(next_key)
    assert orders[order] in page.inner_text(".result"), f"this should be: {orders[order]}"


def play_all_orders(page):
    """Of three threads, one order for each ending. race-interleavings tells the results, and the steps of a race."""
    program = demos.build(demos.chosen(["race-interleavings"]))["race-interleavings"]
    for digit, level in zip("123457", LEVELS):
        orders = dict(all_orders(LEVELS[level], {"counter": 0}))
        endings = Counter(orders.values())
        chosen = {end: order for order, end in orders.items()}.values() if level == "three" else list(orders)
        page.keyboard.press(digit)
        page.locator(f"nav a[href='#{level}'][aria-current]").wait_for(timeout=5000)
        for number, order in enumerate(chosen, 1):
            play(page, orders, order)
            verdict = page.inner_text("main")
            assert f"Orders tried: {number} of {len(orders)}" in verdict, verdict
            # Where all orders end alike, the last one tried wins; else a deadlock does, or the lowest count.
            wins = number == len(orders) if len(endings) == 1 else orders[order] == min(endings)
            assert page.locator("#verdict .won").count() == wins, f"this should win: {wins}"
            shown = [int(count) for count in re.findall(r"(\d+) end", verdict)]
            assert not wins or sorted(shown) == sorted(endings.values()), f"{verdict}, should be {endings}"
            if level not in ("race", "mutex", "atomic"):
                continue
            # With a lock, or in one step, one thread adds before the other begins: AAABBB.
            steps = order if level == "race" else re.sub("A+|B+", lambda run: 3 * run[0][0], order)
            told = subprocess.run([program, "--order", steps], stdout=subprocess.PIPE, text=True, check=True).stdout
            assert page.inner_text(".result").replace(order, steps) == told.splitlines()[-1], told
            rows = re.sub(r"\d \+ 1", "+1", page.inner_text("#past table")).splitlines()[2:]  # after two of heading
            drawn = ["{:<10}{:<10}{}".format(*row.split("\t")).rstrip() for row in rows]
            assert level != "race" or drawn == told.splitlines()[1:7], f"{drawn} is not {told}"
        print(f"play.html#{level}: {len(orders)} orders: {dict(endings)}", flush=True)


def use_thumb_and_address(page):
    """Buttons are large enough, nothing scrolls sideways, a finger does what keys do; so does the address."""
    assert page.evaluate("document.body.scrollWidth <= innerWidth"), "it scrolls sideways"
    sizes = "all => all.map(each => Math.min(each.offsetWidth, each.offsetHeight))"
    assert min(page.locator("button:visible, nav a").evaluate_all(sizes)) >= 44, "a button is small"
    for button, order in [("A", "ABCA"), ("undo", "ABC"), ("restart", ""), ("B", "B")]:
        page.locator(f"#{button}").tap()
        page.wait_for_url(f"**#three={order}".rstrip("="), timeout=5000)
    page.evaluate("location.hash = 'mutex=abba'")
    page.locator("#said[role=status]", has_text="B waits: lock is held by A").wait_for(timeout=5000)
    page.keyboard.press("Backspace")
    page.wait_for_url("**#mutex", timeout=5000)  # it was A: no more was possible
    page.evaluate("location.hash = 'handoff=BBBBBB'")
    page.locator("#said", has_text="B looked: not its turn, so it slept again").wait_for(timeout=5000)
    page.keyboard.type("aaaaaabbbbbb")
    assert "list is AB" in page.inner_text("#verdict", timeout=5000), "it should be AB"
    page.keyboard.press("Enter")  # on to the next level
    page.reload()
    page.locator("nav a.won ~ a[href='#three'][aria-current]").wait_for(timeout=5000)


def find_wrong(browser, address):
    """Plays the page at this address. Returns what is wrong with it, in sentences."""
    wrong = []
    for check in (play_all_orders, use_thumb_and_address):
        page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
        page.on("pageerror", lambda error: wrong.append(f"{address}: {error}"))
        page.on("request", lambda request: request.url.startswith((address, "data:")) or wrong.append(request.url))
        page.goto(f"{address}#three=ABC")
        try:
            check(page)
        except Exception as error:  # an assertion, or one of Playwright's
            wrong.append(f"{page.url}: {error}")
    return wrong


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    packages = [str(path) for path in demos.target().glob("book-test/lib/python*/site-packages")]
    where = subprocess.run([demos.ROOT / "scripts/setup.sh", "--where", "chromium"], stdout=subprocess.PIPE, text=True)
    if where.returncode or not packages:
        print("cannot run here: scripts/check-book.py installs what this needs", file=sys.stderr)
        return 77
    sys.path += packages
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=where.stdout.strip(), chromium_sandbox=False)
        wrong = find_wrong(browser, (demos.ROOT / "scripts/book/play.html").as_uri())
    print("\n".join(wrong) or "play.html: all is well")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
