"""Telegram Desktop's `result.json`: both of its shapes, in bounded memory, at any size.

The file is read in blocks. Each block is cut before the last message that begins in it,
and everything up to the cut goes to one typed msgspec decoder whose structs name only
the fields that are used. A cut is found by the bytes between two messages,

    }, { "id": 7, "type": "message"

whose bare quotes cannot stand inside a JSON string, so it is sound in every layout of
white space. The strict decoder is the check on every cut: a wrong one would leave the
brackets unbalanced. Telegram does write invalid JSON now and then; a block that does not
decode is taken apart and only the message at fault is mended or lost.

A file whose messages do not begin with `id` and `type` (sorted keys, another program's
copy) is read by the slower `json_stream` instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import UNSET

from engines.contract.errors import UserError
from finetune.formats.chat_export import ChatBatch
from finetune.formats.json_stream import DamagedJson, JsonStream
from finetune.formats.telegram_message import (
    UNDECODABLE,
    AnyMessage,
    Batch,
    Chat,
    decode_batch,
    decode_brief,
    decode_chat,
    decode_message,
    mend,
    parse_leniently,
    to_message,
)
from finetune.formats.telegram_part import Part, PartFile
from finetune.plain_text import is_surely_harmless

BLOCK_BYTES = 128 * 1024  # what is decoded at once stays in the processor's cache
MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # Telegram's own limit is 4096 characters
MAX_HEADER_BYTES = 64 * 1024
BORDER_BYTES = 256  # room for the white space between two messages

_MESSAGE_START = re.compile(rb'"id"\s*:\s*-?\d+\s*,\s*"type"\s*:\s*"(?:message|service|unsupported)"')
_BORDER_END = re.compile(rb"\}\s*(,)\s*\{\s*\Z")
BORDER = re.compile(rb"\}\s*(,)\s*\{\s*" + _MESSAGE_START.pattern)
_MESSAGES_KEY = re.compile(rb'"messages"\s*:\s*\[')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


class Export:
    """One export file. `batches` may be called again; each call reads the file from its start.

    brief: nobody asks for names, ids and replies, so messages may come without them.
    After a full reading: `repaired` messages were invalid JSON and could be mended, `lost`
    ones could not; `truncated` tells that the file ends in the middle.
    """

    tells_owner = True

    def __init__(self, path: Path, block_bytes: int = BLOCK_BYTES, part: Part | None = None):
        self.path = path
        self.block_bytes = block_bytes
        self.part = part  # the whole file, if None
        self.brief = False
        self.bytes_read = self.repaired = self.lost = 0
        self.truncated = False
        self.plain_layout = self._has_plain_layout()

    def batches(self, is_wanted: Callable[[Chat], bool] = lambda chat: True) -> Iterator[ChatBatch]:
        """The messages in the order of the file. A chat's batches follow each other; the first is empty.

        That is the only one of a chat that is not wanted; its messages are passed over unread.
        """
        self.bytes_read = self.repaired = self.lost = 0
        self.truncated = False
        if self.part is not None:
            with PartFile(self.path, self.part) as part_file:
                yield from self._read_blocks(part_file, is_wanted)
            return
        with open(self.path, "rb", buffering=0) as file:
            yield from self._read_blocks(file, is_wanted) if self.plain_layout else self._read_stream(file, is_wanted)

    def _has_plain_layout(self) -> bool:
        """Do the heads of chats stand before their messages, and `id`, `type` first in a message?"""
        with open(self.path, "rb") as file:
            head = file.read(2 * MAX_MESSAGE_BYTES)
        for key in _MESSAGES_KEY.finditer(head):
            if read_header(head[max(0, key.start() - MAX_HEADER_BYTES) : key.start()]).type is UNSET:
                return False
            first = re.compile(rb"\s*(\{\s*)?").match(head, key.end())
            if first and first[1]:
                return _MESSAGE_START.match(head, first.end()) is not None
        return True

    def _read_blocks(self, file: BinaryIO | PartFile, is_wanted: Callable[[Chat], bool]) -> Iterator[ChatBatch]:
        # buffer[start:] is unread and buffer[start - 1] the comma or bracket before it; no chat
        # begins in buffer[start:scanned]; chat is None outside of the chats that are wanted
        buffer, start, scanned = bytearray(), 0, 0
        chat: Chat | None = None
        chats = self.part.chat.position if self.part is not None and self.part.chat is not None else 0
        resync = False  # passing over an impossibly long message until the next one begins
        while block := file.read(self.block_bytes):
            self.bytes_read += len(block)
            used = max(0, start - 1)
            del buffer[:used]
            buffer += block
            start, scanned = start - used, max(0, scanned - used)
            if chat is not None and not resync:
                # A slice with the end of a chat in it does not decode, so one that does needs no search for chats.
                cut = find_last_border(buffer, start)
                batch = self._decode_between(buffer, start, cut) if cut >= 0 else None
                if batch is not None:
                    yield ChatBatch(chat, batch, is_surely_harmless(buffer))
                    start = scanned = cut + 1
            while key := find_messages_key(buffer, scanned):
                if chat is not None and not resync:
                    yield ChatBatch(chat, self._decode_end(buffer[start : key[0]]))
                chat = read_header(buffer[max(start, key[0] - MAX_HEADER_BYTES) : key[0]])
                chat.position, chats, resync = chats, chats + 1, False
                start = scanned = key[1]
                yield ChatBatch(chat, [])
                if not is_wanted(chat):
                    chat = None
            scanned = max(scanned, len(buffer) - BORDER_BYTES)
            if chat is None:
                start = max(start, len(buffer) - MAX_HEADER_BYTES)
                continue
            if resync:
                border = BORDER.search(buffer, start)
                resync = border is None
                start = max(start, len(buffer) - MAX_HEADER_BYTES) if border is None else border.start(1) + 1
            cut = -1 if resync else find_last_border(buffer, start)
            if cut >= 0:
                yield ChatBatch(chat, self._decode(buffer, start, cut))
                start = cut + 1
            elif not resync and len(buffer) - start > MAX_MESSAGE_BYTES:
                yield ChatBatch(chat, self._decode_end(buffer[start:]))
                start, resync = len(buffer) - BORDER_BYTES, True
        if chat is not None and not resync:
            yield ChatBatch(chat, self._decode_end(buffer[start:], at_end_of_file=True))
        self.truncated |= not buffer[start:].rstrip().endswith(b"}")

    def _decode(self, buffer: bytearray, start: int, end: int) -> Batch:
        """Decode the messages in buffer[start:end]; where that fails, one by one."""
        batch = self._decode_between(buffer, start, end)
        if batch is None:
            cuts = [start - 1, *(border.start(1) for border in BORDER.finditer(buffer, start, end)), end]
            one_by_one = [self._decode_one(buffer[low + 1 : high]) for low, high in pairwise(cuts)]
            batch = [message for message in one_by_one if message is not None]
        return batch

    def _decode_between(self, buffer: bytearray, start: int, end: int) -> Batch | None:
        """Decode the messages in buffer[start:end]; None where that is not possible.

        For a moment brackets stand in the places of the separators at start - 1 and end, to spare a copy.
        """
        separators = buffer[start - 1], buffer[end]
        buffer[start - 1], buffer[end] = b"[]"
        try:
            with memoryview(buffer) as view, view[start - 1 : end + 1] as array:
                for decode in (decode_brief, decode_batch)[not self.brief :]:
                    try:
                        return decode(array)
                    except UNDECODABLE:
                        continue
            return None
        finally:
            buffer[start - 1], buffer[end] = separators

    def _decode_one(self, raw: bytes | bytearray) -> AnyMessage | None:
        try:
            return decode_message(raw)
        except UNDECODABLE:
            message = parse_leniently(mend(raw))
            self.repaired += message is not None
            self.lost += message is None
            return message

    def _decode_end(self, raw: bytes | bytearray, at_end_of_file: bool = False) -> Batch:
        """Decode a chat's last messages, of which the last is followed by the end of the array and more."""
        cut = find_last_border(raw, 0)
        batch = list(self._decode(bytearray(b"[") + raw, 1, cut + 1)) if cut >= 0 else []
        last = raw[cut + 1 :].lstrip()
        end = find_end_of_value(last)
        if last.startswith(b"{"):
            message = self._decode_one(last[:end])
            if message is not None:
                batch.append(message)
        self.truncated |= at_end_of_file and last[end:].lstrip()[:1] != b"]"
        return batch

    def _read_stream(self, file: BinaryIO, is_wanted: Callable[[Chat], bool]) -> Iterator[ChatBatch]:
        """The slow way, for other layouts: read twice, because a chat's head may follow its messages."""
        try:
            heads = [part for part in walk_chats(JsonStream(file)) if isinstance(part, Chat)]
            file.seek(0)
            stream, position = JsonStream(file), 0
            for part in walk_chats(stream):
                self.bytes_read = stream.bytes_read
                chat = heads[position]
                if isinstance(part, Chat):
                    position += 1
                elif not part or is_wanted(chat):
                    chat.position = position
                    messages = [to_message(item) for item in part]
                    self.lost += messages.count(None)
                    yield ChatBatch(chat, [message for message in messages if message is not None])
        except DamagedJson as error:
            raise UserError(
                "bad_input", f"{self.path.name} is {error}", "Export the chat again; this copy is not whole."
            ) from None


