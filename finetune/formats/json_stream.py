"""Read one JSON document of any layout piece by piece, in bounded memory.

Slower than a typed decoder by far, and independent of how the file is written:

    for key in stream.members():
        if key == "rows":
            for _ in stream.items():
                use(stream.value())
        else:
            stream.value()

Inside `members` and `items` the caller takes each value, or goes into it, before the next turn.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

CHUNK_BYTES = 256 * 1024
MAX_VALUE_CHARACTERS = 32 * 1024 * 1024  # one conversation with all its branches

_parse = json.JSONDecoder(strict=False).raw_decode
_SPACE = re.compile(r"\s*")


class DamagedJson(ValueError):
    """The document ends early, or is not JSON, at about byte `position`."""

    def __init__(self, position: int):
        super().__init__(f"not JSON at about byte {position:,}")
        self.position = position


class JsonStream:
    def __init__(self, file: BinaryIO, chunk_bytes: int = CHUNK_BYTES):
        self.bytes_read = 0
        self._file = file
        self._chunk = chunk_bytes
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="replace").decode
        self._text = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text) or not self._read_more():
                return self._text[self._at : self._at + 1]

    def value(self) -> Any:
        """The next value, whole. Raises DamagedJson for one that does not end or is too large."""
        self.peek()
        while True:
            try:
                value, end = _parse(self._text, self._at)
                if end < len(self._text) or self._ended:  # a number may go on in the next chunk
                    self._at = end
                    return value
            except RecursionError:
                raise DamagedJson(self.bytes_read) from None
            except ValueError:
                if self._ended:
                    raise DamagedJson(self.bytes_read) from None
            if len(self._text) - self._at > MAX_VALUE_CHARACTERS:
                raise DamagedJson(self.bytes_read)
            self._read_more()

    def items(self) -> Iterator[None]:
        """Go through an array; one turn per item. A trailing comma is let pass."""
        self._expect("[")
        while self.peek() != "]":
            yield
            if self.peek() != "]":
                self._expect(",")
        self._expect("]")

    def members(self) -> Iterator[str]:
        """Go through an object; one turn per key."""
        self._expect("{")
        while self.peek() != "}":
            key = self.value()
            self._expect(":")
            yield str(key)
            if self.peek() != "}":
                self._expect(",")
        self._expect("}")

    def _expect(self, character: str) -> None:
        if self.peek() != character:
            raise DamagedJson(self.bytes_read)
        self._at += 1

    def _read_more(self) -> bool:
        block = self._file.read(self._chunk)
        self.bytes_read += len(block)
        self._ended = not block
        self._text = self._text[self._at :] + self._decode(block, final=self._ended)
        self._at = 0
        return not self._ended
