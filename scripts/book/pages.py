#!/usr/bin/env python3
"""Usage: scripts/book/pages.py FOLDER

Writes the chapters of the book into FOLDER/src: runs every demo and every Try line of its header in a
terminal of 80 x 24, records what it shows, and makes a page of that, of the header, and of the source.
scripts/book.sh calls this when all that is run has been built.

Exit code: 0 written, and every run ended as it should; 1 one did not (it is named); 2 bad arguments.
"""

import codecs
import fcntl
import html
import os
import platform
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from datetime import date
from pathlib import Path

import figures
import plots

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 120  # for one run
LANGUAGES = {".rs": "rust,ignore", ".c": "c", ".py": "python", ".txt": "text"}


# --- What the repository says ---------------------------------------------------------------------


class Demo:
    """A demo, from the README's row, the manifest, the header of main.rs, and the slides' notes."""

    def __init__(self, row):
        self.slide, self.name, self.folder, self.sentence = row
        self.path = ROOT / self.folder
        self.read_header()
        self.run = self.fields.get("Run", [f"cargo run -p {self.name}"])[0]
        self.tries = self.fields["Try"]
        self.shown = None  # the recording of its run
        self.tried = []  # those of its Try lines

    def read_header(self):
        """The text of the //! lines, and the lines `Key: text` at their end, each perhaps continued."""
        self.prose = []  # paragraphs
        self.fields = {}
        key = None
        paragraph = []
        for line in (self.path / "src/main.rs").read_text().splitlines():
            if not line.startswith("//!"):
                break
            line = line.removeprefix("//!")
            field = re.match(r" (Predict|Run|Try|See also): +(.*)", line)
            if field:
                key = field[1]
                self.fields.setdefault(key, []).append(field[2])
            elif key:
                between = "\n" if key == "Try" else " "
                self.fields[key][-1] += between + line.strip()
            elif line.strip():
                paragraph.append(line.strip())
            else:
                self.prose.append(" ".join(paragraph))
                paragraph = []

    def sources(self):
        """The files beside main.rs, evidence.rs first, and those of a folder that the header names."""
        files = [path for path in (self.path / "src").rglob("*.*") if path.name != "main.rs"]
        files.sort(key=lambda path: (path.name != "evidence.rs", path))
        for folder in re.findall(r"scripts/[a-z]+\b(?!-)", " ".join(self.prose)):
            files += sorted((ROOT / folder).glob("job.*"))
        return files


def readme():
    return (ROOT / "README.md").read_text()


def demos():
    """In the order of the lecture."""
    pattern = r"^\| (.*) \| \[`(.*)`\]\((.*)\) \| (.*) \|$"
    rows = re.findall(pattern, readme(), re.M)
    return [Demo([cell.replace("\\|", "|") for cell in row]) for row in rows]


def parts():
    """For the first demo of each part: the name of the part, a comment in Cargo.toml."""
    pattern = r'^    # (\w+).*\n(?:    #.*\n)*    "crates/\w+/(.*)",'
    return {name: part for part, name in re.findall(pattern, (ROOT / "Cargo.toml").read_text(), re.M)}


def notes():
    """For each demo what the slides' speaker notes say: what to look at, and the answer."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import demos

    return {demo.name: " ".join(re.findall("^(?:Look at|Answer:) .*", demo.notes, re.M)) for demo in demos.all_demos()}


def repository():
    """A link to the repository where GitHub makes this book; the machine at home has one already."""
    if "GITHUB_REPOSITORY" in os.environ:
        return f"[the repository]({os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']})"
    return "the repository"


def machine():
    """The machine on which all this is recorded, in a line."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = re.findall(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.M)
        model = names[0] if names else platform.machine()
    elif platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        model = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count()
    kernel = f"{platform.system()} {platform.release()}"
    return f"{model}, {kernel}, {cores} cores, {date.today()}"


# --- Recording ------------------------------------------------------------------------------------


class Recording:
    """What a terminal shows of a command, and its exit code."""

    def __init__(self, command, refused=None):
        """With the reason for which it is refused, nothing is run."""
        self.command = command
        if refused:
            self.text, self.code = refused, 77
        else:
            self.text, self.code = record(command)

    def as_it_should(self):
        said = re.search(r"# exits (\d+)", self.command)
        if self.code == 77:
            return True
        if said:
            return self.code == int(said[1])
        return self.code == 0

    def excused(self):
        """Not every machine has what a Try line needs: taskset, say, which ends with 127."""
        if "sudo" in self.command and not may_be_root():
            return True
        return self.code == 127 or "if installed" in self.command or platform.system() != "Linux"

    def verdict(self):
        """What the exit code of a demo's own run means."""
        if self.code == 0:
            return "exit code 0: it showed its point"
        if self.code == 77:
            return "exit code 77: it cannot run here"
        return f"exit code {self.code}: it did not show its point"


