"""The chapters of the book, as Markdown: of what demos.py knows of each demo, and of what was recorded."""

import html
import os
import platform
import re
from datetime import date
from pathlib import Path

import demos

README = (demos.ROOT / "README.md").read_text()
LEVELS = ["race", "mutex", "atomic", "deadlock", "handoff"]  # of the game; each is a word in the names of its demos
HANDOUT = "<!-- handout -->"  # the first page says this, until there is one
HANDOUT_LINK = '<p class="on-screen">This book is also <a href="handout.pdf">one PDF</a>.</p>'
LANGUAGES = {".rs": "rust,ignore", ".c": "c", ".py": "python", ".txt": "text"}

# The rows of the README's table "process or thread?": question, figure to read, what follows.
SECTION = README.split("\n### When to use a process")[1]
QUESTIONS = re.findall(r"^\| ([^|]*\?) \| ([^|]*) \| ([^|]*) \|$", SECTION, re.M)


def recorded_on():
    """The machine on which all this is recorded, in a line."""
    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.*)", cpuinfo.read_text(), re.M) if cpuinfo.exists() else []
    model = models[0] if models else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{model}, {platform.system()} {platform.release()}, {cores} cores, {date.today()}"
    return f"recorded on {html.escape(machine)}"


def plain(text):
    """Text in which no character means anything to Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)


def block(text, language="text"):
    return f"~~~~~~~~~~~~{language}\n{text}\n~~~~~~~~~~~~\n"


def folded(summary, content):
    return f"<details>\n<summary>{summary}</summary>\n\n{content}\n</details>\n"


def recorded(recording, verdict=""):
    said = f'<span class="verdict">exit code {recording.code}{verdict}</span>'
    shown = block(f"$ {recording.command}\n{recording.text}")
    return f'{shown}\n<p class="recorded">{said}<br>{recorded_on()}</p>\n'


def with_links(text):
    """Plain text; the names of demos in it lead to their pages."""
    links = {demo.name: f"[{demo.name}]({demo.name}.md)" for demo in demos.all_demos()}
    return re.sub(r"[\w-]+", lambda word: links.get(word[0], word[0]), plain(text))


def game(level=""):
    return f'<p class="on-screen"><a href="play.html{level}">You are the scheduler</a>: play it.</p>\n'


def sources(demo):
    """The files beside main.rs, and those of a folder that the header names; all folded."""
    files = sorted(path for path in (demo.folder / "src").rglob("*.*") if path.name != "main.rs")
    for folder in re.findall(r"scripts/[a-z]+\b(?!-)", " ".join(demo.prose)):
        files += sorted((demos.ROOT / folder).glob("job.*"))
    for file in files:
        name = file.relative_to(demo.folder if demo.folder in file.parents else demos.ROOT)
        what = "the proof: " if file.name == "evidence.rs" else ""
        listing = block(file.read_text().rstrip("\n"), LANGUAGES.get(file.suffix, "bash"))
        yield folded(f"{what}<code>{name}</code>", listing)


def page(demo, shown, tried):
    verdicts = {0: ": it showed its point", 77: ": it cannot run here"}
    run = recorded(shown, verdicts.get(shown.code, ": it did not show its point"))
    answer = " ".join(re.findall("^(?:Look at|Answer:) .*", demo.notes, re.M))
    code = re.sub(r"^(//!.*\n)+\n", "", demo.main.read_text()).rstrip("\n")
    lines = [
        f"# {demo.name}\n",
        f"**{plain(demo.description)}**\n",
        f"Slide: {plain(demo.slide)}\n",
        *[f"{plain(paragraph)}\n" for paragraph in demo.prose],
        "## Predict\n",
        f"> {plain(demo.predict)}\n",
        folded("The answer: what it printed", f"{run}\n{plain(answer)}\n"),
        "## The story\n",
        f"`{demo.main.relative_to(demos.ROOT)}`, but for its header, which is the text above:\n",
        block(code, "rust,ignore"),
        *sources(demo),
        "## Try\n",
        *[folded(f"<code>{html.escape(each.command)}</code>", recorded(each)) for each in tried],
        *[game(f"#{level}") for level in LEVELS if level in demo.name],
        "## See also\n",
        with_links(demo.see_also),
    ]
    return "\n".join(lines)


def first_page(runs):
    """The README's first words and its commands, and the lecture map."""
    words, rest = README.split("\n\n", 2)[1:]
    commands = re.search(r"^```\n(.*?)\n```", rest, re.M | re.S)[1]
    repository = "the repository"
    if "GITHUB_REPOSITORY" in os.environ:  # the machine at home has it already
        repository = f"[the repository]({os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']})"
    shown = sum(recordings[0].code == 0 for recordings in runs.values())
    lines = [
        f"# Processes and threads, live\n\n{words}\n\n{block(commands)}",
        f"They are typed in a clone of {repository}, and need [Rust](https://rustup.rs), make and a C linker.\n",
        f"{HANDOUT}\n",
        "Each page asks a question first, and has the answer folded below it: what the demo printed when "
        f"this book was made. {shown} of {len(runs)} demos showed their point then.\n",
        f'<p class="recorded">{recorded_on()}</p>\n',
        game(),
        "## The lecture map\n\n| slide | demo | what it shows |\n| --- | --- | --- |",
    ]
    for demo in demos.all_demos():
        lines.append(f"| {plain(demo.slide)} | [{demo.name}]({demo.name}.md) | {plain(demo.description)} |")
    lines.append("\nIn the end: [process or thread?](process-or-thread.md)\n")
    return "\n".join(lines)


def last_page(runs):
    """The README's questions, and below each the runs in which the answer is read."""
    lines = ["# Process or thread?\n\nWhat decides, and what the demos measured when this book was made:\n"]
    for question, figure, so in QUESTIONS:
        lines += [f"## {question}\n", re.sub(r"`([\w-]+)`", r"[\1](\1.md)", figure) + "\n"]
        for name in re.findall(r"`([\w-]+)`", figure):
            command, text, _ = runs[name][0]
            lines.append(block(f"$ {command}\n{text}"))
        lines.append(f"**So: {so}**\n")
    lines.append(f'<p class="recorded">{recorded_on()}</p>\n')
    return "\n".join(lines)


def write(runs, src):
    """Writes all pages, and the table of contents."""
    summary = ["# Summary\n", "[The lecture](index.md)\n"]
    part = ""
    for demo in demos.all_demos():
        shown, *tried = runs[demo.name]
        (src / f"{demo.name}.md").write_text(page(demo, shown, tried))
        if demo.part != part:
            summary.append(f"\n# {demo.part.capitalize()}\n")
        part = demo.part
        summary.append(f"- [{demo.name}]({demo.name}.md)")
    (src / "index.md").write_text(first_page(runs))
    (src / "process-or-thread.md").write_text(last_page(runs))
    summary.append("\n---\n\n[Process or thread?](process-or-thread.md)")
    (src / "SUMMARY.md").write_text("\n".join(summary))
