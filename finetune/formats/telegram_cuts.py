"""Where one large export can be cut, so that several processes read a part each.

A part may begin with any message that begins a session, or with a chat's first message, so
no session is in two parts. Whether a message begins a session is told by the very code
that forms sessions, fed from somewhere before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

from finetune.formats.telegram import BORDER, MAX_HEADER_BYTES, find_messages_key, read_header
from finetune.formats.telegram_message import UNDECODABLE, AnyMessage, Chat, decode_message
from finetune.formats.telegram_part import Part

SEARCHED_BYTES = 4 * 1024 * 1024  # in which a session has to begin, or the cut is not made
SCANNED_BYTES = 1024 * 1024
KEY_BYTES = 256  # room for the key `messages` with its white space

Begins = Callable[[AnyMessage], bool]  # is fed messages in order; does this one surely begin a session?


def cut(
    path: Path, count: int, is_wanted: Callable[[Chat], bool], begins_session: Callable[[Chat], Begins]
) -> list[Part]:
    """At most `count` parts of about the same size, in order, which together are the file.

    begins_session: makes, for a chat, a function that is fed its messages in order from
    anywhere, and says of each whether it surely begins a session.
    """
    size = path.stat().st_size
    targets = [size * number // count for number in range(1, count)]
    cuts: list[tuple[int, int, Chat]] = []  # where one part ends, where the next begins, and in which chat
    with open(path, "rb") as file:
        fd = file.fileno()
        heads = chat_heads(fd, size)
        chat, begin = Chat(), 0
        upcoming = next(heads, None)
        for target in targets:
            while upcoming is not None and upcoming[1] <= target:
                chat, begin = upcoming
                upcoming = next(heads, None)
            chat_end = upcoming[1] if upcoming else size
            at = None
            if begin and is_wanted(chat):
                end = min(chat_end, target + SEARCHED_BYTES)
                at = first_session(os.pread(fd, end - target, target), partial(begins_session, chat))
            if at is not None:
                found = (target + at, target + at + 1, chat)
            elif upcoming is not None:
                found = (chat_end, chat_end, upcoming[0])
            else:
                continue
            if not cuts or found[1] > cuts[-1][1]:
                cuts.append(found)
    starts: list[tuple[int, Chat | None]] = [(0, None), *((start, chat) for _, start, chat in cuts)]
    ends = [*(end for end, _, _ in cuts), size]
    return [Part(start, end, chat, end == size) for (start, chat), end in zip(starts, ends, strict=True)]


def chat_heads(fd: int, size: int) -> Iterator[tuple[Chat, int]]:
    """Each chat with the place where its messages begin."""
    position, at, tail = 0, 0, b""
    while at < size:
        block = os.pread(fd, SCANNED_BYTES, at)
        if not block:
            return
        buffer, offset = tail + block, at - len(tail)
        low = 0
        while key := find_messages_key(buffer, low):
            low = key[1]
            if offset + low > at:  # else it was found in the block before
                before = min(MAX_HEADER_BYTES, offset + key[0])
                chat = read_header(os.pread(fd, before, offset + key[0] - before))
                chat.position, position = position, position + 1
                yield chat, offset + low
        at += len(block)
        tail = buffer[-KEY_BYTES:]


def first_session(window: bytes, begins_session: Callable[[], Begins]) -> int | None:
    """Offset of the comma before the first message in `window` that begins a session, if there is one."""
    begins = begins_session()
    commas = [border.start(1) for border in BORDER.finditer(window)]
    for low, high in pairwise(commas):
        try:
            message = decode_message(window[low + 1 : high])
        except UNDECODABLE:
            begins = begins_session()  # what it says once it is mended is not known here
            continue
        if begins(message):
            return low
    return None
