"""Several processes that read parts of one export: this one the first part, helpers the others.

What they write and count is put together in the order of the parts, so that dataset and
report are those of one process. A helper is forked, writes into a file that has no name, and
ends with this process.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from ctypes import c_longlong
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from engines.config.prepare import PrepareConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from finetune.dialogs import DialogBuilder
from finetune.formats.telegram import Export
from finetune.formats.telegram_cuts import Begins, cut
from finetune.formats.telegram_message import AnyMessage, Chat
from finetune.formats.telegram_part import Part
from finetune.refine import Refiner
from finetune.row_file import RowBuffer, RowFile

LARGE_BYTES = 100_000_000  # of an export that several processes read without being asked to
MOST_BY_ITSELF = 8
SECONDS_BETWEEN_LOOKS = 0.1

_fork: Any = multiprocessing.get_context("fork") if hasattr(os, "fork") else None


def wanted_processes(config: PrepareConfig, export: Export, refiner: Refiner) -> int:
    """One where rows or sessions hang together over the whole file, or where the layout cannot be cut."""
    if (
        _fork is None
        or config.transcribe_voice
        or config.thread_replies
        or refiner.compares_rows
        or not export.plain_layout
        or export.untold is not None
    ):
        return 1
    if config.processes:
        return config.processes
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_BY_ITSELF) if export.path.stat().st_size >= LARGE_BYTES else 1


def parts_of(export: Export, count: int, config: PrepareConfig, builder: DialogBuilder) -> list[Part]:
    """At most `count` parts of the export."""

    def begins_session(chat: Chat) -> Begins:
        probe = DialogBuilder(config, builder.owner_ids, lambda rows: None)
        probe.add(chat, [])

        def begins(message: AnyMessage) -> bool:
            before = probe.sessions
            probe.add(chat, [message])
            return probe.sessions > before > 0  # the first is only where the probe began

        return begins

    return cut(export.path, count, builder.uses, begins_session)


class Helpers:
    """A process for each of `parts`. Leave it, and they are gone."""

    def __init__(self, export: Export, parts: list[Part], config: PrepareConfig, builder: DialogBuilder, rows: RowFile):
        self._progress = _fork.RawArray(c_longlong, max(1, len(parts)))
        self._files = [_nameless_file(rows.temporary, number) for number in range(len(parts))]
        self._answers: list[Connection] = []
        self._processes = []
        for number, part in enumerate(parts):
            ours, theirs = _fork.Pipe(duplex=False)
            work = (export, part, config, builder, self._files[number], self._progress, number, theirs)
            process = _fork.Process(target=_read_part, args=work, daemon=True)
            process.start()
            theirs.close()
            self._answers.append(ours)
            self._processes.append(process)

    @property
    def bytes_read(self) -> int:
        return sum(self._progress)

    def gather(self, rows: RowFile, progress: Callable[[], None]) -> list[dict[str, Any]]:
        """Put the rows of all helpers behind those in `rows`; returns what each has counted. Raises their errors."""
        counts = []
        for answer, file in zip(self._answers, self._files, strict=True):
            place = 0
            while not answer.poll(SECONDS_BETWEEN_LOOKS):
                place = rows.append(file, place)
                progress()
            try:
                said = answer.recv()
            except EOFError:
                cause = "a process that read a part of the export was ended"
                raise UserError("failed", cause, "Try again with --processes 1.") from None
            if isinstance(said, OSError):
                raise said
            if isinstance(said, str):
                raise RuntimeError(f"in a helper: {said}")
            rows.append(file, place)
            counts.append(said)
        return counts

    def __enter__(self) -> Helpers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        for fd in self._files:
            os.close(fd)


def _nameless_file(beside: Path, number: int) -> int:
    path = beside.with_name(f"{beside.name}.{number}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, statefiles.PRIVATE_FILE)
    path.unlink()
    return fd


def _read_part(
    export: Export, part: Part, config: PrepareConfig, first: DialogBuilder, fd: int, progress: Any, number: int,
    answer: Connection,
) -> None:  # fmt: skip
    """What a helper does: as `Reading` does with the whole file."""
    parent = os.getppid()
    try:
        own = Export(export.path, export.block_bytes, part)
        own.brief = export.brief
        rows = RowBuffer(fd)
        refiner = Refiner(config, rows.write)
        builder = DialogBuilder(config, first.owner_ids, refiner)
        builder.file = first.file
        builder.continued = part.chat.position if part.chat is not None else -1
        for batch in own.batches(builder.uses):
            builder.add(*batch)
            progress[number] = own.bytes_read
            if os.getppid() != parent:  # it was killed, so nobody waits for this
                os._exit(1)
        builder.end_session()
        rows.flush()
        found = {"repaired": own.repaired, "lost": own.lost, "truncated": own.truncated}
        answer.send({"export": found, "builder": builder.counts(), "refiner": refiner.counts()})
    except OSError as error:
        answer.send(OSError(error.errno, error.strerror, error.filename))
    except Exception as error:
        answer.send(f"{type(error).__name__}: {error}")
