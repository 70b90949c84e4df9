"""Read one JSON document of any layout piece by piece, in bounded memory.

Slower than a typed decoder by far, and independent of how the file is written:

    for key in stream.members():
        if key == "rows":
            for _ in stream.items():
                use(stream.value())
        else:
            stream.value()

Inside `members` and `items` the caller takes each value, or goes into it, before the next turn.
`records` gives the values itself, and goes on behind what is damaged.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

CHUNK_BYTES = 256 * 1024
MAX_VALUE_CHARACTERS = 32 * 1024 * 1024  # one conversation with all its branches
CUT_CHARACTERS = 16  # so near the end of a text, an error may come from the cut
KEY_CHARACTERS = 1024  # a brace and the key behind it

_parse = json.JSONDecoder(strict=False).raw_decode
_SPACE = re.compile(r"\s*")
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|["\[\]{}]', re.DOTALL)  # a lone quotation mark opens a text that does not end
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.)*")\s*:')
_COLON_AFTER_ROLE = re.compile(r'"(?:role|from)"\s*:\s*("\w+")\s*\Z')


class DamagedJson(ValueError):
    """The document ends early, or is not JSON, at about byte `position`. why: what is wrong there, if it is known."""

    def __init__(self, position: int, why: str = ""):
        super().__init__(f"not JSON at about byte {position:,}" + (f", {why}" if why else ""))
        self.position = position


class Damaged(NamedTuple):
    """What stands in the place of `records` values that cannot be read, and was passed over: so many bytes.

    records: how many, as far as their brackets tell. is_last: up to the end of the document. No bytes: only a comma
    is missing.
    """

    error: DamagedJson
    bytes: int
    records: int = 1
    is_last: bool = False


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
        """The next value, whole. Raises DamagedJson for one that does not end or is too large, and stays before it."""
        self.peek()
        value, length = self._value_ahead(0)
        self._at += length
        return value

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

    def whole_records(self, is_record: Callable[[Any], bool]) -> Iterator[Any]:
        """Those of the array that comes next that can be read."""
        return (value for value in self.records(is_record, in_array=True) if type(value) is not Damaged)

    def records(self, is_record: Callable[[Any], bool], *, in_array: bool) -> Iterator[Any]:
        """The items of an array, a trailing comma let pass, or else the values that follow each other in the document.

        Behind a damaged one it goes on with the next that begins with the same key as the first and that `is_record`
        takes, and gives a `Damaged` for what lies between.
        """
        if in_array:
            self._expect("[")
        begin: re.Pattern[str] | None = None
        is_behind_one = False
        while (here := self.peek()) and not (in_array and here == "]"):
            if begin is None and (found := _FIRST_KEY.match(self._text, self._at)):
                begin = re.compile(rf"\{{\s*{re.escape(found[1])}\s*:")
            try:
                if is_behind_one:
                    self._expect(",")
                    is_behind_one = False
                    continue
                value = self.value()
            except DamagedJson as error:
                passed = self._pass_over(error, begin, is_record)
                yield passed
                if passed.is_last:
                    return
                is_behind_one = False
            else:
                yield value
                is_behind_one = in_array
        if in_array and not here:
            yield Damaged(DamagedJson(self.bytes_read), 0, is_last=True)
        elif in_array:
            self._expect("]")

    def _pass_over(
        self, error: DamagedJson, begin: re.Pattern[str] | None, is_record: Callable[[Any], bool]
    ) -> Damaged:
        """Go to the next record, else to the end of the array, else to that of the document."""
        start = self._position(self._at)
        ahead = 0  # characters, in which no record begins
        while True:
            found = (begin or _FIRST_KEY).search(self._text, self._at + ahead)
            if found is None:
                ahead = max(ahead, len(self._text) - self._at - KEY_CHARACTERS)
                if ahead > MAX_VALUE_CHARACTERS:
                    self._at, ahead = self._at + ahead, 0
                if not self._read_more():
                    break
                continue
            ahead = found.start() - self._at
            try:
                value, _ = self._value_ahead(ahead)
            except DamagedJson:
                value = None
            if is_record(value):
                records, _ = pieces(self._text[self._at : self._at + ahead], begin)
                self._at += ahead
                return Damaged(error, self._position(self._at) - start, records)
            ahead += 1
        records, length = pieces(self._text[self._at :], begin)
        self._at += length
        is_last = self._at == len(self._text)
        return Damaged(error, self._position(self._at) - start, records, is_last)

    def _value_ahead(self, ahead: int) -> tuple[Any, int]:
        """The value that begins so many characters from here, and where it ends, counted from here."""
        while True:
            start = self._at + ahead
            try:
                value, end = _parse(self._text, start)
                if end < len(self._text) or self._ended:  # a number may go on in the next chunk
                    return value, end - self._at
            except RecursionError:
                raise DamagedJson(self._position(start), "nested too deeply") from None
            except json.JSONDecodeError as error:
                if self._ended and _is_cut(error, len(self._text.rstrip())):
                    raise DamagedJson(self._position(start), "which has no end") from None
                if self._ended or not _is_cut(error, len(self._text) - CUT_CHARACTERS):
                    raise DamagedJson(self._position(error.pos), why_not_json(error)) from None
            except ValueError:
                raise DamagedJson(self._position(start), "a number too long") from None
            if len(self._text) - start > MAX_VALUE_CHARACTERS:
                raise DamagedJson(self._position(start), "too large, or without an end")
            self._read_more()

    def _expect(self, character: str) -> None:
        if self.peek() != character:
            raise DamagedJson(self._position(self._at))
        self._at += 1

    def _position(self, at: int) -> int:
        """The byte of the document at which text[at] stands."""
        return self.bytes_read - len(self._text[at:].encode("utf-8", "surrogatepass"))

    def _read_more(self) -> bool:
        """Take in as much as waits already, so that a long value is not tried again and again."""
        block = self._file.read(max(self._chunk, len(self._text) - self._at))
        self.bytes_read += len(block)
        self._ended = not block
        self._text = self._text[self._at :] + self._decode(block, final=self._ended)
        self._at = 0
        return not self._ended


def pieces(text: str, begin: re.Pattern[str] | None) -> tuple[int, int]:
    """How many records stand in damaged text, and where the array that they are in ends.

    Told by brackets and quotation marks; where these do not pair it is one, up to the end of the text.
    """
    depth = count = 0
    for piece in _PIECE.finditer(text):
        if piece[0] == '"':
            break
        if depth == 0:
            if piece[0] == "]":
                return max(1, count), piece.start()
            if begin is None or not begin.match(text, piece.start()):
                break
            count += 1
        depth += (piece[0] in "{[") - (piece[0] in "]}")
    else:
        if depth == 0:
            return max(1, count), len(text)
    return 1, len(text)


def _is_cut(error: json.JSONDecodeError, end: int) -> bool:
    """Is nothing wrong but that the text goes on behind `end`?"""
    return error.msg.startswith("Unterminated") or error.pos >= end


def why_not_json(error: json.JSONDecodeError) -> str:
    """What is wrong, and how it is mended where that is known."""
    if error.doc[error.pos : error.pos + 1] == ":" and (found := _COLON_AFTER_ROLE.search(error.doc, 0, error.pos)):
        return f'found {{"role": {found[1]}: …}}, expected {{"role": {found[1]}, "content": …}}'
    return error.msg
