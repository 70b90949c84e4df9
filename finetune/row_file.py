"""A dataset in the making, and how far it is."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec

from engines.contract import statefiles
from engines.contract.events import emit
from engines.contract.run_protocol import stop_requested
from finetune.formats.dialog import Dialog

SECONDS_BETWEEN_EVENTS = 0.2
WRITTEN_BYTES = 1024 * 1024


class Stopped(Exception):
    """Somebody asked this run to stop."""


class RowBuffer:
    """Rows on their way into an open file, as lines of JSON."""

    def __init__(self, fd: int):
        self.fd = fd
        self._waiting = bytearray()
        self._encode_lines = msgspec.json.Encoder().encode_lines

    def write(self, rows: list[Dialog]) -> None:
        self._waiting += self._encode_lines(rows)
        if len(self._waiting) > WRITTEN_BYTES:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, bytearray()
        self.put(waiting)

    def put(self, block: bytes | bytearray) -> None:
        view = memoryview(block)
        while view:
            view = view[os.write(self.fd, view) :]


class RowFile(RowBuffer):
    """A dataset in the making: a private temporary file that becomes `path` by `finish`, or is gone."""

    def __init__(self, path: Path):
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        atexit.register(_remove, self.temporary, os.getpid())  # a signal may come before the `with` has begun
        super().__init__(os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, statefiles.PRIVATE_FILE))
        with suppress(OSError):  # on a disk without locks the process's number alone tells that it is alive
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.sha256 = hashlib.sha256()

    def beside(self, ending: str) -> Path:
        """The name of another temporary file that belongs to this one."""
        return self.temporary.with_name(f"{self.temporary.name}{ending}")

    def put(self, block: bytes | bytearray) -> None:
        self.sha256.update(block)
        super().put(block)

    def append(self, fd: int, place: int) -> int:
        """What another file has from `place` on; where that ends."""
        self.flush()
        while block := os.pread(fd, WRITTEN_BYTES, place):
            self.put(block)
            place += len(block)
        return place

    def make_durable(self) -> None:
        self.flush()
        os.fsync(self.fd)

    def finish(self) -> None:
        os.rename(self.temporary, self.path)
        statefiles.sync_dir(self.path.parent)

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)
        self.temporary.unlink(missing_ok=True)


def _remove(temporary: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not one of its helpers
        temporary.unlink(missing_ok=True)


class Progress:
    """Progress events, and the look at the stop request, both a few times a second."""

    def __init__(self, total: int, unit: str = "bytes"):
        self.total = total
        self.unit = unit
        self._next = 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + SECONDS_BETWEEN_EVENTS
        if stop_requested():
            raise Stopped
        emit("progress", done=min(done, self.total), total=self.total, unit=self.unit)
