"""The chats of a Telegram export, numbered; and what a chat is that does not say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from finetune.formats.chat_export import ChatBatch
from finetune.formats.telegram_message import AnyMessage, Chat, Message, Writer
from finetune.formats.telegram_part import Part

PERSONAL, GROUP = "personal_chat", "private_group"
MOST_OF_A_PERSONAL_CHAT = 2


class Untold:
    """The only chat of a file, which does not say its kind: personal, or a group if more than two write in it.

    has_peer: one of them is the other side, by the chat's id.
    """

    def __init__(self, chat: Chat, writers: set[Writer]):
        self.kind = PERSONAL if len(writers) <= MOST_OF_A_PERSONAL_CHAT else GROUP
        self.has_peer = bool(chat.id and {f"user{chat.id}", chat.id, str(chat.id)} & writers)


def add_writers(messages: Iterable[AnyMessage | None], writers: set[Writer]) -> None:
    """Until there are too many for a personal chat."""
    for message in messages:
        if isinstance(message, Message) and len(writers) <= MOST_OF_A_PERSONAL_CHAT:
            writers.add(message.author_id)


class HeadCounter:
    """Numbers the chats of a file, or of a part of it. count: those before and in it."""

    def __init__(self, part: Part | None, untold: Untold | None):
        self.count = part.chat.position if part is not None and part.chat is not None else 0
        self._ids = Counter(part.ids_before if part is not None else ())
        self._untold = untold

    def numbered(self, chat: Chat) -> Chat:
        if self._untold is not None and self.count == 0:
            chat.type = self._untold.kind
        chat.position, chat.twin = self.count, self._ids[chat.id]
        self.count += 1
        self._ids[chat.id] += 1
        return chat

    def unknown(self) -> ChatBatch:
        """A chat whose beginning was not found, so that nothing is known of it."""
        return ChatBatch(self.numbered(Chat()), [])
