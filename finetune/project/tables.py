"""Rows of CSV, JSON, JSONL and SQLite files that have a question and an answer.

Each reader yields (where in the file, question, answer), and raises Unreadable.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from finetune.project.files import ProjectFile

QUESTIONS = ("question", "questions", "вопрос", "вопросы", "q", "query")
ANSWERS = ("answer", "answers", "ответ", "ответы", "a", "response", "reply")
MAX_ROWS = 100_000
MAX_DEPTH = 50
MAX_SQLITE_BYTES = 64 << 20
SQLITE_SECONDS = 20.0
SQLITE_MARK = b"SQLite format 3\0"

Found = tuple[str, str, str]


class Unreadable(Exception):
    """The file is not what its name says, or has no table of questions; the text says which."""


def column(names: list[str], wanted: tuple[str, ...]) -> int | None:
    """Which column: the one named so, else the first whose name begins with one of the words."""
    words = [name.strip().casefold().replace("_", " ") for name in names]
    for word in wanted:
        if word in words:
            return words.index(word)
    firsts = [word.split(" ", 1)[0] for word in words]
    return next((firsts.index(word) for word in wanted if len(word) > 1 and word in firsts), None)


def from_csv(text: str) -> Iterator[Found]:
    """A table with a heading; commas, semicolons, tabs or bars between its columns."""
    head = text.partition("\n")[0]
    delimiter = max(",;\t|", key=head.count)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = next(rows, [])
        asked, answered = column(names, QUESTIONS), column(names, ANSWERS)
        if asked is None or answered is None:
            return
        for number, row in enumerate(rows, 1):
            if len(row) > max(asked, answered) and number <= MAX_ROWS:
                yield f"row {number}", row[asked], row[answered]
    except csv.Error as error:
        raise Unreadable(f"not CSV: {error}") from None


def from_json(text: str) -> Iterator[Found]:
    """Every object, however deep, that has a question and an answer."""
    try:
        yield from _objects(json.loads(text), "", 0)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from None


def from_json_lines(text: str) -> Iterator[Found]:
    bad = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield from _objects(json.loads(line), f"line {number}", 0)
        except (ValueError, RecursionError):
            bad += 1
    if bad:
        raise Unreadable(f"{bad:,} lines are not JSON")


def _objects(value: Any, place: str, depth: int) -> Iterator[Found]:
    if depth > MAX_DEPTH:
        return
    if isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from _objects(item, f"{place} {number}".strip(), depth + 1)
    elif isinstance(value, dict):
        names = list(value)
        asked, answered = column(names, QUESTIONS), column(names, ANSWERS)
        texts = [value[names[index]] for index in (asked, answered) if index is not None]
        if len(texts) == 2 and all(isinstance(text, str) for text in texts):
            yield place or "1", texts[0], texts[1]
            return
        for name, item in value.items():
            if isinstance(item, (list, dict)):
                yield from _objects(item, f"{place} {name}".strip(), depth + 1)


def from_sqlite(file: ProjectFile) -> Iterator[Found]:
    """Every table that has both columns. Nothing is written beside the file, and a journal there is not seen."""
    deadline = time.monotonic() + SQLITE_SECONDS
    try:
        database = sqlite3.connect(f"file:{quote(os.fsencode(file.place))}?mode=ro&immutable=1", uri=True)
        try:
            database.text_factory = lambda data: data.decode("utf-8", "replace")
            database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            database.execute("PRAGMA trusted_schema = OFF")
            yield from _rows(database)
        finally:
            database.close()
    except sqlite3.Error as error:
        raise Unreadable(f"not a database that can be read: {error}") from None


def _rows(database: sqlite3.Connection) -> Iterator[Found]:
    tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    for (table,) in tables:
        names = [str(row[1]) for row in database.execute(f"PRAGMA table_info({_quoted(table)})")]
        asked, answered = column(names, QUESTIONS), column(names, ANSWERS)
        if asked is None or answered is None:
            continue
        columns = f"{_quoted(names[asked])}, {_quoted(names[answered])}"
        rows = database.execute(f"SELECT {columns} FROM {_quoted(table)} LIMIT {MAX_ROWS}")
        for number, (question, answer) in enumerate(rows, 1):
            if isinstance(question, str) and isinstance(answer, str):
                yield f"{table} {number}", question, answer


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