def walk_chats(stream: JsonStream, batch_size: int = 500) -> Iterator[list[Any] | Chat]:
    """The messages of one chat in lists, then its head; then the next chat."""
    head: dict[str, Any] = {}
    has_messages = False
    for key in stream.members():
        if key == "messages" and stream.peek() == "[":
            has_messages = True
            batch: list[Any] = []
            yield batch
            for _ in stream.items():
                batch.append(stream.value())
                if len(batch) == batch_size:
                    yield batch
                    batch = []
            yield batch
        elif key in ("chats", "left_chats") and stream.peek() == "{":
            for inner in stream.members():
                if inner == "list" and stream.peek() == "[":
                    for _ in stream.items():
                        yield from walk_chats(stream)
                else:
                    stream.value()
        else:
            value = stream.value()
            if key in ("id", "name", "type"):
                head[key] = value
    if has_messages:
        try:
            yield msgspec.convert(head, Chat)
        except UNDECODABLE:
            yield Chat()


def find_messages_key(buffer: bytes | bytearray, low: int) -> tuple[int, int] | None:
    """Where the next `"messages": [` begins and ends."""
    at = buffer.find(b'"messages"', low)
    while at >= 0:
        key = _MESSAGES_KEY.match(buffer, at)
        if key:
            return key.span()
        at = buffer.find(b'"messages"', at + 1)
    return None


