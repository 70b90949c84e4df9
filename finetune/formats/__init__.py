"""The formats that can be read, and which of them a file has. Its content tells, never its name.

Each file of this folder says what its format is. `FORMATS` has them in the order in which
they are tried: exports of messengers, then shapes of records, of which the first that matches
reads a record.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from finetune.formats import (
    alpaca,
    chatgpt,
    claude,
    discord,
    input_output_text,
    messages,
    preference,
    prompt_completion,
    sharegpt,
    telegram,
    text,
    text_label,
    vertex,
    whatsapp,
)
from finetune.formats.dialog import BadRow
from finetune.formats.format import ChatFormat, RowFormat
from finetune.formats.json_stream import DamagedJson, JsonStream
from finetune.formats.layout import BOM, Layout, find_layout, outline, parse_line, read_head
from finetune.formats.refusal import refuse_text, refuse_unless_text, refused, unknown_keys
from finetune.formats.table import PARQUET_MARK, find_delimiter

FORMATS: tuple[ChatFormat | RowFormat, ...] = (
    telegram.FORMAT,
    whatsapp.FORMAT,
    discord.FORMAT,
    claude.FORMAT,
    claude.OLDER,
    chatgpt.FORMAT,
    vertex.FORMAT,
    preference.FORMAT,
    messages.FORMAT,
    sharegpt.FORMAT,
    input_output_text.FORMAT,
    prompt_completion.FORMAT,
    alpaca.FORMAT,
    text_label.FORMAT,
    text.FORMAT,
)
CHAT_FORMATS = tuple(form for form in FORMATS if isinstance(form, ChatFormat))
ROW_FORMATS = tuple(form for form in FORMATS if isinstance(form, RowFormat))


@dataclass(frozen=True)
class Detected:
    """name: of a format, or what holds rows of any; layout: how the records lie; chat: the format of a messenger."""

    name: str
    layout: Layout | None = None
    chat: ChatFormat | None = None


def recognise(record: object) -> RowFormat | None:
    """The format that reads `record`."""
    if not isinstance(record, dict):
        return None
    return next((form for form in ROW_FORMATS if form.matches(record)), None)


def detect(path: Path, any_record: bool = False, name: str = "") -> Detected:
    """Raises UserError (bad_input) that says what the file is instead.

    any_record: records of unknown shapes will do, because the user says how they are read. name: the file is called so.
    """
    name = name or path.name
    head = read_head(path)
    start = head.removeprefix(BOM).lstrip()[:200]
    if not start:
        raise refused(f"{name} is empty")
    if start.startswith(PARQUET_MARK):
        return Detected("parquet" if any_record else "table", Layout("parquet"))
    beginning = head.decode("utf-8", "replace")
    if start.startswith(b"[") and (chat := _chat_of_text(beginning)):
        return Detected(chat.name, chat=chat)
    if start.startswith((b"{", b"[")) and (found := _detect_json(name, head, any_record)):
        return found
    refuse_unless_text(name, start)
    if chat := _chat_of_text(beginning):
        return Detected(chat.name, chat=chat)
    if found := _detect_lines(head, any_record):
        return found
    if find_delimiter(head):
        return Detected("table", Layout("csv"))
    raise refuse_text(name, head, lambda row: recognise(row) is not None)


def _chat_of_text(beginning: str) -> ChatFormat | None:
    return next((form for form in CHAT_FORMATS if form.is_text(beginning)), None)


def _detect_json(name: str, head: bytes, any_record: bool) -> Detected | None:
    """None where it is not JSON at all. Raises UserError."""
    is_array, keys, is_whole = outline(head)
    first = first_record(head, any_record)
    if not is_array and (first is None or first.name == "text"):  # as Telegram's messages look
        for chat in CHAT_FORMATS:
            if chat.has_keys(keys):
                return Detected(chat.name, chat=chat)
    large = next((form for key in keys for form in ROW_FORMATS if form.key == key), None)
    if first is None and large is not None:  # the first record is larger than the head
        return Detected(large.name, Layout("array" if is_array else "values"))
    if first is not None:
        layout = find_layout(head, lambda row: any_record or recognise(row) is not None)
        return Detected("records" if any_record else first.name, layout)
    if not keys:
        if is_whole:
            raise refused(f"{name} is JSON without any messages")
        return None
    raise unknown_keys(name, keys, is_array=is_array)


def _detect_lines(head: bytes, any_record: bool) -> Detected | None:
    """JSONL whose first lines are damaged."""
    first = first_record(head, any_record)
    return Detected("records" if any_record else first.name, Layout("lines")) if first else None


def first_record(head: bytes, any_record: bool = False) -> RowFormat | None:
    """The format of the first record in `head` that has one."""
    anything = RowFormat("records", lambda row: True, messages.read)
    for value in _first_values(head):
        form = recognise(value) or (anything if any_record and value and isinstance(value, dict) else None)
        if form is not None:
            return form
    return None


def _is_surely_one(value: object) -> bool:
    """Is it a record, and no part of one that the head cuts? Those may look like text."""
    form = recognise(value)
    return form is not None and form is not text.FORMAT


def _first_values(head: bytes) -> list[object]:
    """What the first lines hold, else what the document does: itself, its items, and the items of its members."""
    values: list[object] = []
    for line in head.removeprefix(BOM).splitlines()[:50]:
        try:
            value = parse_line(line.strip().removesuffix(b","))
        except BadRow:
            continue
        values += value[:1] if isinstance(value, list) else [value]
    if any(recognise(value) for value in values):
        return values
    stream = JsonStream(io.BytesIO(head))
    try:
        if stream.peek() == "[":
            keys = set(outline(head)[1])
            # What is part of a record that the head cuts is none.
            values += stream.whole_records(lambda value: recognise(value) is not None and keys <= value.keys())
        whole: dict[str, object] = {}
        values.append(whole)
        for key in stream.members() if stream.peek() == "{" else ():
            if stream.peek() != "[":
                whole[key] = stream.value()
                continue
            items: list[object] = []
            whole[key] = items
            for value in stream.whole_records(_is_surely_one):
                items.append(value)
                values.append(value)
    except DamagedJson:
        pass  # the head ends here
    return values
