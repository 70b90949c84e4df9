"""Messages among bytes of a Telegram export that do not decode as a whole: each is read, mended or counted as lost."""

from __future__ import annotations

import re
from itertools import pairwise

import msgspec

from finetune.formats.telegram_message import UNDECODABLE, AnyMessage, decode_message, mend, parse_leniently, to_message
from finetune.formats.telegram_places import BORDER, MESSAGE_START, MESSAGES_KEY, OPEN_MESSAGE, end_of_value

MOST_SEARCHED = 100  # values without an end in one piece whose end is looked for

_SEPARATORS = re.compile(rb"[\s,]*")
_SCALAR = re.compile(rb'(?:"[^"\\]*(?:\\.[^"\\]*)*"|[^\s,{}\[\]":]+)(?=\s*(?:[,\]]|\Z))', re.DOTALL)
_NEXT_CHAT = re.compile(rb"\]\s*\}\s*,\s*\{(?!\s*" + MESSAGE_START.pattern + rb")")


class Salvage:
    """Collects what can be read. `repaired` of the `messages` were invalid JSON, `lost` ones are not among them.

    left_chat: then came messages of another chat whose beginning could not be told, so they are not among them either.
    """

    def __init__(self) -> None:
        self.messages: list[AnyMessage] = []
        self.repaired = self.lost = 0
        self.left_chat = False

    def read(self, raw: bytes | bytearray) -> int:
        """Take messages separated by commas, up to the end of their array; returns where that is."""
        cuts = [-1, *(border.start(1) for border in BORDER.finditer(raw)), len(raw)]
        for low, high in pairwise(cuts):
            if self._take(raw[low + 1 : high]):
                continue
            at = self.read_values(raw, low + 1, high)
            while at < high and not self.left_chat:  # something that ends the array, or is not meant to
                following = OPEN_MESSAGE.search(raw, at + 1)
                if _NEXT_CHAT.match(raw, at):
                    self.left_chat = following is not None
                    return at
                if following is None:
                    return at
                at = self.read_values(raw, following.start(), high) if following.start() < high else high
            if self.left_chat:
                return at
        return len(raw)

    def read_values(self, raw: bytes | bytearray, low: int, high: int) -> int:
        """Take values one by one, by their brackets, up to the end of their array; returns where that is.

        Of what cannot be read only that is lost which stands before the next message's beginning.
        """
        endless = 0
        while True:
            at = _end(_SEPARATORS, raw, low, high)
            if at >= high or raw[at] in b"]}":
                return at
            low = high
            if raw[at] not in b"{[":
                low = _end(_SCALAR, raw, at, high) or high
            elif endless < MOST_SEARCHED:
                end = end_of_value(raw, at)
                if end is None or end > high:
                    endless += 1
                elif self._take(raw[at:end]):
                    low = end
                    continue
                else:
                    low = end
            self.lost += 1
            following = OPEN_MESSAGE.search(raw, at + 1, low)
            if following and MESSAGES_KEY.search(raw, at, following.start()):
                self.left_chat = True
                return at
            low = following.start() if following else low

    def _take(self, raw: bytes | bytearray) -> bool:
        """False: it is no message that can be read."""
        message = read_message(raw)
        if message is None and not MESSAGES_KEY.search(raw):
            message = parse_leniently(mend(raw))
            self.repaired += message is not None
        if message is not None:
            self.messages.append(message)
        return message is not None


def read_message(raw: bytes | bytearray) -> AnyMessage | None:
    """One message of valid JSON."""
    try:
        return decode_message(raw)
    except UNDECODABLE:
        try:
            return to_message(msgspec.json.decode(raw))
        except UNDECODABLE:
            return None


def _end(pattern: re.Pattern[bytes], raw: bytes | bytearray, low: int, high: int) -> int:
    """Where the match at `low` ends, 0 if there is none."""
    found = pattern.match(raw, low, high)
    return found.end() if found else 0