def may_be_root():
    return os.geteuid() == 0 or subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL).returncode == 0


def record(command):
    # A terminal shows no progress of cargo, nor colours: the book has its own.
    environment = dict(os.environ, TERM="xterm", CARGO_TERM_QUIET="true", CARGO_TERM_COLOR="never")
    environment.pop("RUST_BACKTRACE", None)
    if os.geteuid() == 0 and not shutil.which("sudo"):
        command = f'sudo() {{ "$@"; }}\n{command}'
    else:
        command = f'sudo() {{ command sudo -n "$@"; }}\n{command}'  # nobody is there to type a password
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.chdir(ROOT)
        os.execvpe("bash", ["bash", "-c", command], environment)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end within a character
    text = ""
    answered = 0  # so much of the text was there when something was typed
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.2)[0]:
            # It says no more: perhaps it asks.
            keys = answer(text[answered:], text)
            if keys:
                answered = len(text)
                os.write(terminal, keys.encode())
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # EIO: nobody has the terminal any more
            part = b""
        if not part:
            break
        text += decoder.decode(part)
    else:
        os.killpg(pid, signal.SIGKILL)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return text.replace("\r\n", "\n").strip("\n"), os.waitstatus_to_exitcode(status)


def answer(text, before):
    """What somebody at the terminal types to a demo that has said this, if it asks."""
    if "press Enter." in text:
        return "\r"
    if re.search(r"press Ctrl-C three times|handler runs: [12] of 3", text):
        return "\x03"
    question = re.search(r"next step: (\w)(?: or (\w))?\? $", text)
    if question:
        # The threads take turns, so that an update gets lost.
        first, second = question.groups()
        last = re.findall(r"\? (\w)\r\n", before)[-1:]
        return f"{second}\r" if second and last == [first] else f"{first}\r"
    return None


# --- Pages ----------------------------------------------------------------------------------------


def plain(text):
    """Text in which no character means anything to Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)


def block(text, language="text"):
    longest = max((len(run) for run in re.findall("~+", text)), default=0)
    fence = "~" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}\n"


def folded(summary, content):
    return f"<details>\n<summary>{summary}</summary>\n\n{content}\n</details>\n"


def recorded(recording, verdict, where):
    code = f'<span class="verdict" data-code="{recording.code}">{verdict}</span>'
    return (
        block(f"$ {recording.command}\n{recording.text}")
        + f'\n<p class="recorded">{code}<br>recorded on {html.escape(where)}</p>\n'
    )


def with_links(text, names):
    """Plain text; the names of demos in it lead to their pages."""
    longest_first = sorted(names, key=len, reverse=True)
    pattern = "|".join(rf"(?<![\w-]){name}(?![\w-])" for name in longest_first)
    return re.sub(pattern, lambda match: f"[{match[0]}]({match[0]}.md)", plain(text))


def turn_page(before, after):
    title = {"index": "the lecture map", "process-or-thread": "process or thread?"}
    links = (
        f'<a href="{before}.html">← {title.get(before, before)}</a>'
        f'<a href="{after}.html">{title.get(after, after)} →</a>'
    )
    return f'<p class="turn-page">{links}</p>\n'


def page(demo, names, note, plot, where):
    lines = [f"# {demo.name}\n", f"**{plain(demo.sentence)}**\n", f"Slide: {plain(demo.slide)}\n"]
    lines += [plain(paragraph) + "\n" for paragraph in demo.prose]

    lines.append("## Predict\n")
    lines.append(f"> {plain(demo.fields['Predict'][0])}\n")
    run = recorded(demo.shown, demo.shown.verdict(), where)
    if plot:
        run += f"\n{plot}"
    if note:
        run += f"\n{plain(note)}\n"
    lines.append(folded("The answer: what it printed", run))

    lines.append("## The story\n")
    lines.append(f"`{demo.folder}/src/main.rs`, but for its header, which is the text above:\n")
    code = re.sub(r"^(//!.*\n)+\n", "", (demo.path / "src/main.rs").read_text())
    lines.append(block(code.rstrip("\n"), "rust,ignore"))
    for source in demo.sources():
        name = source.relative_to(demo.path if demo.path in source.parents else ROOT)
        language = LANGUAGES.get(source.suffix, "bash")
        what = "the proof: " if source.name == "evidence.rs" else ""
        listing = block(source.read_text().rstrip("\n"), language)
        lines.append(folded(f"{what}<code>{name}</code>", listing))

    lines.append("## Try\n")
    for tried in demo.tried:
        run = recorded(tried, f"exit code {tried.code}", where)
        lines.append(folded(f"<code>{html.escape(tried.command)}</code>", run))

    lines.append("## See also\n")
    lines.append(with_links(demo.fields["See also"][0], names) + "\n")

    here = names.index(demo.name)
    before = names[here - 1] if here > 0 else "index"
    after = names[here + 1] if here + 1 < len(names) else "process-or-thread"
    lines.append(turn_page(before, after))
    return "\n".join(lines)


def first_page(all_demos, where):
    """The README's first words, its commands and its map."""
    words, rest = readme().split("\n\n", 2)[1:]
    commands = re.search(r"^```\n(.*?)\n```", rest, re.M | re.S)[1]
    shown = sum(demo.shown.code == 0 for demo in all_demos)
    lines = ["# Processes and threads, live\n", words + "\n", block(commands)]
    needs = "[Rust](https://rustup.rs), make and a C linker"
    lines.append(f"They are typed in a clone of {repository()}, and need {needs}.\n")
    if "HANDOUT" in os.environ:
        lines.append('<p class="on-screen">This book is also <a href="handout.pdf">one PDF</a>.</p>\n')
    lines.append(
        f"Each page asks a question first, and has the answer folded below it: what the demo printed when "
        f"this book was made. {shown} of {len(all_demos)} demos showed their point then.\n"
    )
    lines.append(f'<p class="recorded">recorded on {html.escape(where)}</p>\n')
    lines.append("## The lecture map\n")
    lines += ["| slide | demo | what it shows |", "| --- | --- | --- |"]
    for demo in all_demos:
        lines.append(f"| {plain(demo.slide)} | [{demo.name}]({demo.name}.md) | {plain(demo.sentence)} |")
    lines.append("\nIn the end: [process or thread?](process-or-thread.md)\n")
    return "\n".join(lines)


