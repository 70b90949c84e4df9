"""Instructions: `{"instruction": "…", "input": "…", "output": "…", "system": "…", "history": [["…", "…"]]}`.

The question is the instruction, a line break and the input. `output_text` and `response`
stand for `output` in some collections; a sole `input` or `question` with an `output` or
`answer` is read in the same way.
"""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import BadRow, Dialog, Turn, describe, wanted_text
from finetune.formats.format import RowFormat
from finetune.formats.plain_lines import Plain, plain_lines

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


class PlainRow(Plain):
    instruction: str
    output: str
    input: str = ""
    system: str = ""
    conversation: str = ""


def _as_dialog(row: PlainRow) -> Dialog:
    question = row.instruction
    if row.input and row.input.strip():
        question = f"{question}\n{row.input}" if question.strip() else row.input
    turns = [Turn("user", question), Turn("assistant", row.output)]
    return Dialog([Turn("system", row.system), *turns] if row.system else turns, row.conversation)


decode_lines = plain_lines(PlainRow, _as_dialog)
FORMAT = RowFormat("alpaca", matches, read, decode_lines=decode_lines)
