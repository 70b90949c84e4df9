"""Instructions: `{"instruction": "…", "input": "…", "output": "…", "system": "…", "history": [["…", "…"]]}`.

The question is the instruction, a line break and the input. `output_text` and `response`
stand for `output` in some collections; a sole `input` or `question` with an `output` or
`answer` is read in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from finetune.formats.dialog import BadRow, Dialog, Turn, describe, wanted_text

QUESTIONS = ("instruction", "question", "query", "вопрос")
ANSWERS = ("output", "output_text", "response", "answer", "ответ")


def matches(row: dict[str, Any]) -> bool:
    asks = any(name in row for name in QUESTIONS) or ("input" in row and "output" in row)
    return asks and any(name in row for name in ANSWERS)


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    turns = [Turn("system", system)] if isinstance(system := row.get("system"), str) and system else []
    history = row.get("history") or []
    if not isinstance(history, list):
        raise BadRow(f"history is {describe(history)}, expected a list of questions with answers")
    for pair in history:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise BadRow(f'history holds {describe(pair)}, expected ["question", "answer"]')
        turns += [Turn("user", pair[0]), Turn("assistant", pair[1])]
    question = wanted_text(row, *QUESTIONS) if any(name in row for name in QUESTIONS) else ""
    more = row.get("input") or ""
    if not isinstance(more, str):
        raise BadRow(f"input is {describe(more)}, expected a text")
    question = "\n".join(part for part in (question, more) if part.strip())
    return Dialog([*turns, Turn("user", question), Turn("assistant", wanted_text(row, *ANSWERS))])


class PlainRow(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A row with nothing in it but what is used, as nearly all are."""

    instruction: str
    output: str
    input: str = ""
    conversation: str = ""


_decode_lines = msgspec.json.Decoder(PlainRow).decode_lines


def decode_lines(lines: bytes) -> Sequence[Dialog] | None:
    """The dialogs of lines of JSON if all are plain rows: faster than `read`, which reads all others."""
    try:
        rows = _decode_lines(lines)
    except (ValueError, RecursionError):
        return None
    dialogs = []
    for row in rows:
        question = row.instruction
        if row.input and row.input.strip():
            question = f"{question}\n{row.input}" if question.strip() else row.input
        dialogs.append(Dialog([Turn("user", question), Turn("assistant", row.output)], row.conversation))
    return dialogs
