"""What one chat and one message are in Telegram's export, and how broken ones are mended."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

Writer = str | int | None  # an author's id

_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|([\"\\/bfnrtu])|)")
_LINE_SEPARATOR_REST = re.compile(rb"(\\u202[89])(?:\x80[\xa8\xa9])")


NAMES = {
    "time": "date_unixtime",
    "author_id": "from_id",
    "author": "from",
    "reply_to": "reply_to_message_id",
    "reply_peer": "reply_to_peer_id",
}
KINDS_OF_CHATS = frozenset({
    "personal_chat", "bot_chat", "private_group", "private_supergroup", "public_supergroup", "private_channel",
    "public_channel", "saved_messages", "replies", "verification_codes", None,
})  # fmt: skip
UNKNOWN = "unknown"
KINDS = ("message", "service", "unsupported")
MARKERS = {
    "photo": "[photo]", "voice_message": "[voice message]", "video_message": "[video message]", "sticker": "[sticker]",
    "animation": "[animation]", "video_file": "[video]", "audio_file": "[audio]", "file": "[file]", "poll": "[poll]",
    "location": "[location]", "contact": "[contact]", "attachment": "[attachment]", "media": "[media]",
}  # fmt: skip
END_OF_TIME = 1 << 32  # Telegram's own times have 32 bits


class Chat(msgspec.Struct):
    """The head of a chat. `type` is null in some exports; UNSET: it stands behind the messages."""

    name: str | None = None
    type: str | UnsetType | None = UNSET
    id: int = 0
    position: int = 0  # counted from 0 over the whole file
    twin: int = 0  # chats of the same id before it in the file

    @property
    def kind(self) -> str:
        return self.type if isinstance(self.type, str) else UNKNOWN


class Entity(msgspec.Struct, gc=False):
    """A formatted piece of a text."""

    text: str | None = ""


class BriefMessage(msgspec.Struct, gc=False, tag="message", tag_field="type", rename=NAMES):
    """What of a message matters where neither names nor replies do. Fields that it lacks: see `Message`.

    `forwarded_from` may be null and is still a forward, so its presence is what counts.
    """

    time: Annotated[int, msgspec.Meta(gt=0, lt=END_OF_TIME)]  # Unix seconds
    author_id: str | int | None
    text: str | list[str | Entity | None] | None
    forwarded_from: str | UnsetType | None = UNSET
    saved_from: str | UnsetType | None = UNSET
    photo: str | None = ""
    file: str | None = ""
    media_type: str | None = ""
    poll: Any = UNSET
    location_information: Any = UNSET
    contact_information: Any = UNSET

    def is_forward(self) -> bool:
        return self.forwarded_from is not UNSET or self.saved_from is not UNSET

    def joined_text(self) -> str:
        """The text as one string, whatever form it has in the file."""
        if isinstance(self.text, str):
            return self.text
        parts: Any = self.text
        try:
            return "".join([part if isinstance(part, str) else part.text for part in parts])
        except (TypeError, AttributeError):  # something in it is null, which is seldom
            texts = [part.text if isinstance(part, Entity) else part for part in parts or ()]
            return "".join(filter(None, texts))

    def time_of_date(self) -> int:
        """There is a time."""
        return self.time

    def media(self) -> str:
        """What a message without text is: sticker, voice_message, photo, file, poll, ... or empty."""
        if self.media_type:
            return self.media_type
        if self.photo:
            return "photo"
        if self.file:
            return "file"
        for name in ("poll", "location_information", "contact_information"):
            if getattr(self, name) is not UNSET:
                return name.removesuffix("_information")
        return "empty"


class Message(BriefMessage, gc=False, tag="message", tag_field="type", rename=NAMES):
    """One message, with Telegram's fields that matter here; each of them may be missing. `time` 0: not given.

    reply_to: the id of a message, 0: none; of another chat if there is a `reply_peer`.
    """

    id: int = 0
    date: str = ""
    time: Annotated[int, msgspec.Meta(ge=0, lt=END_OF_TIME)] = 0
    author: str | None = None
    author_id: str | int | None = None
    reply_to: int = 0
    reply_peer: Any = UNSET
    text: str | list[str | Entity | None] | None = ""

    def time_of_date(self) -> int:
        """`time` for exports older than `date_unixtime`: the local date read as if it were UTC."""
        try:
            return int(datetime.fromisoformat(self.date).replace(tzinfo=UTC).timestamp())
        except (ValueError, OverflowError):
            return 0


class Service(msgspec.Struct, gc=False, tag="service", tag_field="type"):
    """Somebody joined, called, pinned: nothing to learn from."""

    text: ClassVar[str] = ""
    file: ClassVar[str] = ""

    def media(self) -> str:
        return "service"


class Unsupported(msgspec.Struct, gc=False, tag="unsupported", tag_field="type"):
    """What the exporting program did not know: it has no date and no text."""

    text: ClassVar[str] = ""
    file: ClassVar[str] = ""

    def media(self) -> str:
        return "unsupported"


SIDE_FIELDS = frozenset({
    "id", "date", "date_unixtime", "reply_to_message_id", "forwarded_from", "saved_from", "photo", "file", "media_type",
})  # fmt: skip
FORWARDED = frozenset({"forwarded_from", "saved_from"})

FullMessage = Message | Service | Unsupported
AnyMessage = BriefMessage | FullMessage
Batch = Sequence[AnyMessage]

decode_brief = msgspec.json.Decoder(list[BriefMessage | Service | Unsupported], strict=False).decode
decode_batch = msgspec.json.Decoder(list[FullMessage], strict=False).decode
decode_message = msgspec.json.Decoder(FullMessage, strict=False).decode
decode_chat = msgspec.json.Decoder(Chat).decode
UNDECODABLE = (ValueError, RecursionError)  # msgspec's and json's errors are ValueErrors


def mend(raw: bytes | bytearray) -> bytes:
    r"""Make JSON of what Telegram writes for it: `\x0B` escapes and bytes left over behind \u2028."""

    def escape(found: re.Match[bytes]) -> bytes:
        if found[1]:
            return rb"\u00" + found[1]
        return found[0] if found[2] else rb"\\"

    raw = _ESCAPE.sub(escape, _LINE_SEPARATOR_REST.sub(rb"\1", raw))
    return raw.decode("utf-8", "replace").encode()


def parse_leniently(raw: bytes | bytearray) -> AnyMessage | None:
    """The standard library takes NaN, raw control characters and lone surrogates, which msgspec refuses."""
    try:
        return to_message(json.loads(raw, strict=False))
    except UNDECODABLE:
        return None


def to_message(value: Any) -> AnyMessage | None:
    """Of a parsed value; None if it does not tell who says what.

    A message of another kind is one that the exporting program did not know. Other fields that are not as they
    should be, such as a time that cannot be, count as missing.
    """
    try:
        return msgspec.convert(value, FullMessage, strict=False)
    except UNDECODABLE:
        return _tolerantly(value) if isinstance(value, dict) else None


def _tolerantly(value: dict[str, Any]) -> AnyMessage | None:
    kind = value.get("type")
    if isinstance(kind, str) and kind not in KINDS:
        return Unsupported()
    fields = {name: item for name, item in value.items() if name not in SIDE_FIELDS or _fits(name, item)}
    if value.keys() & FORWARDED:
        fields["forwarded_from"] = None  # whatever it says of whom
    try:
        return msgspec.convert(fields, FullMessage, strict=False)
    except UNDECODABLE:
        return None


def _fits(name: str, value: Any) -> bool:
    try:
        msgspec.convert({"type": "message", name: value}, Message, strict=False)
    except UNDECODABLE:
        return False
    return True
