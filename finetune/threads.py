"""Which conversation a message belongs to, where a reply counts for more than its place in the chat.

- A message that replies to an earlier one goes into the conversation of that one, however
  much has been said since, and however long ago it was.
- In a group several people may be waiting for an answer. The owner's reply to one of them
  takes that one's messages out of the common question into a conversation of their own.
- Any other message goes on with the conversation of the message before it, or after a
  pause begins a new one.

Memory is bounded: a chat has at most `MAX_OPEN` conversations open, with about `MAX_WAITING`
messages in them, and `MAX_REMEMBERED` messages can be replied to. A reply to a conversation
that is written already begins a new dialog of the same conversation; one to a message that
is forgotten counts as any other message.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET

from finetune.conversation import Conversation, Writer
from finetune.formats.telegram_message import Message

MAX_OPEN = 50
MAX_WAITING = 20_000
MAX_REMEMBERED = 20_000

Place = tuple[Conversation, int, Writer]  # which turn of it, and whose message it is


class Threads:
    """The open conversations of one chat. `end` is called with each that is over."""

    def __init__(self, gap_seconds: int, end: Callable[[Conversation], None]):
        self.gap_seconds = gap_seconds
        self.end = end
        self._open: dict[Conversation, None] = {}  # the one that spoke last stands last
        self._places: dict[int, Place] = {}  # of messages, by their ids
        self._now: Conversation | None = None

    def conversation_of(self, message: Message, is_owner: bool, time: int, last_time: int) -> Conversation:
        """Where `message` belongs. time, last_time: of it and the one before, in Unix seconds."""
        is_reply = message.reply_to and message.reply_peer is UNSET
        place = self._places.get(message.reply_to) if is_reply else None
        if place is not None:
            chosen = self._thread_of(place, is_owner)
        elif self._now is None or time - last_time >= self.gap_seconds:
            chosen = Conversation(time)
        else:
            return self._now
        self._open.pop(chosen, None)
        self._open[chosen] = None
        self._now = chosen
        self._end_oldest()
        return chosen

    def remember(self, message: Message, conversation: Conversation) -> None:
        """`message` has become a part of `conversation`."""
        conversation.said.append((message.id, message.author_id))
        self._places[message.id] = (conversation, conversation.turn, message.author_id)
        if len(self._places) > MAX_REMEMBERED:
            del self._places[next(iter(self._places))]

    def end_all(self) -> None:
        """The chat is over."""
        for conversation in self._open:
            self.end(conversation)
        self._open, self._places, self._now = {}, {}, None

    def _thread_of(self, place: Place, is_owner: bool) -> Conversation:
        conversation, turn, author = place
        if conversation.ended:
            return Conversation(conversation.began)
        waits = turn == conversation.turn and not conversation.is_answer
        if is_owner and waits and any(other != author for _, other in conversation.said):
            taken = conversation.take_out(author)
            for number, writer in taken.said:
                self._places[number] = (taken, taken.turn, writer)
            return taken
        return conversation

    def _end_oldest(self) -> None:
        waiting = sum(one.messages for one in self._open)
        while len(self._open) > 1 and (len(self._open) > MAX_OPEN or waiting > MAX_WAITING):
            oldest = next(iter(self._open))
            del self._open[oldest]
            waiting -= oldest.messages
            self.end(oldest)
