"""How the records lie in a file, told by its beginning."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from finetune.formats.dialog import BadRow
from finetune.formats.format import Matches
from finetune.formats.json_stream import DamagedJson, JsonStream, why_not_json

BOM = b"\xef\xbb\xbf"
HEAD_BYTES = 256 * 1024  # that are looked at to know a file

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class Layout:
    """lines, array, member (of `key`), values, csv or parquet."""

    kind: str
    key: str = ""

    @property
    def unit(self) -> str:
        """What is counted where a record is named in messages."""
        return {"lines": "line", "csv": "line", "parquet": "row"}.get(self.kind, "item")


def read_head(path: Path, size: int = HEAD_BYTES) -> bytes:
    with open(path, "rb") as file:
        return file.read(size)


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
        raise BadRow(f"not JSON: {why_not_json(error)} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise BadRow("not JSON that can be read: nested too deeply or a number too long") from None


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
    if value is None or (isinstance(value, dict) and not is_record(value)):
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
            for value in stream.whole_records(lambda value: isinstance(value, dict) and is_record(value)):
                start[key].append(value)
                if not found and isinstance(value, dict) and is_record(value):
                    found = key
    except DamagedJson:
        pass  # the head ends here
    return Layout("values") if is_record(start) or not found else Layout("member", found)


def outline(head: bytes) -> tuple[bool, list[str], bool]:
    """Is it an array; the keys of the first object, as far as `head` goes; was nothing wrong up to there?"""
    stream = JsonStream(io.BytesIO(head))
    keys: list[str] = []
    is_array = stream.peek() == "["
    try:
        for _ in stream.items() if is_array else [None]:
            if stream.peek() != "{":
                if stream.peek() != "]":
                    stream.value()
                break
            for key in stream.members():
                keys.append(key)
                stream.value()
            break
    except DamagedJson:  # perhaps only because the head ends in the middle of something
        return is_array, keys, False
    return is_array, keys, True
