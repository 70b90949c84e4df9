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
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from finetune.formats.dialog import BadRow, Dialog, describe
from finetune.formats.json_stream import DamagedJson, JsonStream
from finetune.formats.table import csv_records, parquet_records

MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_KEPT_PROBLEMS = 20
BOM = b"\xef\xbb\xbf"

Matches = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class RowFormat:
    """A shape of records.

    joined: all records of a file are one conversation. decode_line: a faster way for the lines that it reads.
    """

    name: str
    matches: Matches
    read: Callable[[dict[str, Any]], Dialog]
    joined: bool = False
    decode_line: Callable[[bytes], Dialog | None] | None = None


@dataclass(frozen=True)
class Layout:
    """How the records lie in the file: lines, array, member (of `key`), values, csv or parquet."""

    kind: str
    key: str = ""


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

    def __init__(self, path: Path, formats: tuple[RowFormat, ...], layout: Layout | None = None):
        self.path = path
        self.formats = formats
        self.layout = layout or find_layout(read_head(path), lambda row: any(form.matches(row) for form in formats))
        self.bytes_read = self.good = self.bad = self.repaired = 0
        self.problems: list[str] = []
        self.shapes: Counter[str] = Counter()
        self._last: RowFormat | None = None  # of the row before, because files are seldom mixed

    def dialogs(self) -> Iterator[Dialog]:
        waiting: Dialog | None = None  # of a format whose records are one conversation
        for number, value in self._records():
            if type(value) is Dialog:
                self.good += 1
                value.conversation = value.conversation or f"0/{number}"
                yield value
                continue
            try:
                if type(value) is not dict:
                    raise BadRow(f"found {describe(value)}, expected an object")
                form = self._last
                if form is None or not form.matches(value):
                    form = self._last = self._find_format(value)
                dialog = form.read(value)
            except BadRow as problem:
                self._report(f"{self.unit} {number}: {problem}")
                continue
            self.good += 1
            self.shapes[form.name] += 1
            if not dialog.conversation:
                given = value.get("conversation")
                dialog.conversation = given if isinstance(given, str) and given else f"0/{number}"
            if form.joined:
                waiting = waiting or Dialog(conversation=dialog.conversation)
                waiting.turns += dialog.turns
            else:
                yield dialog
        if waiting is not None:
            yield waiting

    @property
    def unit(self) -> str:
        """What a record is called in messages."""
        return {"lines": "line", "csv": "row", "parquet": "row"}.get(self.layout.kind, "item")

    def _records(self) -> Iterator[tuple[int, Any]]:
        if self.layout.kind in ("csv", "parquet"):
            yield from self._read_table()
            return
        with open(self.path, "rb") as file:
            yield from self._read_lines(file) if self.layout.kind == "lines" else self._read_stream(file)

    def _read_table(self) -> Iterator[tuple[int, Any]]:
        is_csv = self.layout.kind == "csv"
        yield from enumerate(csv_records(self.path, read_head(self.path)) if is_csv else parquet_records(self.path), 1)

    def _read_lines(self, file: BinaryIO) -> Iterator[tuple[int, Any]]:
        number = 0
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            self.bytes_read += len(line)
            if number == 1:
                line = line.removeprefix(BOM)
            last = self._last
            fast = last.decode_line if last else None
            if last is not None and fast is not None and (dialog := fast(line)) is not None:
                self.shapes[last.name] += 1
                yield number, dialog
                continue
            try:
                value = parse_line(line)
            except BadRow as problem:
                bare = line.strip().removesuffix(b",")
                if not bare:
                    continue
                if bare == line.strip() or not self._mended(bare):
                    self._report(f"line {number}: {problem}")
                    continue
                value = parse_line(bare)
            yield number, value

    def _mended(self, line: bytes) -> bool:
        """Is it JSON once the comma behind it is gone?"""
        try:
            parse_line(line)
        except BadRow:
            return False
        self.repaired += 1
        return True

    def _read_stream(self, file: BinaryIO) -> Iterator[tuple[int, Any]]:
        number = 0
        stream = JsonStream(file)
        try:
            for _ in self._places(stream):
                number += 1
                value = stream.value()
                self.bytes_read = stream.bytes_read
                yield number, value
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
