"""What is said of a file that has none of the formats: what it is instead, and what can be done with it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

from engines.contract.errors import UserError
from finetune.formats.dialog import BadRow, describe
from finetune.formats.layout import BOM, parse_line
from finetune.formats.table import DELIMITERS, UTF16_MARKS

MAX_LISTED_KEYS = 10
GIVE = "Give an export of chats (Telegram, WhatsApp, Discord, Claude, ChatGPT), or JSONL or CSV with answers."
NAME_COLUMNS = "Say which is which: --columns user=… --columns assistant=…, or --template with columns as {name}."
DOCUMENTS = (
    "Documents become questions and answers by `ftui llm generate --from-project FOLDER`; "
    'text to be continued is written as {"text": "…"}, one a line.'
)


def refused(cause: str, next_step: str = GIVE) -> UserError:
    return UserError("bad_input", cause, next_step)


def unknown_keys(name: str, keys: list[str], *, is_array: bool) -> UserError:
    listed = ", ".join(key[:40] for key in keys[:MAX_LISTED_KEYS])
    what = "a JSON array of objects" if is_array else "a JSON object"
    return refused(f"{name} is of an unknown kind: {what} with the keys {listed}", NAME_COLUMNS)


def refuse_unless_text(name: str, start: bytes) -> None:
    """Raises UserError for a beginning that is of no text that can be read."""
    if is_utf16_json(start):
        raise refused(f"{name} is written as UTF-16", "Save it as UTF-8 and try again.")
    if b"\0" in start[:100] and not start.startswith(UTF16_MARKS):
        raise refused(f"{name} is not a text file")
    if start.startswith(b"<") and b"Exported Data" in start:
        raise refused(
            f"{name} is an HTML page; Telegram was exported as HTML", "Export again choosing 'Machine-readable JSON'."
        )
    if start.startswith(b"<"):
        raise refused(
            f"{name} is an HTML page",
            "Give the JSON of the export: 'Machine-readable JSON' of Telegram, conversations.json of the others.",
        )


def is_utf16_json(start: bytes) -> bool:
    """Does it begin as JSON does, written in two bytes for each character?"""
    marked = start.startswith(UTF16_MARKS)
    return start[2 * marked : 2 * marked + 2] in (b"{\0", b"[\0", b"\0{", b"\0[")


def refuse_text(name: str, head: bytes, is_record: Callable[[dict[str, Any]], bool]) -> UserError:
    """Of a text that is neither a table nor JSON with records: is it JSON at all, a header alone, or prose?"""
    text = head.removeprefix(BOM).strip()
    if text.startswith((b"{", b"[")):
        return refused(f"{name} is not JSON")
    first, *more = text.splitlines()
    try:
        value = parse_line(first)
    except BadRow:
        pass
    else:
        return refused(f"{name} is JSON without any messages: it begins with {describe(value)}, expected an object")
    header = first.decode("utf-8", "replace")
    for delimiter in DELIMITERS:
        columns = [column.strip().casefold() for column in next(csv.reader([header], delimiter=delimiter), [])]
        if not more and is_record(dict.fromkeys(columns, "")):
            return refused(f"{name} is a table without rows, with the columns {', '.join(columns)}")
    return refused(f"{name} is plain text, neither a chat nor a table", DOCUMENTS)
