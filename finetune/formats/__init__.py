"""The formats that can be read, and which of them a file has. Its content tells, never its name.

`ROW_FORMATS` are shapes of JSON records and of lines of a table; the first that matches reads
a record. Chats are exports of messengers, whose messages are yet to be formed into dialogs.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from engines.contract.errors import UserError
from finetune.formats import (
    alpaca,
    chatgpt,
    claude,
    input_output_text,
    messages,
    preference,
    prompt_completion,
    sharegpt,
    text,
    text_label,
    vertex,
)
from finetune.formats.dialog import BadRow
from finetune.formats.json_stream import DamagedJson, JsonStream
from finetune.formats.records import BOM, Layout, RowFormat, find_layout, parse_line, read_head
from finetune.formats.table import PARQUET_MARK, find_delimiter
from finetune.formats.whatsapp import is_whatsapp

MAX_LISTED_KEYS = 10
TELEGRAM_ACCOUNT_KEYS = {"chats", "left_chats", "personal_information"}
TELEGRAM_CHAT_KEYS = {"id", "name", "type"}
CHATS = ("telegram", "whatsapp", "discord")
LARGE_RECORDS = {
    "mapping": "chatgpt", "chat_messages": "claude", "messages": "messages", "conversations": "sharegpt",
    "contents": "vertex",
}  # fmt: skip

ROW_FORMATS = (
    RowFormat("claude", claude.matches, claude.read),
    RowFormat("claude", claude.matches_turn, claude.read_turn, joined=True),
    RowFormat("chatgpt", chatgpt.matches, chatgpt.read),
    RowFormat("vertex", vertex.matches, vertex.read, decode_lines=vertex.decode_lines),
    RowFormat("preference", preference.matches, preference.read),
    RowFormat("messages", messages.matches, messages.read, decode_lines=messages.decode_lines),
    RowFormat("sharegpt", sharegpt.matches, sharegpt.read, decode_lines=sharegpt.decode_lines),
    RowFormat(
        "input_output_text",
        input_output_text.matches,
        input_output_text.read,
        decode_lines=input_output_text.decode_lines,
    ),
    RowFormat(
        "prompt_completion",
        prompt_completion.matches,
        prompt_completion.read,
        decode_lines=prompt_completion.decode_lines,
    ),
    RowFormat("alpaca", alpaca.matches, alpaca.read, decode_lines=alpaca.decode_lines),
    RowFormat("text_label", text_label.matches, text_label.read, decode_lines=text_label.decode_lines),
    RowFormat("text", text.matches, text.read, decode_lines=text.decode_lines),
)


@dataclass(frozen=True)
class Detected:
    """name: one of CHATS or the name of a row format; layout: how the records lie, None for a chat."""

    name: str
    layout: Layout | None = None


def recognise(record: object) -> RowFormat | None:
    """The format that reads `record`."""
    if not isinstance(record, dict):
        return None
    return next((form for form in ROW_FORMATS if form.matches(record)), None)


def detect(path: Path, any_record: bool = False) -> Detected:
    """Raises UserError (bad_input) that says what the file is instead.

    any_record: records of unknown shapes will do, because the user says how they are read.
    """
    head = read_head(path)
    start = head.removeprefix(BOM).lstrip()[:200]
    if not start:
        raise _refusal(f"{path.name} is empty")
    if start.startswith(PARQUET_MARK):
        return Detected("parquet" if any_record else "table", Layout("parquet"))
    if start.startswith(b"[") and is_whatsapp(head.decode("utf-8", "replace")):
        return Detected("whatsapp")
    if start.startswith((b"{", b"[")) and (found := _detect_json(path.name, head, any_record)):
        return found
    _refuse_what_is_no_text(path.name, start, head)
    if is_whatsapp(head.decode("utf-8", "replace")):
        return Detected("whatsapp")
    if found := _detect_lines(head, any_record):
        return found
    if find_delimiter(head):
        return Detected("table", Layout("csv"))
    raise _refusal(f"{path.name} is not JSON")


def _detect_json(name: str, head: bytes, any_record: bool) -> Detected | None:
    """None where it is not JSON at all. Raises UserError."""
    is_array, keys, is_whole = outline(head)
    found = set(keys)
    if not is_array and {"guild", "channel"} & found and ({"messages", "dateRange"} & found):
        return Detected("discord")
    is_chat = found & TELEGRAM_ACCOUNT_KEYS or ("messages" in found and found & TELEGRAM_CHAT_KEYS)
    first = first_record(head, any_record)
    if not is_array and is_chat and (first is None or first.name == "text"):  # as Telegram's messages look
        return Detected("telegram")
    by_key = next((LARGE_RECORDS[key] for key in keys if key in LARGE_RECORDS), None)
    if first is None and by_key:  # the first record is larger than the head
        return Detected(by_key, Layout("array" if is_array else "values"))
    if first is not None:
        layout = find_layout(head, lambda row: any_record or recognise(row) is not None)
        return Detected("records" if any_record else first.name, layout)
    if not keys:
        if is_whole:
            raise _refusal(f"{name} is JSON without any messages")
        return None
    listed = ", ".join(key[:40] for key in keys[:MAX_LISTED_KEYS])
    what = "a JSON array of objects" if is_array else "a JSON object"
    raise _refusal(f"{name} is of an unknown kind: {what} with the keys {listed}")


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
            for _ in stream.items():
                values.append(stream.value())
        whole: dict[str, object] = {}
        values.append(whole)
        for key in stream.members() if stream.peek() == "{" else ():
            if stream.peek() != "[":
                whole[key] = stream.value()
                continue
            items: list[object] = []
            whole[key] = items
            for _ in stream.items():
                items.append(stream.value())
                values.append(items[-1])
    except DamagedJson:
        pass  # the head ends here
    return values


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


def _refuse_what_is_no_text(name: str, start: bytes, head: bytes) -> None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        if find_delimiter(head):
            return
        raise UserError("bad_input", f"{name} is written as UTF-16", "Save it as UTF-8 and try again.")
    if b"\0" in head[:100]:
        raise _refusal(f"{name} is not a text file")
    if start.startswith(b"<"):
        raise UserError(
            "bad_input",
            f"{name} is an HTML page; Telegram was exported as HTML",
            "Export again choosing 'Machine-readable JSON'.",
        )


def _refusal(cause: str) -> UserError:
    return UserError(
        "bad_input",
        cause,
        "Give an export of chats (Telegram, WhatsApp, Discord, Claude, ChatGPT), or JSONL or CSV with answers.",
    )
