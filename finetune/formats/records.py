"""The records of a file, whatever holds them, each with its place: dialogs of every row format.

    one object per line           JSONL
    [ {…}, {…} ]                  an array, in a .jsonl too
    {"data": [ {…}, {…} ]}        an array inside an object
    {…} {…}                       objects over several lines
    a line of a table             CSV, TSV, Parquet

A record that cannot be read is described with its place and left out; the others are used.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from finetune.formats import text
from finetune.formats.dialog import BadRow, Dialog, Talk, describe
from finetune.formats.format import RowFormat
from finetune.formats.json_stream import Damaged, DamagedJson, JsonStream
from finetune.formats.layout import BOM, Layout, find_layout, outline, parse_line, read_head
from finetune.formats.table import csv_rows, parquet_records
from finetune.plain_text import is_surely_harmless

BLOCK_BYTES = 256 * 1024  # of lines that are decoded together
MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_KEPT_PROBLEMS = 20

_decode_lines = msgspec.json.Decoder().decode_lines


class RecordBatch(NamedTuple):
    """Dialogs, and where each of them stands: the number of its line, row or item.

    is_harmless: no text in them has control characters, as a look at the bytes has shown. has_talks: some are `Talk`s.
    """

    dialogs: Sequence[Dialog]
    places: Sequence[int]
    is_harmless: bool = False
    has_talks: bool = False


class Chunk(NamedTuple):
    """Records that were decoded together: values, or if `dialogs` is not None these.

    first: the number of the first one; place: where that stands, if its number does not tell.
    """

    first: int
    values: list[Any]
    dialogs: Sequence[Dialog] | None = None
    is_harmless: bool = False
    place: int = 0


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
        self.layout = layout or find_layout(read_head(path), self._has_format)
        self.bytes_read = self.good = self.bad = self.repaired = 0
        self.problems: list[str] = []
        self.described = 0  # problems in all
        self.first_bad = ""  # why the first record that is left out is
        self.shapes: Counter[str] = Counter()
        self._joined: RecordBatch | None = None  # of a format whose records are one conversation
        self._last: RowFormat | None = None  # of the row before, because files are seldom mixed

    def dialogs(self) -> Iterator[Dialog]:
        for batch in self.batches():
            yield from batch.dialogs

    def batches(self) -> Iterator[RecordBatch]:
        """The dialogs in the order of the file, as many at a time as were decoded together."""
        for chunk in self._chunks():
            dialogs, place = chunk.dialogs, chunk.place or chunk.first
            if dialogs is None:
                numbered = enumerate(chunk.values)
                found = [self._read(value, chunk.first + number, place + number) for number, value in numbered]
                kept = [dialog for dialog in found if dialog is not None]
                if kept:
                    places = [at for at, dialog in enumerate(found, place) if dialog is not None]
                    yield RecordBatch(kept, places, chunk.is_harmless, any(isinstance(each, Talk) for each in kept))
                continue
            self.good += len(dialogs)
            for number, dialog in enumerate(dialogs, chunk.first):
                if not dialog.conversation:
                    dialog.conversation = f"0/{number}"
            if dialogs:
                yield RecordBatch(dialogs, range(place, place + len(dialogs)), chunk.is_harmless)
        if self._joined is not None:
            yield self._joined

    def _read(self, value: Any, number: int, place: int) -> Dialog | None:
        """The dialog of a record; None for a bad one, which is reported, and for one that is joined with others."""
        try:
            if type(value) is not dict:
                raise BadRow(f"found {describe(value)}, expected an object")
            form = self._last
            if form is None or not form.matches(value):
                form = self._last = self._find_format(value)
            dialog = form.read(value)
        except BadRow as problem:
            self._report(place, str(problem))
            return None
        self.good += 1
        self.shapes[form.name] += 1
        if not dialog.conversation:
            given = value.get("conversation")
            dialog.conversation = given if isinstance(given, str) and given else f"0/{number}"
        if not form.joined:
            return dialog
        if self._joined is None:
            self._joined = RecordBatch([dialog], [place], has_talks=isinstance(dialog, Talk))
        else:
            self._joined.dialogs[0].turns += dialog.turns
        return None

    def _chunks(self) -> Iterator[Chunk]:
        if self.layout.kind == "csv":
            yield from self._read_table()
        elif self.layout.kind == "parquet":
            yield from (Chunk(number, [record]) for number, record in enumerate(parquet_records(self.path), 1))
        else:
            with open(self.path, "rb") as file:
                yield from self._read_lines(file) if self.layout.kind == "lines" else self._read_stream(file)

    def _read_table(self) -> Iterator[Chunk]:
        for number, row in enumerate(csv_rows(self.path, read_head(self.path)), 1):
            if row.problem:
                self._report(row.line, row.problem)
                continue
            if row.replaced:
                self.repaired += 1
                self._describe(row.line, f"characters that are not of the encoding and became \ufffd: {row.replaced}")
            yield Chunk(number, [row.record], place=row.line)

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
                self._report(number, str(problem))
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
            for value in self._values(stream):
                self.bytes_read = stream.bytes_read
                if type(value) is Damaged:
                    number += self._passed_over(value, number + 1)
                else:
                    number += 1
                    yield Chunk(number, [value])
                if stream.bytes_read > self.most_bytes:
                    return
        except DamagedJson as error:
            self._passed_over(Damaged(error, self.path.stat().st_size - error.position, is_last=True), number + 1)

    def _values(self, stream: JsonStream) -> Iterator[Any]:
        if self.layout.kind != "member":
            yield from stream.records(self._is_record, in_array=self.layout.kind == "array")
            return
        for key in stream.members():
            if key == self.layout.key and stream.peek() == "[":
                yield from stream.records(self._is_record, in_array=True)
            else:
                stream.value()

    def _passed_over(self, damaged: Damaged, number: int) -> int:
        """Report it; returns how many records that is."""
        if not damaged.bytes and not damaged.is_last:  # a comma was missing
            self.repaired += 1
            return 0
        behind = "nothing behind it was read" if damaged.is_last else "passed over up to the next record"
        self._report(number, f"{damaged.error}; {behind} ({damaged.bytes:,} bytes)")
        self.bad += damaged.records - 1
        return damaged.records

    def _is_record(self, value: Any) -> bool:
        """Is it what the file goes on with behind a damaged record?

        A part of that one is not, even if it looks like text. If it is the first record, the next has the same keys.
        """
        if type(value) is not dict:
            return False
        if self._last is not None:
            return self._last.matches(value)
        if self.layout.kind == "member":
            return self._has_format(value) and not text.matches(value)
        return value.keys() >= set(outline(read_head(self.path))[1]) and self._has_format(value)

    def _has_format(self, row: dict[str, Any]) -> bool:
        return any(form.matches(row) for form in self.formats)

    def _find_format(self, row: dict[str, Any]) -> RowFormat:
        """Raises BadRow if no format reads the row."""
        for form in self.formats:
            if form.matches(row):
                return form
        expected = self._last.name if self._last else "one of " + ", ".join(dict.fromkeys(f.name for f in self.formats))
        raise BadRow(f"found {describe(row)}, expected {expected}")

    def _report(self, place: int, problem: str) -> None:
        self.bad += 1
        self.first_bad = self.first_bad or f"{self.layout.unit} {place}: {problem}"
        self._describe(place, problem)

    def _describe(self, place: int, text: str) -> None:
        self.described += 1
        if len(self.problems) < MAX_KEPT_PROBLEMS:
            self.problems.append(f"{self.layout.unit} {place}: {text}")
