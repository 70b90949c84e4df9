"""Where one large export can be cut, so that several processes read a part each.

A part may begin with any message that begins a session, or with a chat's first message, so
no session is in two parts. Whether a message begins a session is told by the very code
that forms sessions, fed from somewhere before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

from finetune.formats.telegram_message import UNDECODABLE, AnyMessage, Chat, decode_message
from finetune.formats.telegram_part import Part
from finetune.formats.telegram_places import BORDER, MAX_HEADER_BYTES, find_messages_key, is_whole_head, read_header

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
        heads = Heads(fd, size)
        for target in targets:
            current, following = heads.around(target)
            found = None
            if current is not None and is_wanted(current[0]):
                end = min(following[1] if following else size, target + SEARCHED_BYTES)
                at = first_session(os.pread(fd, end - target, target), partial(begins_session, current[0]))
                if at is not None:
                    found = (target + at, target + at + 1, current[0])
            if found is None:
                following = following or heads.behind(target)
                if following is None:
                    continue
                found = (following[1], following[1], following[0])
            if not cuts or found[1] > cuts[-1][1]:
                cuts.append(found)
    starts: list[tuple[int, Chat | None]] = [(0, None), *((start, chat) for _, start, chat in cuts)]
    ends = [*(end for end, _, _ in cuts), size]
    return [
        Part(start, end, chat, end == size, heads.ids_before(chat))
        for (start, chat), end in zip(starts, ends, strict=True)
    ]


class Heads:
    """Each chat of a file with the place where its messages begin, looked for only as far as is asked."""

    def __init__(self, fd: int, size: int):
        self.fd, self.size = fd, size
        self.found: list[tuple[Chat, int]] = []
        self._scanned = 0
        self._tail = b""

    def around(self, place: int) -> tuple[tuple[Chat, int] | None, tuple[Chat, int] | None]:
        """The last chat that begins before `place`, and the next one if it begins within what is searched there."""
        while self._scanned < min(self.size, place + SEARCHED_BYTES):
            self._scan()
        before = [head for head in self.found if head[1] <= place]
        return before[-1] if before else None, self._first_behind(place)

    def ids_before(self, chat: Chat | None) -> tuple[int, ...]:
        """Of the chats before that one."""
        return tuple(head.id for head, _ in self.found[: chat.position if chat is not None else 0])

    def behind(self, place: int) -> tuple[Chat, int] | None:
        """The next chat."""
        while self._first_behind(place) is None and self._scanned < self.size:
            self._scan()
        return self._first_behind(place)

    def _first_behind(self, place: int) -> tuple[Chat, int] | None:
        return next((head for head in self.found if head[1] > place), None)

    def _scan(self) -> None:
        """Look through one more block."""
        block = os.pread(self.fd, SCANNED_BYTES, self._scanned)
        buffer, offset, low = self._tail + block, self._scanned - len(self._tail), 0
        while key := find_messages_key(buffer, low):
            low = key[1]
            if offset + low > self._scanned:  # else it was found in the block before
                start = max(0, offset + key[0] - MAX_HEADER_BYTES)
                head = os.pread(self.fd, offset + key[0] - start, start)
                chat = read_header(head)
                if chat is None:
                    continue
                chat.position = len(self.found)
                self.found.append((chat, offset + low))
                if chat.position == start == 0 and is_whole_head(head):
                    self._scanned = self.size  # of a single chat: no other one can follow
                    return
        self._scanned += len(block) or self.size
        self._tail = buffer[-KEY_BYTES:]


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
