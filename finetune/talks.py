"""Conversations with an assistant, as Claude and ChatGPT export them.

They are conversations and nobody's ready-made rows, so what is said of dialogs holds for
them too: they are cut into dialogs of at most so many turns, and open with the system prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from finetune.formats.dialog import Turn

Said = tuple[Turn, int]  # a turn, and how many messages it is made of


def cut(said: Sequence[Said], most: int) -> tuple[list[Said], list[list[Said]]]:
    """What the system says before all, and dialogs from a question to an answer.

    Each has at most `most` turns, unless a single question with its answer has more.
    """
    first = next((number for number, (turn, _) in enumerate(said) if turn.role != "system"), len(said))
    dialogs: list[list[Said]] = []
    for exchange in exchanges(said[first:]):
        if dialogs and len(dialogs[-1]) + len(exchange) <= most:
            dialogs[-1] += exchange
        else:
            dialogs.append(exchange)
    return list(said[:first]), dialogs


def exchanges(said: Sequence[Said]) -> list[list[Said]]:
    """Questions, each with its answers: a new one begins where a question follows an answer."""
    found: list[list[Said]] = []
    was_answer = True
    for is_answer, run in groupby(said, lambda item: item[0].role == "assistant"):
        if was_answer:
            found.append([])
        found[-1] += run
        was_answer = is_answer
    return found