def last_page(all_demos, plot, where):
    """The README's table of questions, and the figures of this recording."""
    rows = re.findall(r"^\| ([^|]*\?) \| ([^|]*) \| ([^|]*) \|$", readme(), re.M)
    by_name = {demo.name: demo for demo in all_demos}
    lines = ["# Process or thread?\n"]
    lines.append("What decides, and the figures that the demos measured when this book was made:\n")
    lines += ["| question | figure to read | here | so |", "| --- | --- | --- | --- |"]
    for question, figure, so in rows:
        here = []
        for name in re.findall(r"`([\w-]+)`", figure):
            said = "<br>".join(plain(line) for line in figures.of(by_name[name]))
            here.append(f"[{name}]({name}.md)<br>{said}")
        lines.append(f"| **{question}** | {figure} | {'<br>'.join(here)} | **{so}** |")
    lines.append(f"\n{plot}")
    lines.append(f'<p class="recorded">recorded on {html.escape(where)}</p>\n')
    lines.append(turn_page(all_demos[-1].name, "index"))
    return "\n".join(lines)


def summary(all_demos):
    part_of = parts()
    lines = ["# Summary\n", "[The lecture](index.md)\n"]
    for demo in all_demos:
        if demo.name in part_of:
            lines.append(f"\n# {part_of[demo.name].capitalize()}\n")
        lines.append(f"- [{demo.name}]({demo.name}.md)")
    lines.append("\n---\n\n[Process or thread?](process-or-thread.md)")
    return "\n".join(lines)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        wanted_help = sys.argv[1:] in (["-h"], ["--help"])
        print(__doc__, file=sys.stdout if wanted_help else sys.stderr)
        return 0 if wanted_help else 2
    src = Path(sys.argv[1]) / "src"
    (src / "plots").mkdir(parents=True)

    all_demos = demos()
    # Without MPI its demos cannot even be built.
    no_mpi = subprocess.run([ROOT / "scripts/setup.sh", "--check", "mpi"], capture_output=True, text=True).stderr
    wrong = []
    for demo in all_demos:
        refused = no_mpi.strip() if demo.name.startswith("mpi-") else None
        demo.shown = Recording(demo.run, refused)
        demo.tried = [Recording(command, refused) for command in demo.tries]
        for recording in [demo.shown, *demo.tried]:
            print(f"{recording.code:3} {recording.command}", flush=True)
            excused = recording is not demo.shown and recording.excused()
            if not recording.as_it_should() and not excused:
                wrong.append(f"{recording.command}: exit code {recording.code}\n{recording.text}")

    where = machine()
    note = notes()
    names = [demo.name for demo in all_demos]
    plot = plots.draw(all_demos, src / "plots")
    for demo in all_demos:
        text = page(demo, names, note[demo.name], plot.get(demo.name, ""), where)
        (src / f"{demo.name}.md").write_text(text)
    (src / "index.md").write_text(first_page(all_demos, where))
    speed_up = plot.get("embarrassingly-parallel", "")
    (src / "process-or-thread.md").write_text(last_page(all_demos, speed_up, where))
    (src / "SUMMARY.md").write_text(summary(all_demos))
    for what in wrong:
        print(f"WRONG: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
