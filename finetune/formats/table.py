"""Tables: CSV and TSV with a header line, and Parquet. Each line becomes a record with the columns as its fields.

Names of columns are in lower case. The encoding of a CSV is found: UTF-16 by its mark, else
UTF-8, or an old code page of Windows if most of what is not ASCII in the file is no UTF-8:
1251 if such letters stand beside each other, as in Russian, else 1252.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from engines.contract.errors import UserError

PARQUET_MARK = b"PAR1"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
DELIMITERS = ",;\t|"
LOOKED_AT = 20  # records of a table, to know it
BATCH = 1000  # rows of Parquet that are decoded together
LONGEST_FIELD = 32 * 1024 * 1024
BLOCK = 1 << 20
LISTED_COLUMNS = 10

_BESIDE_ASCII = re.compile(rb"[A-Za-z][\xc0-\xff]|[\xc0-\xff][A-Za-z]")
_BESIDE_ANOTHER = re.compile(rb"[\xc0-\xff]{2}")

UNDECODED = "\udcff"  # stands for what is not of the encoding; no text that can be decoded has it
codecs.register_error("ftui-undecoded", lambda error: (UNDECODED, error.end))  # type: ignore[attr-defined]


class TableRow(NamedTuple):
    """line: where it begins. problem: why it is no record. replaced: characters that could not be decoded."""

    line: int
    record: dict[str, Any]
    problem: str = ""
    replaced: int = 0


class Lines:
    """The lines of a file, which remembers those that were handed over since `forget`."""

    def __init__(self, file: TextIO):
        self.number = 0
        self.held: list[str] = []
        self._file = file
        self._again: list[str] = []

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._file)
        self.number += 1
        self.held.append(line)
        return line

    def forget(self) -> None:
        self.held = []

    def return_all_but_first(self) -> None:
        self._again += reversed(self.held[1:])
        self.number -= len(self.held) - 1
        self.forget()


def find_encoding(blocks: Iterable[bytes]) -> tuple[str, bool]:
    """The encoding of a text, and whether all of it is UTF-8."""
    decode = codecs.getincrementaldecoder("utf-8")("ftui-undecoded").decode
    good = bad = beside_ascii = beside_another = 0
    for number, block in enumerate(blocks):
        if number == 0 and block.startswith(UTF16_MARKS):
            return "utf-16", False
        text = decode(block)
        good += len(block) - len(text)  # each character but those of ASCII has more bytes than one
        if lost := text.count(UNDECODED):
            bad += lost
            beside_ascii += len(_BESIDE_ASCII.findall(block))
            beside_another += len(_BESIDE_ANOTHER.findall(block))
    if bad <= good:
        return "utf-8-sig", not bad
    return ("cp1252" if beside_ascii > beside_another else "cp1251"), False


def find_delimiter(head: bytes) -> str | None:
    """What separates the columns of most lines into as many as the header has; None: this is no table."""
    encoding, _ = find_encoding([head])
    text = head.decode(encoding, "replace")
    csv.field_size_limit(LONGEST_FIELD)
    for delimiter in DELIMITERS:
        names, *rows = _first_records(text, delimiter)
        if len(names) > 1 and all(name.strip() for name in names):
            fitting = sum(len(row) == len(names) for row in rows)
            if rows and fitting >= len(rows) / 2:
                return delimiter
    names, *rows = _first_records(text, ",")
    return "," if rows and [name.strip().casefold() for name in names[:1]] == ["text"] else None


def _first_records(text: str, delimiter: str) -> list[list[str]]:
    """The header and some records, without empty ones; the last may be cut."""
    found: list[list[str]] = []
    try:
        for record in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if any(cell.strip() for cell in record):
                found.append(record)
            if len(found) > LOOKED_AT:
                break
    except csv.Error:
        pass
    return found or [[]]


def csv_rows(path: Path, head: bytes) -> Iterator[TableRow]:
    """The lines below the header. Raises UserError for a file that breaks the rules of CSV."""
    csv.field_size_limit(LONGEST_FIELD)
    delimiter = find_delimiter(head) or ","
    with open(path, "rb") as file:
        encoding, is_whole = find_encoding(iter(lambda: file.read(BLOCK), b""))
    with open(path, encoding=encoding, errors="ftui-undecoded", newline="") as text:
        lines = Lines(text)
        names: list[str] = []
        for line, cells, problem in _records(lines, delimiter, path.name):
            replaced = 0 if is_whole else sum(cell.count(UNDECODED) for cell in cells)
            if replaced:
                cells = [cell.replace(UNDECODED, "\ufffd") for cell in cells]
            if not names:
                names = [name.strip().casefold() for name in cells]
                continue
            if not problem and any(cell.strip() for cell in cells[len(names) :]):
                problem = wrong_number(len(cells), names, delimiter)
            record = dict(zip(names, cells + [""] * (len(names) - len(cells)), strict=False))
            yield TableRow(line, record, problem, replaced)


def _records(lines: Lines, delimiter: str, name: str) -> Iterator[tuple[int, list[str], str]]:
    """(line, cells, what is wrong with them) of each record that is not empty."""
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        line = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                "bad_input", f"{name} line {line}: {error}", "Write the table again as UTF-8 CSV."
            ) from None
        problem = ""
        if len(lines.held) > 1 and sum(held.count('"') for held in lines.held) % 2:
            # A mark that nothing closes takes all that follows, if not only for a cell.
            problem = "a quotation mark is opened and not closed"
            lines.return_all_but_first()
            reader = csv.reader(lines, delimiter=delimiter)
        lines.forget()
        if cells:
            yield line, cells, problem


def wrong_number(count: int, names: list[str], delimiter: str) -> str:
    mark = {"\t": "tab"}.get(delimiter, delimiter)
    listed = ", ".join(name[:40] for name in names[:LISTED_COLUMNS])
    mend = f"a text with a {mark} in it belongs between quotation marks"
    return f"found {count} cells, expected {len(names)} ({listed}); {mend}"


def parquet_rows(path: Path) -> int:
    """How many rows a Parquet file says it has. Raises UserError as `parquet_records`."""
    with _parquet(path) as file:
        return int(file.metadata.num_rows)


def parquet_records(path: Path) -> Iterator[dict[str, Any]]:
    """Raises UserError where pyarrow is missing or the file is damaged."""
    with _parquet(path) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            for record in batch.to_pylist():
                yield {str(name).strip().casefold(): value for name, value in record.items()}


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise UserError(
            "not_ready",
            "Parquet files are read by pyarrow, which is not installed",
            "pip install pyarrow, or save as CSV.",
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (ArrowInvalid, OSError) as error:
        cause = " ".join(str(error).split())[:120].rstrip(".")
        raise UserError("bad_input", f"{path.name}: {cause}", "Fetch or write the file again.") from None
