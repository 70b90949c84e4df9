"""Ready-made dialogs: rows of messages, one JSON object per line or all in one JSON array.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
    {"messages": [{"from": "user", "value": "…"}, …]}
    {"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}

A row that is none of these is described with its line and left out; the others are used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from finetune.formats.json_stream import DamagedJson, JsonStream

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_KEPT_PROBLEMS = 20
EXPECTED = 'expected {"role": "user", "content": "…"}'


@dataclass
class Dialog:
    """turns: (role, text) with the roles system, user, assistant; conversation: what a split keeps together."""

    turns: list[tuple[str, str]]
    conversation: str


class BadRow(ValueError):
    """The text says what was found and what was expected."""


class Rows:
    """The dialogs of one file. After reading, `bad` rows were left out; `problems` describes the first of them."""

    def __init__(self, path: Path):
        self.path = path
        self.bytes_read = self.good = self.bad = 0
        self.problems: list[str] = []

    def dialogs(self) -> Iterator[Dialog]:
        with open(self.path, "rb") as file:
            is_array = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
            file.seek(0)
            yield from self._read_array(file) if is_array else self._read_lines(file)

    def _read_lines(self, file: BinaryIO) -> Iterator[Dialog]:
        number = 0
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            self.bytes_read += len(line)
            try:
                if line.strip() or line.startswith(b"\xef\xbb\xbf"):
                    yield from self._dialog(parse_line(line), f"line {number}", number)
            except BadRow as problem:
                self._report(f"line {number}: {problem}")

    def _read_array(self, file: BinaryIO) -> Iterator[Dialog]:
        number = 0
        stream = JsonStream(file)
        try:
            for _ in stream.items():
                number += 1
                value = stream.value()
                self.bytes_read = stream.bytes_read
                yield from self._dialog(value, f"item {number}", number)
        except DamagedJson as damage:
            self._report(f"item {number}: {damage}; nothing behind it was read")

    def _dialog(self, value: Any, place: str, number: int) -> Iterator[Dialog]:
        try:
            turns = read_turns(value)
        except BadRow as problem:
            self._report(f"{place}: {problem}")
            return
        self.good += 1
        given = value.get("conversation")
        yield Dialog(turns, given if isinstance(given, str) and given else f"0/{number}")

    def _report(self, problem: str) -> None:
        self.bad += 1
        if len(self.problems) < MAX_KEPT_PROBLEMS:
            self.problems.append(problem)


def parse_line(line: bytes) -> Any:
    """The JSON value of a line. Raises BadRow."""
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadRow("not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadRow(f"not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise BadRow("not JSON that can be read: nested too deeply or a number too long") from None


def is_row(value: Any) -> bool:
    """Does `value` look like a row, perhaps a faulty one?"""
    if not isinstance(value, dict):
        return False
    messages = value.get("messages", value.get("conversations"))
    if not isinstance(messages, list) or not messages or not isinstance(messages[0], dict):
        return False
    return "role" in messages[0] or {"from", "value"} <= messages[0].keys() or bool(ROLES.keys() & messages[0].keys())


def read_turns(value: Any) -> list[tuple[str, str]]:
    """The (role, text) turns of a row in any of the shapes. Raises BadRow."""
    if not isinstance(value, dict):
        raise BadRow(f"found {describe(value)}, expected an object with messages")
    messages = value.get("messages", value.get("conversations"))
    if not isinstance(messages, list):
        raise BadRow(f"found {describe(value)}, expected an object with a list of messages")
    return [read_turn(message, number) for number, message in enumerate(messages, 1)]


def read_turn(message: Any, number: int) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise BadRow(f"message {number} is {describe(message)}, {EXPECTED}")
    if "role" not in message and "from" not in message:
        raise BadRow(f"message {number} has no role, found {describe(message)}, {EXPECTED}")
    name = message.get("role", message.get("from"))
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise BadRow(f"message {number} has the role {str(name)[:40]!r}, expected system, user or assistant")
    text = message.get("content", message.get("value"))
    if not isinstance(text, str):
        raise BadRow(f"message {number} has no text, found {describe(message)}, {EXPECTED}")
    return role, text


def describe(value: Any) -> str:
    """A JSON value in a few words."""
    if isinstance(value, dict):
        return "{" + ", ".join(str(key)[:40] for key in list(value)[:6]) + "}"
    return {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")
