"""What becomes of a dialog: one row, a row for each answer with what was said before, or a row for each question.

dialog           u a u a      ->  u a u a
conversational   u a u a u a  ->  u a | u a u a | u a u a u a      only the last answer of each is learned
instruct         u a u a      ->  u a | u a
"""

from __future__ import annotations

from collections.abc import Iterator

from finetune.dialogs import Row, Turn


def rows_of(row: Row, mode: str, window_turns: int) -> Iterator[Row]:
    """The rows that `row` becomes. window_turns: the most turns, without the system's, that one has."""
    if mode == "dialog" or row.text:
        yield row
        return
    head = [turn for turn in row.messages if turn.role == "system"]
    turns = [turn for turn in row.messages if turn.role != "system"]
    for number, turn in enumerate(turns):
        if turn.role != "assistant" or not turn.weight:
            continue
        longest = 2 if mode == "instruct" else window_turns
        start = max(0, number + 1 - longest)
        while turns[start].role != "user":  # a row begins with a question
            start += 1
        before = [Turn(said.role, said.content, 0 if said.role == "assistant" else 1) for said in turns[start:number]]
        yield Row([*head, *before, turn], row.conversation, label=row.label)
