"""Reading a run's log while it grows: every line once, in bounded memory, ready for a million lines.

`LogFile` keeps where each line begins (8 bytes a line) and reads the text when it is
asked for, so a viewer can scroll through all of a log without holding it.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from engines.contract import events

READ_BYTES = 1 << 20
LONGEST_LINE = 16 * 1024
_MAYBE_EVENT = (b'{"event"', b"{'", b"%|")


class LogFile:
    """The lines of a log that are for people, and the events among them.

    len(log) lines so far; `log.text(i)` is one of them, not cleaned for a terminal;
    `log.live` is a line still being written, such as a progress bar.
    """

    def __init__(self, path: Path):
        self.path = path
        self.offsets = array("Q")
        self.live = ""
        self.restarts = 0  # how often the file was replaced or cut
        self._position = 0  # everything before it is indexed; a line's beginning
        self._inode: int | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    def poll(self, max_bytes: int = READ_BYTES) -> tuple[list[events.Event], bool]:
        """Index what is new, at most `max_bytes`. Returns its events, and whether there is more."""
        data, more = self._read(max_bytes)
        end = data.rfind(b"\n") + 1
        if end == 0 and len(data) >= max_bytes:
            end = len(data)  # one line larger than a whole read: take it in pieces
        self.live = "" if more or data.startswith(b'{"event"', end) else _last_part(data[end:])
        if end == 0:
            return [], more
        found = self._index(data[:end])
        self._position += end
        return found, more

    def poll_all(self) -> list[events.Event]:
        """Index all there is at the moment."""
        found, more = self.poll()
        while more:
            new, more = self.poll()
            found += new
        return found

    def text(self, index: int) -> str:
        """Line `index` as a person should read it: events in words, the last state of a progress bar.

        Empty if the log has gone or was cut since.
        """
        start = self.offsets[index]
        end = self.offsets[index + 1] if index + 1 < len(self.offsets) else self._position
        try:
            with open(self.path, "rb") as file:
                file.seek(start)
                line = file.readline(end - start).removesuffix(b"\n")
        except OSError:
            return ""
        return _shown(line)

    def find(self, needle: str, start: int, *, backwards: bool = False) -> int | None:
        """The first line from `start` on, or back, whose text holds `needle` in any case; None if there is none.

        May run in a thread while another one polls.
        """
        offsets, end = self.offsets[:], self._position
        wanted = needle.casefold()
        try:
            with open(self.path, "rb") as file:
                while 0 <= start < len(offsets):
                    if backwards:
                        block = range(min(start, bisect_left(offsets, offsets[start] - READ_BYTES)), start + 1)
                    else:
                        block = range(start, max(start + 1, bisect_right(offsets, offsets[start] + READ_BYTES)))
                    found = _find_in_block(file, offsets, block, end, wanted, backwards)
                    if found is not None:
                        return found
                    start = block[0] - 1 if backwards else block[-1] + 1
        except OSError:
            pass
        return None

    def _read(self, max_bytes: int) -> tuple[bytes, bool]:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b"", False
        try:
            status = os.fstat(fd)
            if self._inode not in (None, status.st_ino) or status.st_size < self._position:
                del self.offsets[:]
                self._position = 0
                self.restarts += 1
            self._inode = status.st_ino
            data = os.pread(fd, max_bytes, self._position)
        finally:
            os.close(fd)
        return data, self._position + len(data) < status.st_size

    def _index(self, data: bytes) -> list[events.Event]:
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        starts = accumulate((len(line) + 1 for line in lines), initial=self._position)
        if not any(sign in data for sign in _MAYBE_EVENT):  # a burst of plain lines: no look at each
            self.offsets.extend(list(starts)[:-1])
            return []
        found = []
        for line, start in zip(lines, starts, strict=False):
            event = events.parse(line)
            if event is not None:
                found.append(event)
                if events.describe(event) is None:
                    continue
            self.offsets.append(start)
        return found


def _find_in_block(
    file: BinaryIO, offsets: array[int], block: range, end: int, wanted: str, backwards: bool
) -> int | None:
    limits = [*offsets[block.start : block.stop + 1], end][: len(block) + 1]
    file.seek(limits[0])
    data = file.read(limits[-1] - limits[0])
    plain = not any(sign in data for sign in _MAYBE_EVENT)
    if plain and wanted not in data.decode("utf-8", "replace").casefold():
        return None
    for index in reversed(block) if backwards else block:
        first, last = (limit - limits[0] for limit in limits[index - block.start : index - block.start + 2])
        if wanted in _shown(data[first:last].split(b"\n", 1)[0]).casefold():
            return index
    return None


def _shown(line: bytes) -> str:
    """A line as a person should read it: an event in words, the last state of a progress bar."""
    event = events.parse(line) if line.startswith(b'{"event"') else None
    return (events.describe(event) or "") if event else _last_part(line)


def _last_part(line: bytes) -> str:
    """What a terminal would show of a line with carriage returns, and not more than is good for one."""
    return line.rstrip(b"\r").rsplit(b"\r", 1)[-1][:LONGEST_LINE].decode("utf-8", "replace")
