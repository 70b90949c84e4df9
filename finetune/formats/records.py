"""The records of a JSON file, whatever holds them, each with its place: dialogs of every row format.

    one object per line           JSONL
    [ {…}, {…} ]                  an array, in a .jsonl too
    {"data": [ {…}, {…} ]}        an array inside an object
    {…} {…}                       objects over several lines

A record that cannot be read is described with its place and left out; the others are used.
"""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from finetune.formats.dialog import BadRow, Dialog, describe
from finetune.formats.json_stream import DamagedJson, JsonStream
from finetune.formats.table import csv_records, parquet_records
from finetune.plain_text import is_surely_harmless

BLOCK_BYTES = 256 * 1024  # of lines that are decoded together
MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_KEPT_PROBLEMS = 20
BOM = b"\xef\xbb\xbf"

Matches = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class RowFormat:
    """A shape of records.

    joined: all records of a file are one conversation. decode_lines: a faster way for lines all of which it reads.
    """

    name: str
    matches: Matches
    read: Callable[[dict[str, Any]], Dialog]
    joined: bool = False
    decode_lines: Callable[[bytes], Sequence[Dialog] | None] | None = None


@dataclass(frozen=True)
class Layout:
    """How the records lie in the file: lines, array, member (of `key`), values, csv or parquet."""

    kind: str
    key: str = ""


class RecordBatch(NamedTuple):
    """is_harmless: no text in it has control characters, as a look at the bytes has shown."""

    dialogs: Sequence[Dialog]
    is_harmless: bool = False


class Chunk(NamedTuple):
    """Records that were decoded together: values, or if `dialogs` is not None these. first: the first one's number."""

    first: int
    values: list[Any]
    dialogs: Sequence[Dialog] | None = None
    is_harmless: bool = False


def find_layout(head: bytes, is_record: Matches) -> Layout:
    """The layout of a file that begins with `head`, which may end in the middle of something."""
    text = head.removeprefix(BOM).lstrip()
    if text.startswith(b"["):
        return Layout("array")
    first = text.split(b"\n", 1)[0]
    try:
        value = parse_line(first)
    except BadRow:
        value = None
    if value is None and text[:1] == b"{" and len(first.strip()) < 3:
        return _layout_of_object(text, is_record)
    if isinstance(value, dict) and not is_record(value):
        inside = _layout_of_object(text, is_record)
        return inside if inside.kind == "member" else Layout("lines")
    return Layout("lines")


def _layout_of_object(text: bytes, is_record: Matches) -> Layout:
    """`member` if a list in the object holds records and the object is none, else `values`."""
    stream = JsonStream(io.BytesIO(text))
    found = ""
    start: dict[str, Any] = {}
    try:
        for key in stream.members():
            start[key] = []
            if stream.peek() != "[":
                start[key] = stream.value()
                continue
            for _ in stream.items():
                value = stream.value()
                start[key].append(value)
                if not found and isinstance(value, dict) and is_record(value):
                    found = key
    except DamagedJson:
        pass  # the head ends here
    return Layout("values") if is_record(start) or not found else Layout("member", found)


