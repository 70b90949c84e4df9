"""A channel as DiscordChatExporter writes it in JSON.

    {"guild": {…}, "channel": {"id": "…", "type": "DirectTextChat", …}, "messages": [
        {"id": "…", "type": "Default", "timestamp": "…", "content": "…", "author": {"id": "…", "name": "…", …}}]}

Ids are texts. Nobody is named as the owner. Messages of bots are dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune.formats.chat_export import ChatBatch
from finetune.formats.format import ChatFormat
from finetune.formats.json_stream import DamagedJson
from finetune.formats.mending_stream import MendingStream
from finetune.formats.telegram_message import AnyMessage, Chat, Message, Service

BATCH = 500
SAID = ("Default", "Reply")
PRIVATE = ("DirectTextChat", "DM")


class Discord:
    """One exported channel. See ChatExport."""

    tells_owner = False

    def __init__(self, path: Path):
        self.path = path
        self.bytes_read = self.repaired = self.lost = 0
        self.truncated = False

    def batches(self, is_wanted: Callable[[Chat], bool] = lambda chat: True) -> Iterator[ChatBatch]:
        """The messages in the order of the file, whose head stands before them."""
        self.repaired, self.lost, self.truncated = 0, 0, False
        head: dict[str, Any] = {}
        with open(self.path, "rb") as file:
            stream = MendingStream(file)
            try:
                for key in stream.members():
                    if key == "messages" and stream.peek() == "[":
                        yield from self._read(stream, to_chat(head), is_wanted)
                    else:
                        head[key] = stream.value()
            except DamagedJson:
                self.truncated = True
            self.repaired = stream.repaired

    def _read(self, stream: MendingStream, chat: Chat, is_wanted: Callable[[Chat], bool]) -> Iterator[ChatBatch]:
        yield ChatBatch(chat, [])
        wanted = is_wanted(chat)
        batch: list[AnyMessage] = []
        try:
            for value in stream.messages():
                message = to_message(value)
                self.bytes_read = stream.bytes_read
                self.lost += message is None
                if wanted and message is not None:
                    batch.append(message)
                if len(batch) == BATCH:
                    yield ChatBatch(chat, batch)
                    batch = []
        except DamagedJson:
            yield ChatBatch(chat, batch)
            raise
        yield ChatBatch(chat, batch)


def to_chat(head: dict[str, Any]) -> Chat:
    channel = head.get("channel")
    about: dict[str, Any] = channel if isinstance(channel, dict) else {}
    kind = "personal_chat" if str(about.get("type")) in PRIVATE else "private_group"
    return Chat(name=str(about.get("name") or ""), type=kind, id=number_of(about.get("id")))


def to_message(value: Any) -> AnyMessage | None:
    """None: it cannot be read."""
    if not isinstance(value, dict) or not isinstance(author := value.get("author"), dict):
        return None
    text = value.get("content")
    if value.get("type", "Default") not in SAID:
        return Service()
    try:
        time = int(
            datetime.fromisoformat(str(value.get("timestamp"))).replace(tzinfo=None).replace(tzinfo=UTC).timestamp()
        )
    except (ValueError, OverflowError):
        time = 0
    is_bot = bool(author.get("isBot"))
    name = author.get("nickname") or author.get("name")
    reference = value.get("reference")
    message = Message(
        id=number_of(value.get("id")),
        reply_to=number_of(reference.get("messageId")) if isinstance(reference, dict) else 0,
        author=str(name) if name else None,
        author_id=str(author.get("id")),
        time=time,
        text="" if is_bot or not isinstance(text, str) else text,
        media_type="bot" if is_bot else "attachment" if value.get("attachments") or value.get("stickers") else "",
    )
    if value.get("forwardedMessage"):
        message.forwarded_from = None
    return message


def number_of(id: Any) -> int:
    """Ids are texts of digits; 0 for anything else."""
    return int(id) if isinstance(id, str) and id.isascii() and id.isdigit() and len(id) < 20 else 0


def has_keys(keys: Collection[str]) -> bool:
    return not {"guild", "channel"}.isdisjoint(keys) and not {"messages", "dateRange"}.isdisjoint(keys)


FORMAT = ChatFormat("discord", Discord, has_keys=has_keys)
