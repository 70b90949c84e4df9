"""Ready-made dialogs: what has to be mended so that they go from a question to an answer."""

from __future__ import annotations

from collections import Counter

from finetune.formats.dialog import TOOL, Dialog, Turn
from finetune.plain_text import HARMFUL, harmless


def turns_as_they_are(dialog: Dialog) -> list[Turn] | None:
    """The turns of a dialog with which nothing is wrong, as nearly all are; None for all others."""
    turns = dialog.turns
    if len(turns) % 2:
        return None
    expected = "user"
    for turn in turns:
        text = turn.content
        if turn.role != expected or not text or text[0] in " \n\t" or text[-1] in " \n\t":
            return None
        if not text.isprintable() and HARMFUL.search(text):
            return None
        expected = "user" if expected == "assistant" else "assistant"
    return turns


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
