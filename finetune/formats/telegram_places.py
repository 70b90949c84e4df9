"""Where in the bytes of a Telegram export chats and messages begin and end.

A message is found by the bytes between two of them,

    }, { "id": 7, "type": "message"

whose bare quotes cannot stand inside a JSON string, so it is sound in every layout of white space.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import UNSET

from finetune.formats.telegram_message import KINDS_OF_CHATS, UNDECODABLE, Chat, decode_chat, mend

MAX_HEADER_BYTES = 64 * 1024  # before a key `messages`, in which a message may stand that it belongs to
MAX_HEAD_BYTES = 8 * 1024  # of a chat's own head
BORDER_BYTES = 256  # room for the white space between two messages

_ID = rb'"id"\s*:\s*(?:-?\d+|"[^"\\]{0,40}")\s*,\s*"type"\s*:\s*'
MESSAGE_START = re.compile(_ID + rb'"(?:message|service|unsupported)"')
_ANY_START = re.compile(_ID + rb'"[^"\\]{0,40}"')  # also of a kind that is new
_BORDER_END = re.compile(rb"\}\s*(,)\s*\{\s*\Z")
OPEN_BRACE = re.compile(rb"\s*(\{\s*)?")
_OPEN = re.compile(rb"\{\s*\Z")
BORDER = re.compile(rb"\}\s*(,)\s*\{\s*" + MESSAGE_START.pattern)
OPEN_MESSAGE = re.compile(rb"\{\s*" + MESSAGE_START.pattern)
MESSAGES_KEY = re.compile(rb'"messages"\s*:\s*\[')
_TOKEN = r'"[^"\\]*(?:\\.[^"\\]*)*("|\\?\Z)|[{}\[\]]'
_TOKENS = re.compile(_TOKEN.encode(), re.DOTALL)
_TEXT_TOKENS = re.compile(_TOKEN, re.DOTALL)


def find_last_border(buffer: bytes | bytearray, low: int, start: re.Pattern[bytes] = MESSAGE_START) -> int:
    """Offset of the comma before the last message that begins in buffer[low:], -1 if none does."""
    at = buffer.rfind(b'"id"', low)
    while at >= 0:
        if start.match(buffer, at):
            window = max(low, at - BORDER_BYTES)
            border = _BORDER_END.search(buffer[window:at])
            if border:
                return window + border.start(1)
        at = buffer.rfind(b'"id"', low, at)
    return -1


def find_last_border_of_any_kind(buffer: bytes | bytearray, low: int) -> int:
    """The same where messages may be of kinds that are not known: not surely a border, inside of a message."""
    return find_last_border(buffer, low, _ANY_START)


def find_messages_key(buffer: bytes | bytearray, low: int) -> tuple[int, int] | None:
    """Where the next `"messages": [` begins and ends."""
    at = buffer.find(b'"messages"', low)
    while at >= 0:
        key = MESSAGES_KEY.match(buffer, at)
        if key:
            return key.span()
        at = buffer.find(b'"messages"', at + 1)
    return None


def read_header(raw: bytes | bytearray) -> Chat | None:
    """The chat whose head ends where `raw` ends, just before a key `messages`; None: the key is inside of a message.

    A head that cannot be read gives a chat whose kind is not told; `type` is UNSET if it is none of what stands there.
    """
    chat = _read_head(raw)
    if chat is None or chat.type is UNSET or chat.type not in KINDS_OF_CHATS:
        message = _last_message(raw)
        if message >= 0 and end_of_value(raw, message) is None:
            return None
    return chat or Chat(type=None)


def _read_head(raw: bytes | bytearray) -> Chat | None:
    """Tries the braces from the last one back: one inside a name leaves a bare quote too many."""
    end = raw.rstrip().removesuffix(b",")
    at = end.rfind(b"{")
    while at >= max(0, len(end) - MAX_HEAD_BYTES):
        for head in (end[at:] + b"}", mend(end[at:]) + b"}"):
            try:
                return decode_chat(head)
            except UNDECODABLE:
                continue
        at = end.rfind(b"{", 0, at)
    return None


def is_whole_head(raw: bytes) -> bool:
    """Is all that stands before a chat's messages its own head, so that it is in no list of chats?"""
    try:
        decode_chat(raw.removeprefix(b"\xef\xbb\xbf").rstrip().removesuffix(b",") + b"}")
    except UNDECODABLE:
        return False
    return True


def _last_message(raw: bytes | bytearray) -> int:
    """Where the last message in `raw` begins, -1 if none does."""
    at = raw.rfind(b'"id"')
    while at >= 0:
        brace = _OPEN.search(raw[max(0, at - BORDER_BYTES) : at])
        if brace and MESSAGE_START.match(raw, at):
            return max(0, at - BORDER_BYTES) + brace.start()
        at = raw.rfind(b'"id"', 0, at)
    return -1


def end_of_value(raw: str | bytes | bytearray, low: int) -> int | None:
    """Where the object, array or text that begins at raw[low] ends; None if it does not.

    One that is closed by the wrong bracket ends before it.
    """
    pattern: Any = _TEXT_TOKENS if isinstance(raw, str) else _TOKENS
    open_brackets: list[bool] = []  # is it that of an object?
    for token in pattern.finditer(raw, low):
        if token[1] is None:
            bracket = raw[token.start()] if isinstance(raw, str) else chr(raw[token.start()])
            if bracket in "{[":
                open_brackets.append(bracket == "{")
            elif not open_brackets or open_brackets.pop() is not (bracket == "}"):
                return int(token.start())
        elif token[1] not in ('"', b'"'):  # the text goes on for ever
            return None
        if not open_brackets:
            return int(token.end())
    return None
