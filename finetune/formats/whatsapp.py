"""WhatsApp's `_chat.txt` or `WhatsApp Chat with ….txt`.

    [31.12.24, 21:15:02] Name: text          iOS
    12/31/24, 9:15 PM - Name: text           Android

Day and month stand in the order of the phone's language; the file itself tells which, by a
number above 12 or by how time goes on. Lines without a date go on with the message above. A
line without `: ` after the date is the program speaking, and so are others that
`whatsapp_words` knows. Nobody is named as the owner.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path, PurePath

from finetune.formats.chat_export import ChatBatch
from finetune.formats.format import ChatFormat
from finetune.formats.telegram_message import AnyMessage, Chat, Message, Service
from finetune.formats.whatsapp_words import MARK, SYSTEM, what_is_said

Stamp = tuple[str, ...]

BATCH = 500
UNNAMED = "_chat"
_MARKS = dict.fromkeys(map(ord, "\u200f\u202a\u202c\ufeff"))  # all but MARK, which tells something
_SPACES = str.maketrans({"\u202f": " ", "\u00a0": " "})
_STAMP = (
    r"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})\.?,? (?:[^\W\d_]{1,5} )?"
    r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?: ?([AaPp])\.? ?[Mm]\.?)?"
)
_LINE = re.compile(rf"{MARK}*(?:\[{_STAMP}\] |{_STAMP} - )(.*)", re.DOTALL)


class WhatsApp:
    """One exported chat. See ChatExport."""

    tells_owner = False

    def __init__(self, path: Path):
        self.path = path
        self.name = path.stem
        self.bytes_read = self.repaired = self.lost = 0
        self.truncated = False
        self.order = find_order(path)

    def batches(self, is_wanted: Callable[[Chat], bool] = lambda chat: True) -> Iterator[ChatBatch]:
        """The messages in the order of the file."""
        self.bytes_read = self.lost = 0
        people = self._people()
        chat = Chat(name=self.name, type="personal_chat" if people <= 2 else "private_group")
        yield ChatBatch(chat, [])
        batch: list[AnyMessage] = []
        for stamp, rest in self._messages():
            batch.append(to_message(stamp, rest, self.order))
            if len(batch) == BATCH and is_wanted(chat):
                yield ChatBatch(chat, batch)
                batch = []
        if is_wanted(chat):
            yield ChatBatch(chat, batch)

    def _people(self) -> int:
        names = set()
        for _, rest in self._messages():
            name, colon, text = rest.partition(": ")
            if colon and name not in names and what_is_said(text)[0] != SYSTEM:
                names.add(name)
            if len(names) > 2:
                break
        return len(names)

    def _messages(self) -> Iterator[tuple[Stamp, str]]:
        """(the seven parts of its date, what stands behind it) of each message."""
        stamp: Stamp | None = None
        rest = ""
        self.bytes_read = 0
        with open(self.path, "rb") as file:
            for raw in file:
                self.bytes_read += len(raw)
                line = raw.decode("utf-8", "replace").rstrip("\r\n").translate(_MARKS)
                found = split_line(line)
                if found is None:
                    rest += f"\n{line}"
                    continue
                if stamp is not None:
                    yield stamp, rest
                elif rest.strip():  # the end of a message whose beginning is not there
                    self.lost = 1
                stamp, rest = found
        if stamp is not None:
            yield stamp, rest


def name_of(file: str) -> str:
    """What a chat is called whose file is called `file`; an iPhone says it in the name of the folder."""
    place = PurePath(file)
    return place.parent.name if place.stem == UNNAMED and place.parent.name else place.stem


def is_whatsapp(head: str) -> bool:
    """Do at least two of the first lines begin with a date as WhatsApp writes it?"""
    lines = head.splitlines()[:40]
    return sum(split_line(line.translate(_MARKS)) is not None for line in lines) >= min(2, len(lines))


def split_line(line: str) -> tuple[Stamp, str] | None:
    """(the seven parts of its date, what stands behind it) of a message's first line."""
    line = line.translate(_SPACES)
    found = _LINE.match(line) or (_LINE.match(line.replace(MARK, "")) if MARK in line else None)
    if found is None:
        return None
    parts = found.groups()
    return (parts[:7] if parts[0] else parts[7:14]), parts[14]


def to_message(stamp: Stamp, rest: str, order: str) -> Message | Service:
    name, colon, raw = rest.partition(": ")
    kind, text = what_is_said(raw)
    if not colon or kind == SYSTEM:
        return Service()
    name = name.replace(MARK, "").removeprefix("~").strip()
    return Message(author=name, author_id=name, time=unix_time(stamp, order), text=text, media_type=kind)


def find_order(path: Path) -> str:
    """`dmy`, `mdy` or `ymd`: the order that fits every date of the file's beginning, and in which time goes on.

    Where both do, the one with the smaller steps; where they are alike, the one of those who write AM and PM large.
    """
    with open(path, "rb") as file:
        head = file.read(1 << 20).decode("utf-8", "replace").translate(_MARKS)
    stamps = [found[0] for line in head.splitlines() if (found := split_line(line))]
    if stamps and len(stamps[0][0]) == 4:
        return "ymd"
    if any(int(stamp[0]) > 12 for stamp in stamps):
        return "dmy"
    if any(int(stamp[1]) > 12 for stamp in stamps):
        return "mdy"
    is_large = any(stamp[6] and stamp[6] in "AP" for stamp in stamps)
    return min(("mdy", "dmy") if is_large else ("dmy", "mdy"), key=lambda order: _steps(stamps, order))


def _steps(stamps: list[Stamp], order: str) -> tuple[int, int]:
    """(how often time goes back, seconds of all steps)"""
    times = [unix_time(stamp, order) for stamp in stamps]
    steps = [after - before for before, after in pairwise(times)]
    return sum(step < 0 for step in steps), sum(map(abs, steps))


def unix_time(stamp: Stamp, order: str) -> int:
    """Seconds, the local time read as if it were UTC; 0 for a date that does not exist."""
    first, second, third, hour, minute, seconds, half = stamp
    day, month, year = {"dmy": (first, second, third), "mdy": (second, first, third), "ymd": (third, second, first)}[
        order
    ]
    hours = int(hour)
    if half:
        hours = hours % 12 + (12 if half in "Pp" else 0)
    full_year = int(year) + (2000 if int(year) < 100 else 0)
    try:
        moment = datetime(full_year, int(month), int(day), hours, int(minute), int(seconds or 0), tzinfo=UTC)
    except ValueError:
        return 0
    return int(moment.timestamp())


FORMAT = ChatFormat("whatsapp", WhatsApp, is_text=is_whatsapp)
