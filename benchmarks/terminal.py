"""A program in a terminal of its own, measured from outside: what it draws, how soon it answers, what it costs."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

_ESCAPE = re.compile(r"\x1b\[[0-9;?<>=]*[ -/]*[@-~]|\x1b[\]P_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.")
TICKS = os.sysconf("SC_CLK_TCK")


class Terminal:
    """`argv` in a pty. Use as a context manager; the program is ended with it."""

    def __init__(self, argv: list[str], *, columns: int = 120, rows: int = 40, env: dict[str, str] | None = None):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        variables = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})}
        self.started = time.monotonic()
        self.child = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=variables, start_new_session=True
        )
        os.close(slave)
        self.bytes = 0
        self.tail = ""  # what was drawn last, without escapes

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 5
            while self.child.poll() is None and time.monotonic() < deadline:
                self.read(0.05)
            self.child.kill()
        self.child.wait()
        os.close(self.master)

    def read_bytes(self, seconds: float) -> bytes:
        """What is written within `seconds`, or sooner if something is; b"" if nothing."""
        ready, _, _ = select.select([self.master], [], [], max(0.0, seconds))
        try:
            data = os.read(self.master, 1 << 16) if ready else b""
        except OSError:  # the program is gone
            data = b""
        self.bytes += len(data)
        return data

    def read(self, seconds: float) -> str:
        """The same as text without escapes; `tail` keeps it."""
        data = self.read_bytes(seconds)
        text = _ESCAPE.sub("", data.decode("utf-8", "replace"))
        self.tail = (self.tail + text)[-200_000:]
        return text

    def drain(self, seconds: float) -> None:
        """Read for `seconds`, as a terminal does."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.read(left)

    def wait_for(self, text: str, seconds: float = 60.0) -> float:
        """Seconds until `text` is drawn. Raises TimeoutError."""
        began = time.monotonic()
        while text not in self.tail:
            if time.monotonic() - began > seconds or self.child.poll() is not None:
                raise TimeoutError(f"{text!r} was not drawn; last: {self.tail[-2000:]}")
            self.read(0.05)
        return time.monotonic() - began

    def press(self, keys: str, answer: str, seconds: float = 30.0) -> float:
        """Seconds from the key to the drawing of `answer`."""
        while self.read(0):
            pass
        before, self.tail = self.tail, ""
        os.write(self.master, keys.encode())
        try:
            return self.wait_for(answer, seconds)
        finally:
            self.tail = before + self.tail

    # --- what it costs ---

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self, field: str = "VmHWM") -> int:
        """Bytes of main memory: VmHWM at most so far, VmRSS now."""
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        return 0


def report(rows: list[tuple[str, str, str, bool]]) -> int:
    """Print (what, measured, goal, reached) as a table; 1 if a goal was missed."""
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for what, measured, goal, reached in rows:
        mark = "ok" if reached else "MISSED"
        print(f"{what:<{widths[0]}}  {measured:>{widths[1]}}  {goal:<{widths[2]}}  {mark}")
    return 0 if all(row[3] for row in rows) else 1
