"""The formats that can be read. Which one a file has is told by its content, never by its name."""

from __future__ import annotations

import io
from pathlib import Path

from engines.errors import UserError
from finetune.formats.json_stream import DamagedJson, JsonStream
from finetune.formats.messages import BadRow, is_row, parse_line

HEAD_BYTES = 256 * 1024
MAX_LISTED_KEYS = 10

TELEGRAM_ACCOUNT_KEYS = {"chats", "left_chats", "personal_information"}
TELEGRAM_CHAT_KEYS = {"id", "name", "type"}


def detect(path: Path) -> str:
    """`telegram` or `messages`. Raises UserError (bad_input) that says what the file is instead."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    _refuse_what_is_not_json(path.name, head)
    rows = [row for row in _first_rows(head) if is_row(row)]
    if rows:
        return "messages"
    is_array, keys, is_whole = outline(head)
    found = set(keys)
    if not is_array and (found & TELEGRAM_ACCOUNT_KEYS or ("messages" in found and found & TELEGRAM_CHAT_KEYS)):
        return "telegram"
    if found & {"messages", "conversations"}:
        return "messages"
    if not keys:
        raise _refusal(f"{path.name} is JSON without any messages" if is_whole else f"{path.name} is not JSON")
    listed = ", ".join(key[:40] for key in keys[:MAX_LISTED_KEYS])
    what = "a JSON array of objects" if is_array else "a JSON object"
    raise _refusal(f"{path.name} is of an unknown kind: {what} with the keys {listed}")


def outline(head: bytes) -> tuple[bool, list[str], bool]:
    """Is it an array; the keys of the first object, as far as `head` goes; was nothing wrong up to there?"""
    stream = JsonStream(io.BytesIO(head))
    keys: list[str] = []
    is_array = stream.peek() == "["
    try:
        for _ in stream.items() if is_array else [None]:
            if stream.peek() != "{":
                break
            for key in stream.members():
                keys.append(key)
                stream.value()
            break
    except DamagedJson:  # perhaps only because the head ends in the middle of something
        return is_array, keys, False
    return is_array, keys, True


def _first_rows(head: bytes) -> list[object]:
    """What the first lines hold, or the first item of an array."""
    rows: list[object] = []
    for line in head.splitlines()[:50]:
        try:
            value = parse_line(line)
        except BadRow:
            continue
        rows += value[:1] if isinstance(value, list) else [value]
    return rows


def _refuse_what_is_not_json(name: str, head: bytes) -> None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:200]
    if not start:
        raise _refusal(f"{name} is empty")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head[:100]:
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UserError("bad_input", f"{name} is written as UTF-16", "Save it as UTF-8 and try again.")
        raise _refusal(f"{name} is not a text file")
    if start.startswith(b"PK\x03\x04"):
        raise UserError("bad_input", f"{name} is a zip archive", "Unpack it and give the JSON file in it.")
    if start.startswith(b"<"):
        raise UserError(
            "bad_input",
            f"{name} is an HTML page; Telegram was exported as HTML",
            "Export again choosing 'Machine-readable JSON'.",
        )
    if not start.startswith((b"{", b"[")) and not any(isinstance(row, dict) for row in _first_rows(head)):
        raise _refusal(f"{name} is not JSON")


def _refusal(cause: str) -> UserError:
    return UserError(
        "bad_input", cause, "Give Telegram's result.json, or JSONL rows of messages with role and content."
    )
