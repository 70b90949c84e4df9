"""Ready-made dialogs: what has to be mended so that they go from a question to an answer."""

from __future__ import annotations

from collections import Counter

from finetune.formats.dialog import TOOL, Dialog, Turn
from finetune.plain_text import HARMFUL, harmless


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


def whole_turns(dialog: Dialog, joined: bool = True) -> tuple[list[Turn], Counter[str]]:
    """The turns of a ready-made dialog, from a question to an answer, and what was left out, by reason.

    Turns of one role that follow each other are joined if `joined`, unless only one of them is learned.
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
            joined or said.role == "system"
        ):  # fmt: skip
            turns[-1].content += f"\n{text}"
            messages[-1] += 1
        else:
            turns.append(Turn(said.role, text, said.weight))
            messages.append(1)
    while turns and turns[-1].role != "assistant":
        dropped["unanswered" if turns.pop().role == "user" else "unused_system"] += messages.pop()
    return turns, dropped
