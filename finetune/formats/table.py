"""Tables: CSV and TSV with a header line, and Parquet. Each line becomes a record with the columns as its fields.

Names of columns are in lower case. The encoding of a CSV is found: UTF-8 with or without a
mark, UTF-16 with one, else Windows-1251.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engines.contract.errors import UserError

PARQUET_MARK = b"PAR1"
DELIMITERS = ",;\t|"
BATCH = 1000  # rows of Parquet that are decoded together
LONGEST_FIELD = 32 * 1024 * 1024


def find_encoding(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not merely cut in the middle of a letter
            return "cp1251"
    return "utf-8-sig"


def find_delimiter(head: bytes) -> str | None:
    """What separates the columns of the header and the line after it; None: this is no table."""
    text = head.decode(find_encoding(head), "replace")
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    csv.field_size_limit(LONGEST_FIELD)
    for delimiter in DELIMITERS:
        try:
            rows = list(csv.reader(lines[:2], delimiter=delimiter))
        except csv.Error:
            return None
        if len(rows) == 2 and len(rows[0]) == len(rows[1]) > 1 and all(cell.strip() for cell in rows[0]):
            return delimiter
    is_text = len(lines) > 1 and lines[0].strip().strip('"').casefold() == "text"
    return "," if is_text else None


def csv_records(path: Path, head: bytes) -> Iterator[dict[str, Any]]:
    """Raises UserError for a file that breaks the rules of CSV."""
    csv.field_size_limit(LONGEST_FIELD)
    with open(path, encoding=find_encoding(head), errors="replace", newline="") as file:
        reader = csv.DictReader(file, delimiter=find_delimiter(head) or ",", restval="")
        try:
            for row in reader:
                yield {str(name).strip().casefold(): value for name, value in row.items() if name is not None}
        except csv.Error as error:
            raise UserError(
                "bad_input", f"{path.name} line {reader.line_num}: {error}", "Write the table again as UTF-8 CSV."
            ) from None


def parquet_rows(path: Path) -> int:
    """How many rows a Parquet file says it has. Raises UserError as `parquet_records`."""
    with _parquet(path) as file:
        return int(file.metadata.num_rows)


def parquet_records(path: Path) -> Iterator[dict[str, Any]]:
    """Raises UserError where pyarrow is missing or the file is damaged."""
    with _parquet(path) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            yield from batch.to_pylist()


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
        raise UserError("bad_input", f"{path.name}: {str(error)[:120]}", "Fetch or write the file again.") from None
