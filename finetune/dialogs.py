"""How a stream of chat messages becomes dialogs, one message at a time.

    chat      messages of one conversation partner or group, in order
    session   messages without a long pause; one conversation of the dataset
    turn      consecutive messages of one side, joined with line breaks
    dialog    at most so many turns of one session, from a question to an answer

The owner's turns are the assistant's, everybody else's are the user's. What is left out
is counted by reason, in messages: those read are those used plus those dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from engines.config import PrepareConfig
from finetune.formats.dialog import Dialog, Turn
from finetune.formats.telegram_message import Batch, Chat, Message, Service
from finetune.plain_text import first_sentences, harmless
from finetune.ready_dialogs import turns_as_they_are, whole_turns

PERSONAL_CHATS = frozenset({"personal_chat"})
GROUP_CHATS = frozenset({"private_group", "private_supergroup", "public_supergroup"})
DAY = 24 * 60 * 60  # seconds
MAX_LISTED_SOURCES = 50
MAX_TURN_MESSAGES = 1000  # keeps memory bounded in a group that talks for weeks without a pause
NAMELESS = "Deleted account"


class Row(msgspec.Struct, gc=False, omit_defaults=True):
    """One line of a dataset. Rows of one session share `conversation`, so that a split keeps them together.

    text: to be continued, instead of messages; all of it is learned. label: of a classification.
    """

    messages: list[Turn]
    conversation: str
    text: str = ""
    label: str = ""


class DialogBuilder:
    """Takes messages in order and hands each finished dialog to `write`.

    All limits are those of `PrepareConfig`. `owner_ids`: every form of the owner's id.
    """

    def __init__(self, config: PrepareConfig, owner_ids: Iterable[str | int], write: Callable[[Row], object]):
        self.gap_seconds = config.session_gap_minutes * 60
        self.min_turns = config.min_dialog_messages
        self.max_turns = config.max_dialog_length // 2 * 2  # a dialog has as many answers as questions
        self.max_characters = config.max_message_length
        self.chat_kinds = PERSONAL_CHATS | (GROUP_CHATS if config.include_groups else frozenset())
        self.owner_ids: frozenset[str | int] = frozenset(owner_ids)
        self.drops_forwards = not config.include_forwards
        self.system_prompt = config.system_prompt
        self.write = write
        self.file = ""  # what opens the keys of conversations where several files are read

        self.messages_read = self.messages_used = self.shortened = 0
        self.dialogs = self.turns = self.conversations = 0
        self.texts = 0  # rows of text to be continued
        self.characters: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.days: Counter[int] = Counter()  # dialogs by the day on which their session began, since 1970
        self.sources: Counter[str] = Counter()  # dialogs by chat or file
        self.source = ""  # the chat, or the file of ready-made dialogs
        self.chats_used = 0
        self.chats_skipped: Counter[str] = Counter()

        self._chat: Chat | None = None
        self._names_speakers = False
        self._session = 0
        self._session_wrote = False
        self._last_time = 0
        self._began = 0  # when the session did
        self._turns: list[Turn] = []
        self._turn_messages = 0  # messages in self._turns
        self._parts: list[str] = []  # messages of the turn that is being said
        self._is_answer = False  # who says it

    def uses(self, chat: Chat) -> bool:
        """Do the chat's messages count? Group chats only if they are included; never bots, channels, notes."""
        return chat.kind in self.chat_kinds

    def add(self, chat: Chat, messages: Batch) -> None:
        """Take the next messages of `chat`; another chat than before ends the session."""
        if chat is not self._chat:
            self._open_chat(chat)
        self.messages_read += len(messages)
        dropped, owner_ids, gap, last_time = self.dropped, self.owner_ids, self.gap_seconds, self._last_time
        for message in messages:
            if type(message) is not Message:
                dropped["service" if isinstance(message, Service) else "unsupported"] += 1
                continue
            text = message.text
            text = (text if type(text) is str else message.joined_text()).strip()
            if not text.isprintable():
                text = harmless(text).strip()
            if not text:
                dropped[message.media()] += 1
                continue
            is_owner = message.author_id in owner_ids
            if (is_owner or self.drops_forwards) and message.is_forward():
                dropped["forwarded_by_owner" if is_owner else "forwarded"] += 1
                continue
            if len(text) > self.max_characters and not (text := self._shorten(text)):
                continue
            time = message.time or message.time_of_date() or last_time
            if time - last_time >= gap:
                self.end_session()
                self._began = time
            last_time = time
            if self._names_speakers and not is_owner:
                text = f"{speaker_name(message.author)}: {text}"
            parts = self._parts
            if is_owner is self._is_answer and parts and len(parts) < MAX_TURN_MESSAGES:
                parts.append(text)  # what _say would do, without a call for each message
            else:
                self._say(is_owner, text)
        self._last_time = last_time

    def add_dialog(self, dialog: Dialog) -> None:
        """Take one ready-made dialog. Its limits are its author's: nothing is shortened or cut."""
        if not dialog.turns:
            self.messages_read += 1
            text = harmless(dialog.text).strip()
            if not text:  # or an answer that should not be given
                self.dropped["nothing_to_learn"] += 1
                return
            self.messages_used += 1
            self.texts += 1
            self.conversations += 1
            self.characters["text"] += len(text)
            self.write(Row([], dialog.conversation, text=text))
            return
        self.messages_read += len(dialog.turns)
        used = len(dialog.turns)
        turns = turns_as_they_are(dialog)
        if turns is None:
            turns, dropped = whole_turns(dialog)
            self.dropped.update(dropped)
            used -= dropped.total()
        said, characters = len(turns), self.characters
        if turns and turns[0].role == "system":
            said -= 1
        if said < self.min_turns:
            if used:
                self.dropped["short_dialog"] += used
            return
        for turn in turns:
            characters[turn.role] += len(turn.content)
        self.dialogs += 1
        self.sources[self.source] += 1
        self.turns += said
        self.messages_used += used
        self.conversations += 1
        self.write(Row(turns, dialog.conversation, label=dialog.label))

    def end_session(self) -> None:
        """Hand over what is complete; the next message begins a new session."""
        if self._parts and not self._is_answer:
            self.dropped["unanswered"] += len(self._parts)
        elif self._parts:
            self._close_turn()
        self._parts = []
        self._write_dialog()
        self._session += 1
        self._session_wrote = False
        self._is_answer = False

    def end_file(self) -> None:
        """The next chat is another one, even if it looks the same."""
        self._chat = None

    def figures(self) -> dict[str, Any]:
        """Everything counted, as plain JSON data."""
        return {
            "chats": {"used": self.chats_used, "skipped": dict(self.chats_skipped)},
            "conversations": self.conversations,
            "messages_read": self.messages_read,
            "messages_used": self.messages_used,
            "dialogs": self.dialogs,
            "texts": self.texts,
            "turns": self.turns,
            "characters": dict(self.characters),
            "shortened": self.shortened,
            "dropped": dict(self.dropped.most_common()),
            "months": self.months(),
            "sources": dict(self.sources.most_common(MAX_LISTED_SOURCES)),
        }

    def months(self) -> dict[str, int]:
        """Dialogs by month, in order; those without a date are not counted."""
        months: Counter[str] = Counter()
        for day, count in self.days.items():
            if day > 0:
                months[datetime.fromtimestamp(day * DAY, UTC).strftime("%Y-%m")] += count
        return dict(sorted(months.items()))

    def _head(self) -> list[Turn]:
        """The system turn, if one was asked for."""
        if not self.system_prompt:
            return []
        contact = speaker_name(self._chat.name if self._chat else None)
        date = datetime.fromtimestamp(self._began, UTC).date().isoformat() if self._began else ""
        return [Turn("system", self.system_prompt.replace("{contact}", contact).replace("{date}", date))]

    def _open_chat(self, chat: Chat) -> None:
        self.end_session()
        self._chat = chat
        self.source = speaker_name(chat.name)
        self._session = 0
        self._last_time = 0
        self._names_speakers = chat.kind in GROUP_CHATS
        if self.uses(chat):
            self.chats_used += 1
        else:
            self.chats_skipped[chat.kind] += 1

    def _say(self, is_answer: bool, text: str) -> None:
        if parts := self._parts:
            if is_answer is self._is_answer:
                parts.append(text)
                if len(parts) > MAX_TURN_MESSAGES:
                    self._trim_turn()
                return
            self._close_turn()
        if is_answer and not self._turns:
            self.dropped["before_question"] += 1
            return
        if not is_answer and len(self._turns) >= self.max_turns:
            self._write_dialog()
        self._parts = [text]
        self._is_answer = is_answer

    def _close_turn(self) -> None:
        self._turns.append(Turn("assistant" if self._is_answer else "user", "\n".join(self._parts)))
        self._turn_messages += len(self._parts)
        self._parts = []

    def _trim_turn(self) -> None:
        """Of an endless turn keep what touches the other side: the end of a question, the start of an answer."""
        half = MAX_TURN_MESSAGES // 2
        kept = self._parts[:MAX_TURN_MESSAGES] if self._is_answer else self._parts[-half:]
        self.dropped["endless_turn"] += len(self._parts) - len(kept)
        self._parts = kept

    def _shorten(self, text: str) -> str:
        short = first_sentences(text, self.max_characters)
        if short:
            self.shortened += 1
        else:
            self.dropped["too_long"] += 1
        return short

    def _write_dialog(self) -> None:
        """Write self._turns, which is empty or goes from a question to an answer."""
        turns = self._turns
        if len(turns) < self.min_turns:
            if self._turn_messages:
                self.dropped["short_dialog"] += self._turn_messages
        else:
            for turn in turns:
                self.characters[turn.role] += len(turn.content)
            self.dialogs += 1
            self.turns += len(turns)
            self.days[self._began // DAY] += 1
            self.sources[self.source] += 1
            self.messages_used += self._turn_messages
            self.conversations += not self._session_wrote
            self._session_wrote = True
            position = self._chat.position if self._chat else 0
            self.write(Row(self._head() + turns, f"{self.file}{position}/{self._session}"))
        self._turns = []
        self._turn_messages = 0


def speaker_name(name: str | None) -> str:
    """A name on one line."""
    return " ".join(harmless(name or "").split()) or NAMELESS
