"""Telegram Desktop's `result.json`: both of its shapes, in bounded memory, at any size.

The file is read in blocks. Each block is cut before the last message that begins in it,
and everything up to the cut goes to one typed msgspec decoder whose structs name only
the fields that are used. Where cuts are found: `telegram_places`.
The strict decoder is the check on every cut: a wrong one would leave the brackets
unbalanced. Telegram does write invalid JSON now and then; a block that does not decode is
taken apart and only the message at fault is mended or lost (`telegram_damage`).

A file whose messages do not begin with `id` and `type` (sorted keys, another program's
copy) is read by the slower `telegram_stream` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from msgspec import UNSET

from finetune.formats.chat_export import ChatBatch
from finetune.formats.format import ChatFormat
from finetune.formats.json_stream import DamagedJson
from finetune.formats.mending_stream import MendingStream
from finetune.formats.telegram_damage import Salvage
from finetune.formats.telegram_heads import HeadCounter, Untold, add_writers
from finetune.formats.telegram_message import (
    UNDECODABLE,
    UNKNOWN,
    Batch,
    Chat,
    Writer,
    decode_batch,
    decode_brief,
    to_message,
)
from finetune.formats.telegram_part import Part, PartFile
from finetune.formats.telegram_places import (
    BORDER,
    BORDER_BYTES,
    MAX_HEADER_BYTES,
    MESSAGE_START,
    MESSAGES_KEY,
    OPEN_BRACE,
    OPEN_MESSAGE,
    find_last_border,
    find_last_border_of_any_kind,
    find_messages_key,
    is_whole_head,
    read_header,
)
from finetune.formats.telegram_stream import walk_chats
from finetune.plain_text import is_surely_harmless

BLOCK_BYTES = 128 * 1024  # what is decoded at once stays in the processor's cache
MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # Telegram's own limit is 4096 characters
ACCOUNT_KEYS = frozenset({"chats", "left_chats", "personal_information"})
CHAT_KEYS = frozenset({"id", "name", "type"})


class Export:
    """One export file. `batches` may be called again; each call reads the file from its start.

    brief: nobody asks for names, ids and replies, so messages may come without them.
    After a full reading: `repaired` messages were invalid JSON and could be mended, `lost`
    ones could not; `truncated` tells that the file ends in the middle.
    """

    def __init__(self, path: Path, block_bytes: int = BLOCK_BYTES, part: Part | None = None):
        self.path = path
        self.block_bytes = block_bytes
        self.part = part  # the whole file, if None
        self.brief = False
        self.bytes_read = self.repaired = self.lost = 0
        self.truncated = False
        self._is_untold = False
        self.plain_layout = self._has_plain_layout()

    @property
    def tells_owner(self) -> bool:
        """May ids in it tell whose export it is?"""
        return self.untold is None or self.untold.has_peer

    @cached_property
    def untold(self) -> Untold | None:
        """What its only chat is, if that does not say so itself."""
        if not self.plain_layout:
            heads = self._heads
            return Untold(heads[0], self._writers) if len(heads) == 1 and heads[0].kind == UNKNOWN else None
        if not self._is_untold:
            return None
        other = Export(self.path, self.block_bytes)
        other.untold = None
        writers = set[Writer]()
        for batch in other.batches():
            add_writers(batch.messages, writers)
        return Untold(batch.chat, writers)

    def batches(self, is_wanted: Callable[[Chat], bool] = lambda chat: True) -> Iterator[ChatBatch]:
        """The messages in the order of the file. A chat's batches follow each other; the first is empty.

        That is the only one of a chat that is not wanted; its messages are passed over unread.
        """
        self.bytes_read = self.repaired = self.lost = 0
        self.truncated = False
        if self.part is not None:
            with PartFile(self.path, self.part) as part_file:
                yield from self._read_blocks(part_file, is_wanted)
        elif self.plain_layout:
            with open(self.path, "rb", buffering=0) as file:
                yield from self._read_blocks(file, is_wanted)
        else:
            yield from self._read_stream(is_wanted)

    def _has_plain_layout(self) -> bool:
        """Do the heads of chats stand before their messages, and `id`, `type` first in a message?"""
        with open(self.path, "rb") as file:
            head = file.read(2 * MAX_MESSAGE_BYTES)
        for key in MESSAGES_KEY.finditer(head):
            chat = read_header(head[max(0, key.start() - MAX_HEADER_BYTES) : key.start()])
            if chat is None:
                continue
            if chat.type is UNSET:
                return False
            self._is_untold |= chat.kind == UNKNOWN and is_whole_head(head[: key.start()])
            first = OPEN_BRACE.match(head, key.end())
            if first and first[1]:
                return bool(
                    MESSAGE_START.match(head, first.end())
                    or BORDER.search(head, first.end(), first.end() + MAX_HEADER_BYTES)  # it may be damaged
                )
        return True

    def _read_blocks(self, file: BinaryIO | PartFile, is_wanted: Callable[[Chat], bool]) -> Iterator[ChatBatch]:
        # buffer[start:] is unread and buffer[start - 1] the comma or bracket before it; no chat
        # begins in buffer[start:scanned]; chat is None outside of the chats that are wanted
        buffer, start, scanned = bytearray(), 0, 0
        chat: Chat | None = None
        heads = HeadCounter(self.part, self.untold)
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
                head = read_header(buffer[max(start, key[0] - MAX_HEADER_BYTES) : key[0]])
                scanned = key[1]
                if head is None:
                    continue
                if chat is not None and not resync:
                    yield from self._end_chat(chat, buffer[start : key[0]], heads)
                elif heads.count == 0 and OPEN_MESSAGE.search(buffer, start, key[0]):
                    yield heads.unknown()
                chat, resync = heads.numbered(head), False
                start = key[1]
                yield ChatBatch(chat, [])
                if not is_wanted(chat):
                    chat = None
            scanned = max(scanned, len(buffer) - BORDER_BYTES)
            if chat is None and heads.count == 0 and OPEN_MESSAGE.search(buffer, start):
                yield heads.unknown()
            if chat is None:
                start = max(start, len(buffer) - MAX_HEADER_BYTES)
                continue
            if resync:
                border = BORDER.search(buffer, start)
                resync = border is None
                start = max(start, len(buffer) - MAX_HEADER_BYTES) if border is None else border.start(1) + 1
            is_too_long = len(buffer) - start > MAX_MESSAGE_BYTES
            cut = -1 if resync else find_last_border(buffer, start)
            if cut < 0 and is_too_long and not resync:
                cut = find_last_border_of_any_kind(buffer, start)
            if cut >= 0:
                batch, left_chat = self._decode(buffer, start, cut)
                yield ChatBatch(chat, batch)
                start = cut + 1
                if left_chat:
                    yield heads.unknown()
                    chat = None
            elif not resync and is_too_long:
                yield from self._end_chat(chat, buffer[start:], heads)
                start, resync = len(buffer) - BORDER_BYTES, True
        if chat is not None and not resync:
            yield from self._end_chat(chat, buffer[start:], heads, at_end_of_file=True)
        self.truncated |= not buffer[start:].rstrip().endswith(b"}")

    def _decode(self, buffer: bytearray, start: int, end: int) -> tuple[Batch, bool]:
        """The messages in buffer[start:end], one by one where they do not decode together; see Salvage.left_chat."""
        batch = self._decode_between(buffer, start, end)
        if batch is not None:
            return batch, False
        found = Salvage()
        found.read(buffer[start:end])
        return self._counted(found), found.left_chat

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

    def _counted(self, found: Salvage) -> Batch:
        self.repaired += found.repaired
        self.lost += found.lost
        return found.messages

    def _end_chat(
        self, chat: Chat, raw: bytes | bytearray, heads: HeadCounter, *, at_end_of_file: bool = False
    ) -> Iterator[ChatBatch]:
        """A chat's last messages, of which the last is followed by the end of the array and more."""
        cut = find_last_border(raw, 0)
        whole = self._decode_between(bytearray(b"[") + raw, 1, cut + 1) if cut >= 0 else []
        found = Salvage()
        rest = raw if whole is None else raw[cut + 1 :]
        end = found.read(rest)
        yield ChatBatch(chat, [*(whole or []), *self._counted(found)])
        if found.left_chat:
            yield heads.unknown()
        self.truncated |= at_end_of_file and rest[end : end + 1] != b"]"

    @cached_property
    def _heads(self) -> list[Chat]:
        """All chats, because a chat's head may follow its messages. Also keeps who writes in the only one."""
        with open(self.path, "rb") as file:
            heads: list[Chat] = []
            self._writers: set[Writer] = set()
            try:
                for part in walk_chats(MendingStream(file)):
                    if isinstance(part, Chat):
                        heads.append(part)
                    elif not heads:
                        add_writers(map(to_message, part), self._writers)
            except DamagedJson:
                pass  # the second reading tells
        return heads

    def _read_stream(self, is_wanted: Callable[[Chat], bool]) -> Iterator[ChatBatch]:
        """The slow way, for other layouts."""
        heads = HeadCounter(None, self.untold)
        chats = list(map(heads.numbered, self._heads))
        with open(self.path, "rb") as file:
            stream, position = MendingStream(file), 0
            try:
                for part in walk_chats(stream):
                    self.bytes_read = stream.bytes_read
                    if isinstance(part, Chat):
                        position += 1
                    elif not part or is_wanted(chats[position]):
                        messages = [to_message(item) for item in part]
                        self.lost += messages.count(None)
                        yield ChatBatch(chats[position], [message for message in messages if message is not None])
            except DamagedJson:
                self.truncated = True
            self.repaired = stream.repaired


def has_keys(keys: Collection[str]) -> bool:
    return bool(ACCOUNT_KEYS.intersection(keys)) or ("messages" in keys and bool(CHAT_KEYS.intersection(keys)))


FORMAT = ChatFormat("telegram", Export, has_keys=has_keys)
