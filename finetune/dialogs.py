"""How a stream of chat messages becomes dialogs, one message at a time.

    chat      messages of one conversation partner or group, in order
    session   messages without a long pause; one conversation of the dataset, named after its chat's id, so that it
              has the same name in every export of the chat, and after its beginning
    thread    the same, held together by replies instead (see `finetune.threads`)
    turn      consecutive messages of one side, joined with line breaks, or each message by itself
    dialog    at most so many turns of one session, from a question to an answer

The owner's turns are the assistant's, everybody else's are the user's. What is left out
is counted by reason, in messages: those read are those used plus those dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, cycle
from typing import cast

from msgspec import UNSET

from engines.config.prepare import PrepareConfig
from finetune.chat_names import name_of_conversations, speaker_name
from finetune.conversation import Conversation, opening
from finetune.dialog_counts import DAY, GROUP_CHATS, DialogCounts
from finetune.formats.dialog import Dialog, Turn
from finetune.formats.telegram_message import MARKERS, Batch, BriefMessage, Chat, Message
from finetune.plain_text import first_sentences, harmless
from finetune.threads import Threads

PERSONAL_CHATS = frozenset({"personal_chat"})
MAX_TURN_MESSAGES = 1000  # keeps memory bounded in a group that talks for weeks without a pause
ROLES = ("user", "assistant")


class DialogBuilder(DialogCounts):
    """Takes messages in order and hands finished dialogs to `write`.

    All limits are those of `PrepareConfig`. `owner_ids`: every form of the owner's id.
    """

    def __init__(self, config: PrepareConfig, owner_ids: Iterable[str | int], write: Callable[[list[Dialog]], object]):
        super().__init__()
        self.gap_seconds = config.session_gap_minutes * 60
        self.min_turns = config.min_dialog_messages
        self.joins = config.join_messages
        self.max_turns = config.max_dialog_length // 2 * 2  # half of them questions
        self.max_turn_messages = MAX_TURN_MESSAGES if self.joins else self.max_turns // 2
        self.max_characters = config.max_message_length
        self.chat_kinds = PERSONAL_CHATS | (GROUP_CHATS if config.include_groups else frozenset())
        self.owner_ids: frozenset[str | int] = frozenset(owner_ids)
        self.drops_forwards = not config.include_forwards
        self.marks_media = config.media_markers
        self.system_prompt = config.system_prompt
        self.write = write
        self.file = ""  # what opens the names of conversations where several files are read

        self.heard: dict[str | None, str] = {}  # what is said in voice notes, by their files as the export names them
        self.source = ""  # how the names of the conversations begin that are being formed
        self.sessions = 0  # begun after a pause
        self.continued = -1  # the position of a chat that is counted elsewhere
        self._chat: Chat | None = None
        self._names_speakers = False
        self._last_time = 0
        self._now = Conversation()
        self._formed: list[Dialog] = []
        self._threads = Threads(self.gap_seconds, self._end) if config.thread_replies else None

    @property
    def takes_brief_messages(self) -> bool:
        """Do neither names nor replies matter?"""
        return self._threads is None and not self.chat_kinds & GROUP_CHATS

    def uses(self, chat: Chat) -> bool:
        """Do the chat's messages count? Group chats only if they are included; never bots, channels, notes."""
        return chat.kind in self.chat_kinds

    def add(self, chat: Chat, messages: Batch, is_harmless: bool = False) -> None:
        """Take the next messages of `chat`; another chat than before ends the session.

        is_harmless: it is known already that no text has control characters.
        """
        if chat is not self._chat:
            self._open_chat(chat)
        self.messages_read += len(messages)
        # A message takes less than a microsecond, so what each of them needs has a short name here.
        dropped, owner_ids, gap, last_time = self.dropped, self.owner_ids, self.gap_seconds, self._last_time
        longest, names_speakers, drops_forwards = self.max_characters, self._names_speakers, self.drops_forwards
        heard, marks, threads, now = self.heard, self.marks_media, self._threads, self._now
        most_turns, most_messages = self.max_turns, self.max_turn_messages
        is_simple = self.joins and threads is None  # so that a turn that ends needs nothing more
        turns, turn, side = now.last_turn()
        for message in cast("list[Message]", messages):  # others have no text, and are asked for no more
            text = message.text
            text = (text if type(text) is str else message.joined_text()).strip()
            if not (is_harmless or text.isprintable()):
                text = harmless(text).strip()
            if not text and not ((text := heard.get(message.file, "")) or (marks and (text := self._marker(message)))):
                dropped[message.media()] += 1
                continue
            is_owner = message.author_id in owner_ids
            if (message.forwarded_from is not UNSET or message.saved_from is not UNSET) and (
                is_owner or drops_forwards
            ):  # what is_forward tells, without a call
                dropped["forwarded_by_owner" if is_owner else "forwarded"] += 1
                continue
            if len(text) > longest and not (text := self._shorten(text)):
                continue
            time = message.time or message.time_of_date() or last_time
            if threads is not None:
                now = threads.conversation_of(message, is_owner, time, last_time)
                turns, turn, side = now.last_turn()
            elif time - last_time >= gap:
                self._end(now)
                self.sessions += 1
                now = self._now = Conversation(time)
                turns, turn, side = now.last_turn()
            last_time = time
            if names_speakers and not is_owner:
                text = f"{speaker_name(message.author)}: {text}"
            if is_owner is side:
                turn.append(text)
            elif is_simple and turn and len(turns) <= most_turns and len(turn) <= most_messages:  # mostly
                turns.append(turn := [text])
                side = now.is_answer = is_owner
            elif self._begin_turn(now, is_owner, text):
                turns, turn, side = now.last_turn()
            else:
                continue
            if threads is not None:
                threads.remember(message, now)
        self._last_time = last_time
        if len(turn) > self.max_turn_messages:
            self._trim_turn(now)
        self._hand_over()

    def end_session(self) -> None:
        """Hand over what is complete; the next message begins a new session."""
        if self._threads is not None:
            self._threads.end_all()
        self._end(self._now)
        self._now = Conversation()
        self._hand_over()

    def end_file(self) -> None:
        """The next chat is another one, even if it looks the same."""
        self._chat = None

    def begin_source(self, key: str, name: str) -> None:
        """What comes now is of the chat or the file called `name`. key: how the names of its conversations begin."""
        self.source = key
        self.source_names[key] = name

    def _head(self, began: int) -> list[Turn]:
        return opening(self.system_prompt, speaker_name(self._chat.name if self._chat else None), began)

    def _open_chat(self, chat: Chat) -> None:
        self.end_session()
        self._chat = chat
        self._last_time = 0
        self._names_speakers = chat.kind in GROUP_CHATS
        self.begin_source(name_of_conversations(chat, self.file), speaker_name(chat.name))
        if chat.position == self.continued:
            return
        if self.uses(chat):
            self.chats_used += 1
        else:
            self.chats_skipped[chat.kind] += 1

    def _marker(self, message: Message) -> str:
        """What stands for a message without text; nothing for the owner's."""
        is_theirs = isinstance(message, BriefMessage) and message.author_id not in self.owner_ids
        return MARKERS.get(message.media(), "") if is_theirs else ""

    def _begin_turn(self, now: Conversation, is_answer: bool, text: str) -> bool:
        """The other side says `text`. False: it is an answer to nothing."""
        turns = now.turns
        if turns:  # in most cases there is nothing to do about the last one
            if len(turns) > self.max_turns or not self.joins or len(turns[-1]) > self.max_turn_messages:
                self._close_turn(now)
        elif is_answer:
            self.dropped["before_question"] += 1
            return False
        now.is_answer = is_answer
        if now.said:
            now.said = []
        now.turns.append([text])
        return True

    def _close_turn(self, now: Conversation) -> None:
        """Nothing more is said in its last turn. What does not fit into one dialog with an answer is written."""
        if len(now.turns[-1]) > self.max_turn_messages:
            self._trim_turn(now)
        if now.is_answer and (len(now.turns) if self.joins else now.messages) > self.max_turns:
            self._write_dialog(now, now.take_turns(kept=2))

    def _trim_turn(self, now: Conversation) -> None:
        self.dropped["endless_turn"] += now.trim_turn(self.max_turn_messages)

    def _end(self, now: Conversation) -> None:
        """Nothing more is said in it."""
        now.ended = True
        if not now.turns:
            return
        self._close_turn(now)
        turns = now.take_turns()
        if not now.is_answer:
            self.dropped["unanswered"] += len(turns.pop())
        self._write_dialog(now, turns)

    def _shorten(self, text: str) -> str:
        short = first_sentences(text, self.max_characters)
        if short:
            self.shortened += 1
        else:
            self.dropped["too_long"] += 1
        return short

    def _write_dialog(self, now: Conversation, turns: list[list[str]]) -> None:
        """Write turns that go from a question to an answer, if there are enough of them."""
        messages = sum(map(len, turns))
        if self.joins:
            said = list(map(Turn, cycle(ROLES), map("\n".join, turns)))
        else:
            roles = [role for role, texts in zip(cycle(ROLES), turns) for _ in texts]
            said = list(map(Turn, roles, chain.from_iterable(turns)))
        if len(said) < self.min_turns:
            if messages:
                self.dropped["short_dialog"] += messages
            return
        for turn in said:
            self.characters[turn.role] += len(turn.content)
        self.dialogs += 1
        self.turns += len(said)
        self.days[now.began // DAY] += 1
        self.sources[self.source] += 1
        self.messages_used += messages
        self.conversations += not now.wrote
        now.wrote = True
        self._formed.append(Dialog(self._head(now.began) + said, f"{self.source}{now.began}"))

    def _hand_over(self) -> None:
        if self._formed:
            rows, self._formed = self._formed, []
            self.write(rows)
