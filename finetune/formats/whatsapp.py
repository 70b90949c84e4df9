"""WhatsApp's `_chat.txt` or `WhatsApp Chat with ….txt`.

    [31.12.24, 21:15:02] Name: text          iOS
    12/31/24, 9:15 PM - Name: text           Android

Day and month stand in the order of the phone's language; the file itself tells which, by a
number above 12 or by the dates not going back. Lines without a date go on with the message
above. A line without `: ` after the date is the program speaking. Nobody is named as the owner.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from finetune.formats.chat_export import ChatBatch
from finetune.formats.telegram_message import AnyMessage, Chat, Message, Service

BATCH = 500
_MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202c\ufeff"))
_SPACES = str.maketrans({"\u202f": " ", "\u00a0": " "})
_STAMP = (
    r"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})\.?,? (?:at )?"
    r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?: ?([AaPp])\.? ?[Mm]\.?)?"
)
_LINE = re.compile(rf"(?:\[{_STAMP}\] |{_STAMP} - )(.*)", re.DOTALL)
_MEDIA = re.compile(
    r"<?(?:media omitted|без медиафайлов|медиа пропущены|"
    r"(?:image|video|audio|sticker|gif|document|contact card) omitted|"
    r"(?:изображение|видео|аудио|стикер|gif|документ) (?:пропущено|пропущен|отсутствует)|"
    r"attached: [^>]+|прикреплено: [^>]+|null)>?",
    re.IGNORECASE,
)
_DELETED = re.compile(
    r"(?:this message was deleted|you deleted this message|"
    r"сообщение удалено|вы удалили это сообщение|данное сообщение удалено)\.?",
    re.IGNORECASE,
)
_EDITED = re.compile(r"\s*<(?:this message was edited|сообщение изменено)>\s*$", re.IGNORECASE)


class WhatsApp:
    """One exported chat. See ChatExport."""

    tells_owner = False

    def __init__(self, path: Path):
        self.path = path
        self.bytes_read = self.repaired = self.lost = 0
        self.truncated = False
        self.order = find_order(path)

    def batches(self, is_wanted: Callable[[Chat], bool] = lambda chat: True) -> Iterator[ChatBatch]:
        """The messages in the order of the file."""
        self.bytes_read = 0
        people = self._people()
        chat = Chat(name=self.path.stem, type="personal_chat" if people <= 2 else "private_group")
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
            name, colon, _ = rest.partition(": ")
            if colon:
                names.add(name)
            if len(names) > 2:
                break
        return len(names)

    def _messages(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """(the seven parts of its date, what stands behind it) of each message."""
        stamp: tuple[str, ...] | None = None
        rest = ""
        self.bytes_read = 0
        with open(self.path, "rb") as file:
            for raw in file:
                self.bytes_read += len(raw)
                line = raw.decode("utf-8", "replace").rstrip("\r\n").translate(_MARKS)
                found = _LINE.match(line.translate(_SPACES))
                if found is None:
                    rest += f"\n{line}"
                    continue
                if stamp is not None:
                    yield stamp, rest
                parts = found.groups()
                stamp, rest = (parts[:7] if parts[0] else parts[7:14]), parts[14]
        if stamp is not None:
            yield stamp, rest


def is_whatsapp(head: str) -> bool:
    """Do at least two of the first lines begin with a date as WhatsApp writes it?"""
    lines = [line.translate(_MARKS).translate(_SPACES) for line in head.splitlines()[:40]]
    return sum(_LINE.match(line) is not None for line in lines) >= min(2, len(lines))


def to_message(stamp: tuple[str, ...], rest: str, order: str) -> Message | Service:
    name, colon, text = rest.partition(": ")
    if not colon:
        return Service()
    name = name.removeprefix("~").strip()
    text = _EDITED.sub("", text)
    media = ""
    if _DELETED.fullmatch(text.strip()):
        text, media = "", "deleted"
    elif _MEDIA.fullmatch(text.strip()):
        text, media = "", "media"
    return Message(author=name, author_id=name, time=unix_time(stamp, order), text=text, media_type=media)


def find_order(path: Path) -> str:
    """`dmy`, `mdy` or `ymd`: the order that fits every date of the file's beginning, and in which time goes on."""
    with open(path, "rb") as file:
        head = file.read(1 << 20).decode("utf-8", "replace").translate(_MARKS).translate(_SPACES)
    stamps = []
    for line in head.splitlines():
        if found := _LINE.match(line):
            parts = found.groups()
            stamps.append(parts[:7] if parts[0] else parts[7:14])
    if stamps and len(stamps[0][0]) == 4:
        return "ymd"
    if any(int(stamp[0]) > 12 for stamp in stamps):
        return "dmy"
    if any(int(stamp[1]) > 12 for stamp in stamps):
        return "mdy"
    return min(("dmy", "mdy"), key=lambda order: _steps_back(stamps, order))


def _steps_back(stamps: list[tuple[str, ...]], order: str) -> int:
    times = [unix_time(stamp, order) for stamp in stamps]
    return sum(after < before for before, after in pairwise(times))


def unix_time(stamp: tuple[str, ...], order: str) -> int:
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
