"""A command at a terminal of its own, which a script reads and types at."""

import codecs
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
import uuid
from contextlib import suppress
from pathlib import Path


def marked(mark):
    """PIDs of the processes that have this variable, `NAME=value`, in their environment (Linux)."""
    pids = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or belongs to somebody else
            if mark.encode() in environ.read_bytes().split(b"\0"):
                pids.append(int(environ.parent.name))
    return pids


def left(mark, seconds=11):
    """PIDs of the marked processes that are still there after so long. An alarm ends what a demo left, after 10 s."""
    deadline = time.monotonic() + seconds
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    return marked(mark)


class Terminal:
    def __init__(self, command, environment=None, columns=80, rows=24, folder="."):
        self.text = ""
        self.seen = 0  # so many characters of it were expected, and came
        self.mark = f"TERMINAL={uuid.uuid4()}"
        name, value = self.mark.split("=")
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.chdir(folder)
            os.execvpe(command[0], command, {**(environment or os.environ), name: value})
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end within a character

    def read(self, seconds):
        """More text, if some comes in time; False at the end, when no process has the terminal any more."""
        if not select.select([self.file], [], [], max(seconds, 0))[0]:
            return True
        part = b""
        with suppress(OSError):  # EIO at the end
            part = os.read(self.file, 65536)
        self.text += self.decoder.decode(part)
        return bool(part)

    def new(self):
        """What has come after what was expected."""
        return self.text[self.seen :]

    def expect(self, text, seconds=20):
        """Returns when this text has come, after what was expected before."""
        deadline = time.monotonic() + seconds
        while text not in self.new():
            more = self.read(deadline - time.monotonic())
            if not more or time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in {self.new()[-1000:]!r}")
        self.seen = self.text.index(text, self.seen) + len(text)

    def settle(self, seconds):
        """Reads until nothing has come for so long."""
        length = -1
        while length != len(self.text):
            length = len(self.text)
            self.read(seconds)

    def type(self, keys):
        os.write(self.file, keys.encode())

    def end(self, seconds=20):
        """The exit code, once nothing has the terminal open any more; what takes longer is killed."""
        deadline = time.monotonic() + seconds
        while self.read(deadline - time.monotonic()):
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                break
        os.close(self.file)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)
