"""One JSON document of any layout read piece by piece, as `json_stream` does, where some of it may be no JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, BinaryIO

from finetune.formats.json_stream import MAX_VALUE_CHARACTERS, DamagedJson, JsonStream
from finetune.formats.telegram_message import UNDECODABLE, mend
from finetune.formats.telegram_places import end_of_value

_parse = json.JSONDecoder(strict=False)
_WORD = re.compile(r'[^\s,{}\[\]":]+(?=[\s,{}\[\]":])')
_KEY = r'\s*("[^"\\]*")\s*:'
_START = re.compile(rf'\{{{_KEY}\s*(?:"[^"\\]*(?:\\.[^"\\]*)*"|[^\s,{{}}\[\]":]+)\s*,{_KEY}')
_ARRAY_OF_MESSAGES = re.compile(r'"messages"\s*:\s*\[')


class MendingStream(JsonStream):
    """`repaired` values were not JSON and could be mended; one that cannot be is None."""

    repaired = 0

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self._starts: set[tuple[str, ...]] = set()  # the two first keys of messages

    def value(self) -> Any:
        """The next value, whole. Raises DamagedJson for one that does not end or is too large."""
        return self._next(self._take_damaged_value)

    def messages(self) -> Iterator[Any]:
        """The items of an array; None for each that cannot be read, and for what stands between them.

        Raises DamagedJson for one that does not end, where the file does.
        """
        self._expect("[")
        while (character := self.peek()) != "]":
            if not character:
                raise DamagedJson(self.bytes_read)
            if character == ",":
                self._at += 1
            elif character in "}:":
                self._at += 1
                yield None
            else:
                message = self._next(self._take_damaged_message)
                if type(message) is dict:
                    self._starts.add(tuple(islice(message, 2)))
                yield message
        self._at += 1

    def _next(self, take_damaged: Callable[[], tuple[Any, int]]) -> Any:
        """take_damaged: what to make of a value that is no JSON, and where it ends, 0 if that is not there yet."""
        self.peek()
        while True:
            try:
                value, end = _parse.raw_decode(self._text, self._at)
                if end == len(self._text) and not self._ended:  # a number may go on in the next chunk
                    end = 0
            except (ValueError, RecursionError):
                value, end = take_damaged()
            if end:
                self._at = end
                return value
            if self._ended or len(self._text) - self._at > MAX_VALUE_CHARACTERS:
                raise DamagedJson(self.bytes_read)
            self._read_more()

    def _take_damaged_value(self) -> tuple[Any, int]:
        end = self._end_by_brackets()
        return (self._mended(end), end) if end else (None, 0)

    def _take_damaged_message(self) -> tuple[Any, int]:
        """One that has no end of its own, or a wrong one, ends where another begins."""
        end, following = self._end_by_brackets(), self._next_message()
        if end and not 0 < following < end:
            value = self._mended(end)
            if value is not None:
                return value, end
        return None, following or end

    def _end_by_brackets(self) -> int:
        if self._text[self._at : self._at + 1] in ("{", "[", '"'):
            return end_of_value(self._text, self._at) or 0
        word = _WORD.match(self._text, self._at)
        return word.end() if word else 0

    def _next_message(self) -> int:
        """Where the message behind the next one begins, as others have begun; 0 if none does in this chat."""
        starts = {tuple(map(json.dumps, keys)) for keys in self._starts}
        own = _START.match(self._text, self._at) or (None if starts else _START.search(self._text, self._at))
        if own:
            starts.add(own.groups())
        for start in _START.finditer(self._text, self._at + 1):
            if start.groups() in starts:
                is_other_chat = _ARRAY_OF_MESSAGES.search(self._text, self._at, start.start())
                return 0 if is_other_chat else start.start()
        return 0

    def _mended(self, end: int) -> Any:
        try:
            value = json.loads(mend(self._text[self._at : end].encode()), strict=False)
        except UNDECODABLE:
            return None
        self.repaired += 1
        return value
