"""Ready-made dialogs: what has to be mended so that they go from a question to an answer, and what is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engines.config.prepare import PrepareConfig
from finetune.conversation import opening
from finetune.dialog_counts import DAY, DialogCounts
from finetune.formats.dialog import TOOL, Dialog, Talk, Turn
from finetune.formats.records import RecordBatch
from finetune.plain_text import HARMFUL, harmless
from finetune.talks import Said, cut

MAX_KEPT_FLAWS = 20


class ReadyDialogs:
    """Takes ready-made dialogs, counts them in `counts`, and hands those with something to learn to `write`.

    Their limits are their author's: nothing is shortened, and only talks with an assistant are cut.
    source: how the names of their conversations begin. flaws: what was wrong in the first of the `flawed` ones, each
    with its place.
    """

    def __init__(self, config: PrepareConfig, counts: DialogCounts, write: Callable[[list[Dialog]], object]):
        self.config = config
        self.counts = counts
        self.write = write
        self.source = ""
        self.flawed = 0
        self.flaws: list[tuple[int, str]] = []

    def add(self, batch: RecordBatch) -> None:
        dialogs, places, is_harmless, has_talks = batch
        if has_talks:
            self._add_talks(dialogs, places)
            return
        rows: list[Dialog] = []
        pairs = count = messages = prompts = prompted = asked = said = 0
        least = self.config.min_dialog_messages
        for number, dialog in enumerate(dialogs):
            turns = dialog.turns
            if len(turns) == 2 and least <= 2 and is_pair_as_it_is(turns[0], turns[1], is_harmless):  # most
                pairs += 1
                asked += len(turns[0].content)
                said += len(turns[1].content)
                rows.append(dialog)
                continue
            characters = characters_as_they_are(turns, is_harmless) if turns else None
            if characters is None or len(turns) - len(turns) % 2 < least:
                self._add_other(dialog, places[number], rows, is_harmless)
                continue
            count += 1
            messages += len(turns)
            if characters[0]:
                prompts += 1
                prompted += characters[0]
            asked += characters[1]
            said += characters[2]
            rows.append(dialog)
        counts, count, messages = self.counts, count + pairs, messages + 2 * pairs
        if count:
            counts.messages_read += messages
            counts.messages_used += messages
            counts.turns += messages - prompts
            counts.dialogs += count
            counts.conversations += count
            counts.sources[self.source] += count
            counts.characters.update(user=asked, assistant=said)
        if prompts:
            counts.characters["system"] += prompted
        self.write(rows)

    def forget_flaws(self) -> None:
        self.flawed, self.flaws = 0, []

    def _add_other(self, dialog: Dialog, place: int, rows: list[Dialog], is_harmless: bool = False) -> None:
        """One that is text, or has to be mended, or is left out."""
        counts = self.counts
        if not dialog.turns:
            counts.messages_read += 1
            text = (dialog.text if is_harmless else harmless(dialog.text)).strip()
            if not text:  # or an answer that should not be given
                counts.dropped["nothing_to_learn"] += 1
                return
            counts.messages_used += 1
            counts.texts += 1
            counts.conversations += 1
            counts.characters["text"] += len(text)
            rows.append(Dialog(conversation=dialog.conversation, text=text))
            return
        mended = whole_turns(dialog, self.config.join_messages)
        self._count_mended(dialog, mended)
        is_kept = length_of(mended.said) >= self.config.min_dialog_messages
        if is_kept:
            self._take(dialog, mended.said, rows)
            counts.conversations += 1
        else:
            self._drop_short(mended.said)
        if flaw := in_words(mended, is_kept=is_kept):
            self.flawed += 1
            if len(self.flaws) < MAX_KEPT_FLAWS:
                self.flaws.append((place, flaw))

    def _add_talks(self, dialogs: Sequence[Dialog], places: Sequence[int]) -> None:
        rows: list[Dialog] = []
        for dialog, place in zip(dialogs, places, strict=True):
            if isinstance(dialog, Talk):
                self._add_talk(dialog, rows)
            else:
                self._add_other(dialog, place, rows)
        self.write(rows)

    def _add_talk(self, talk: Talk, rows: list[Dialog]) -> None:
        config, written = self.config, len(rows)
        mended = whole_turns(talk, config.join_messages)
        self._count_mended(talk, mended)
        head, parts = cut(mended.said, config.max_dialog_length // 2 * 2)
        prompt = [] if head else opening(config.system_prompt, " ".join(harmless(talk.name).split()), talk.began)
        for part in parts:
            if length_of(part) < config.min_dialog_messages:
                self._drop_short(part)
                continue
            self._take(Dialog(conversation=talk.conversation), [*head, *part], rows)
            rows[-1].turns[:0] = prompt
            head = [(turn, 0) for turn, _ in head]  # its messages are counted once
            self.counts.days[talk.began // DAY] += 1
        if len(rows) > written:
            self.counts.conversations += 1
        else:
            self._drop_short(head)

    def _count_mended(self, dialog: Dialog, mended: Mended) -> None:
        self.counts.messages_read += len(dialog.turns)
        self.counts.dropped.update(mended.dropped)
        self.counts.joined += mended.joined

    def _drop_short(self, said: Sequence[Said]) -> None:
        if messages := sum(count for _, count in said):
            self.counts.dropped["short_dialog"] += messages

    def _take(self, row: Dialog, said: Sequence[Said], rows: list[Dialog]) -> None:
        """It gets these turns."""
        counts = self.counts
        for turn, messages in said:
            counts.characters[turn.role] += len(turn.content)
            counts.messages_used += messages
        counts.dialogs += 1
        counts.sources[self.source] += 1
        counts.turns += length_of(said)
        row.turns = [turn for turn, _ in said]
        rows.append(row)


def characters_as_they_are(turns: list[Turn], is_harmless: bool) -> tuple[int, int, int] | None:
    """Characters of system prompt, questions and answers in a dialog with which nothing is wrong; else None.

    Nearly all dialogs are such. is_harmless: it is known already that no text has control characters.
    """
    system = asked = said = 0
    begin = len(turns) % 2
    if begin:
        first = turns[0]
        if first.role != "system" or len(turns) == 1 or not is_as_it_is(first.content, is_harmless):
            return None
        system = len(first.content)
    for at in range(begin, len(turns), 2):
        question, answer = turns[at], turns[at + 1]
        if not is_pair_as_it_is(question, answer, is_harmless):
            return None
        asked += len(question.content)
        said += len(answer.content)
    return system, asked, said


def is_pair_as_it_is(question: Turn, answer: Turn, is_harmless: bool) -> bool:
    text, reply = question.content, answer.content
    return (
        question.role == "user"
        and answer.role == "assistant"
        and text.strip() is text  # or a copy of the same, which does no harm either
        and reply.strip() is reply
        and bool(text and reply)
        and (is_harmless or not (is_harmful(text) or is_harmful(reply)))
    )


def is_as_it_is(text: str, is_harmless: bool) -> bool:
    return bool(text) and text.strip() is text and (is_harmless or not is_harmful(text))


def is_harmful(text: str) -> bool:
    return not text.isprintable() and HARMFUL.search(text) is not None


class Mended(NamedTuple):
    """Turns with how many messages each is made of; messages left out, by reason; those joined to one before."""

    said: list[Said]
    dropped: Counter[str]
    joined: int


def length_of(said: Sequence[Said]) -> int:
    """Turns without those of the system."""
    return sum(turn.role != "system" for turn, _ in said)


def whole_turns(dialog: Dialog, joins: bool = True) -> Mended:
    """The turns of a ready-made dialog, from a question to an answer.

    Turns of one role that follow each other are joined if `joins`, unless only one of them is learned.
    System turns are always joined.
    """
    turns: list[Turn] = []
    messages: list[int] = []  # in each turn
    dropped: Counter[str] = Counter()
    for said in dialog.turns:
        text = harmless(said.content).strip()
        if said.role == TOOL or not text:
            dropped["tool" if said.role == TOOL else "empty"] += 1
        elif said.role == "assistant" and not any(turn.role == "user" for turn in turns):
            dropped["before_question"] += 1
        elif turns and turns[-1].role == said.role and turns[-1].weight == said.weight and (
            joins or said.role == "system"
        ):  # fmt: skip
            turns[-1].content += f"\n{text}"
            messages[-1] += 1
        else:
            turns.append(Turn(said.role, text, said.weight))
            messages.append(1)
    joined = sum(messages) - len(messages)
    while turns and turns[-1].role != "assistant":
        dropped["unanswered" if turns.pop().role == "user" else "unused_system"] += messages.pop()
    return Mended(list(zip(turns, messages, strict=True)), dropped, joined)


def in_words(mended: Mended, *, is_kept: bool) -> str:
    """What was wrong with a dialog, and what was done about it; empty: nothing but calls of tools in it."""
    dropped = mended.dropped
    found = [
        f"roles do not alternate: turns joined to the one before {mended.joined}" if mended.joined else "",
        f"turns without text {dropped['empty']}" if dropped["empty"] else "",
        f"answers before the first question {dropped['before_question']}" if dropped["before_question"] else "",
        f"questions at the end without an answer {dropped['unanswered']}" if dropped["unanswered"] else "",
        f"system turns at the end {dropped['unused_system']}" if dropped["unused_system"] else "",
    ]
    wrong = [part for part in found if part]
    if not is_kept:
        wrong.append("too few turns are left, so the row was left out")
    return "; ".join(wrong)