def find_last_border(buffer: bytes | bytearray, low: int) -> int:
    """Offset of the comma before the last message that begins in buffer[low:], -1 if none does."""
    at = buffer.rfind(b'"id"', low)
    while at >= 0:
        if _MESSAGE_START.match(buffer, at):
            window = max(low, at - BORDER_BYTES)
            border = _BORDER_END.search(buffer[window:at])
            if border:
                return window + border.start(1)
        at = buffer.rfind(b'"id"', low, at)
    return -1


def read_header(raw: bytes | bytearray) -> Chat:
    """The chat whose head ends where `raw` ends, just before the key `messages`.

    Tries the braces from the last one back: one inside a name leaves a bare quote too
    many, so only the right one decodes.
    """
    end = raw.rstrip().removesuffix(b",")
    at = end.rfind(b"{")
    while at >= 0:
        for head in (end[at:] + b"}", mend(end[at:]) + b"}"):
            try:
                return decode_chat(head)
            except UNDECODABLE:
                continue
        at = end.rfind(b"{", 0, at)
    return Chat()


def find_end_of_value(raw: bytes | bytearray) -> int:
    """Length of the object at the start of `raw`, its whole length if the object does not end."""
    depth = 0
    for token in _TOKEN.finditer(raw):
        if token[0] in b"{[":
            depth += 1
        elif token[0] in b"]}":
            depth -= 1
            if depth <= 0:
                return token.end() if depth == 0 else token.start()
    return len(raw)
