"""Prompts with their completions, as texts or as lists of messages. Of a prompt nothing is learned.

    {"prompt": "…", "completion": "…"}
    {"prompt": [{"role": "user", "content": "…"}], "completion": [{"role": "assistant", "content": "…"}]}

`response`, `output` and `answer` stand for `completion` in some collections.
"""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import BadRow, Dialog, Turn, describe
from finetune.formats.format import RowFormat
from finetune.formats.messages import read_turn
from finetune.formats.plain_lines import Plain, plain_lines

COMPLETIONS = ("completion", "response", "output", "answer")


def matches(row: dict[str, Any]) -> bool:
    return "prompt" in row and any(name in row for name in COMPLETIONS)


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    name = next(name for name in COMPLETIONS if name in row)
    prompt = as_turns(row["prompt"], "user", "prompt")
    for turn in prompt:
        if turn.role == "assistant":
            turn.weight = 0
    return Dialog(prompt + as_turns(row[name], "assistant", name))


def as_turns(value: Any, role: str, name: str) -> list[Turn]:
    """A text as one turn of `role`, or a list of messages as it is. Raises BadRow."""
    if isinstance(value, str):
        return [Turn(role, value)]
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        return [read_turn(message, number) for number, message in enumerate(value, 1)]
    raise BadRow(f"{name} is {describe(value)}, expected a text or a list of messages")


class PlainRow(Plain):
    prompt: str
    completion: str
    conversation: str = ""


def _as_dialog(row: PlainRow) -> Dialog:
    return Dialog([Turn("user", row.prompt), Turn("assistant", row.completion)], row.conversation)


decode_lines = plain_lines(PlainRow, _as_dialog)
FORMAT = RowFormat("prompt_completion", matches, read, decode_lines=decode_lines)
