"""What becomes of a dialog: one row, a row for each answer with what was said before, or a row for each question.

dialog           u a u a      ->  u a u a
conversational   u a u a u a  ->  u a | u a u a | u a u a u a      only the last answer of each is learned
instruct         u a u a      ->  u a | u a

Where messages of one side were not joined, all that one side says in a row is one answer or one question.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from finetune.formats.dialog import Dialog, Turn


def rows_of(row: Dialog, mode: str, window_turns: int) -> Iterator[Dialog]:
    """The rows that `row` becomes. window_turns: the most turns, without the system's, that one has.

    A question and its answer stay together if they alone are more.
    """
    if mode == "dialog" or row.text:
        yield row
        return
    head = [turn for turn in row.turns if turn.role == "system"]
    turns = [turn for turn in row.turns if turn.role != "system"]
    asked = 0
    for role, run in groupby(range(len(turns)), lambda number: turns[number].role):
        first, *_ = numbers = list(run)
        end = numbers[-1] + 1
        if role != "assistant":
            asked = first
        elif any(turns[number].weight for number in numbers):
            start = asked
            if mode == "conversational":
                fitting = range(max(0, end - window_turns), asked)
                start = next((number for number in fitting if turns[number].role == "user"), asked)
            before = [
                Turn(said.role, said.content, 0 if said.role == "assistant" else 1) for said in turns[start:first]
            ]
            yield Dialog([*head, *before, *turns[first:end]], row.conversation, label=row.label)
