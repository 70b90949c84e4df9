"""A part of an export that is made to look like an export of its own.

It is the head of the chat that it begins in, its bytes of the file, and the brackets that close what it ends in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from finetune.formats.telegram_message import Chat


@dataclass(frozen=True)
class Part:
    """The bytes [start, end) of a file.

    chat: the one that they begin in; None at the beginning of the file. ids_before: of the chats before that one.
    """

    start: int
    end: int
    chat: Chat | None = None
    is_last: bool = True
    ids_before: tuple[int, ...] = ()

    @property
    def head(self) -> bytes:
        if self.chat is None:
            return b""
        kind = self.chat.type if isinstance(self.chat.type, str) else None
        fields = {"name": self.chat.name, "type": kind, "id": self.chat.id}
        return msgspec.json.encode(fields)[:-1] + b',"messages":['

    @property
    def tail(self) -> bytes:
        return b"" if self.is_last else b"]}"


class PartFile:
    """Reads one part as if it were a whole export."""

    def __init__(self, path: Path, part: Part):
        self._file = open(path, "rb", buffering=0)
        self._file.seek(part.start)
        self._left = part.end - part.start
        self._before, self._after = part.head, part.tail

    def read(self, size: int) -> bytes:
        before, self._before = self._before, b""
        block = self._file.read(min(size, self._left)) if self._left else b""
        self._left -= len(block)
        if before or block:
            return before + block
        after, self._after = self._after, b""
        return after

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