class Rows:
    """The dialogs of one file. After reading, `bad` records were left out; `problems` describes the first of them.

    `shapes` counts the formats that were met: more than one means that a file is mixed.
    """

    def __init__(
        self,
        path: Path,
        formats: tuple[RowFormat, ...],
        layout: Layout | None = None,
        most_bytes: int | None = None,
    ):
        """most_bytes: after which no other record of JSON is read."""
        self.path = path
        self.most_bytes = sys.maxsize if most_bytes is None else most_bytes
        self.formats = formats
        self.layout = layout or find_layout(read_head(path), lambda row: any(form.matches(row) for form in formats))
        self.bytes_read = self.good = self.bad = self.repaired = 0
        self.problems: list[str] = []
        self.shapes: Counter[str] = Counter()
        self._joined: Dialog | None = None  # of a format whose records are one conversation
        self._last: RowFormat | None = None  # of the row before, because files are seldom mixed

    def dialogs(self) -> Iterator[Dialog]:
        for batch in self.batches():
            yield from batch.dialogs

    def batches(self) -> Iterator[RecordBatch]:
        """The dialogs in the order of the file, as many at a time as were decoded together."""
        for chunk in self._chunks():
            dialogs = chunk.dialogs
            if dialogs is None:
                found = [self._read(number, value) for number, value in enumerate(chunk.values, chunk.first)]
                dialogs = [dialog for dialog in found if dialog is not None]
            else:
                self.good += len(dialogs)
                for number, dialog in enumerate(dialogs, chunk.first):
                    if not dialog.conversation:
                        dialog.conversation = f"0/{number}"
            if dialogs:
                yield RecordBatch(dialogs, chunk.is_harmless)
        if self._joined is not None:
            yield RecordBatch([self._joined])

    def _read(self, number: int, value: Any) -> Dialog | None:
        """The dialog of a record; None for a bad one, which is reported, and for one that is joined with others."""
        try:
            if type(value) is not dict:
                raise BadRow(f"found {describe(value)}, expected an object")
            form = self._last
            if form is None or not form.matches(value):
                form = self._last = self._find_format(value)
            dialog = form.read(value)
        except BadRow as problem:
            self._report(f"{self.unit} {number}: {problem}")
            return None
        self.good += 1
        self.shapes[form.name] += 1
        if not dialog.conversation:
            given = value.get("conversation")
            dialog.conversation = given if isinstance(given, str) and given else f"0/{number}"
        if not form.joined:
            return dialog
        self._joined = self._joined or Dialog(conversation=dialog.conversation)
        self._joined.turns += dialog.turns
        return None

    @property
    def unit(self) -> str:
        """What a record is called in messages."""
        return {"lines": "line", "csv": "row", "parquet": "row"}.get(self.layout.kind, "item")

    def _chunks(self) -> Iterator[Chunk]:
        if self.layout.kind in ("csv", "parquet"):
            is_csv = self.layout.kind == "csv"
            records = csv_records(self.path, read_head(self.path)) if is_csv else parquet_records(self.path)
            yield from (Chunk(number, [record]) for number, record in enumerate(records, 1))
            return
        with open(self.path, "rb") as file:
            yield from self._read_lines(file) if self.layout.kind == "lines" else self._read_stream(file)

    def _read_lines(self, file: BinaryIO) -> Iterator[Chunk]:
        number = 0
        while self.bytes_read < self.most_bytes and (block := file.read(BLOCK_BYTES)):
            block += file.readline(MAX_LINE_BYTES)
            self.bytes_read += len(block)
            if number == 0:
                block = block.removeprefix(BOM)
            count = block.count(b"\n") + (not block.endswith(b"\n"))
            chunk = self._decode_together(block, number + 1, count)
            if chunk is not None:
                yield chunk
            else:
                for place, line in enumerate(block.split(b"\n")[:count], number + 1):
                    yield Chunk(place, self._read_line(line, place))
            number += count

    def _decode_together(self, block: bytes, first: int, count: int) -> Chunk | None:
        """All of `count` lines; None if one of them is empty or bad."""
        last = self._last
        if last is not None and last.decode_lines is not None:
            dialogs = last.decode_lines(block)
            if dialogs is not None and len(dialogs) == count:
                self.shapes[last.name] += count
                return Chunk(first, [], dialogs, is_surely_harmless(block))
        try:
            values = _decode_lines(block)
        except (ValueError, RecursionError):
            return None
        return Chunk(first, values, None, is_surely_harmless(block)) if len(values) == count else None

    def _read_line(self, line: bytes, number: int) -> list[Any]:
        """The value of a line; nothing if it is empty or bad, which is reported."""
        try:
            return [parse_line(line)]
        except BadRow as problem:
            bare = line.strip().removesuffix(b",")
            if not bare:
                return []
            if bare == line.strip() or not self._mended(bare):
                self._report(f"line {number}: {problem}")
                return []
            return [parse_line(bare)]

    def _mended(self, line: bytes) -> bool:
        """Is it JSON once the comma behind it is gone?"""
        try:
            parse_line(line)
        except BadRow:
            return False
        self.repaired += 1
        return True

    def _read_stream(self, file: BinaryIO) -> Iterator[Chunk]:
        number = 0
        stream = JsonStream(file)
        try:
            for _ in self._places(stream):
                number += 1
                value = stream.value()
                self.bytes_read = stream.bytes_read
                yield Chunk(number, [value])
                if stream.bytes_read > self.most_bytes:
                    return
        except DamagedJson as damage:
            self._report(f"item {max(1, number)}: {damage}; nothing behind it was read")

    def _places(self, stream: JsonStream) -> Iterator[None]:
        if self.layout.kind == "array":
            yield from stream.items()
        elif self.layout.kind == "values":
            while stream.peek():
                yield
        else:
            for key in stream.members():
                if key == self.layout.key and stream.peek() == "[":
                    yield from stream.items()
                else:
                    stream.value()

    def _find_format(self, row: dict[str, Any]) -> RowFormat:
        """Raises BadRow if no format reads the row."""
        for form in self.formats:
            if form.matches(row):
                return form
        expected = self._last.name if self._last else "one of " + ", ".join(dict.fromkeys(f.name for f in self.formats))
        raise BadRow(f"found {describe(row)}, expected {expected}")

    def _report(self, problem: str) -> None:
        self.bad += 1
        if len(self.problems) < MAX_KEPT_PROBLEMS:
            self.problems.append(problem)


_decode = msgspec.json.Decoder().decode
_decode_lines = msgspec.json.Decoder().decode_lines


def parse_line(line: bytes) -> Any:
    """The JSON value of a line. Raises BadRow."""
    try:
        return _decode(line)
    except (ValueError, RecursionError):
        pass  # the standard library takes more, and says better what is wrong
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadRow("not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadRow(f"not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise BadRow("not JSON that can be read: nested too deeply or a number too long") from None


def read_head(path: Path, size: int = 256 * 1024) -> bytes:
    with open(path, "rb") as file:
        return file.read(size)
