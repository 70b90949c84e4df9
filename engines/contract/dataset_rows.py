"""The rows of a dataset file, read one after the other and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.contract.errors import UserError

Row = dict[str, Any]
ROLES = ("system", "user", "assistant")


def read_rows(path: Path) -> Iterator[Row]:
    """Rows with `messages` or `text`; a text with its label comes as the dialog that it is.

    Raises UserError that names the line, what was found and what was expected.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                problem = what_is_wrong(row)
            except (ValueError, RecursionError):
                problem = "it is not JSON"
            if problem:
                raise UserError(
                    "bad_input",
                    f"{path.name} line {number} is no row of a dataset: {problem}",
                    "Make a dataset of the file first: `ftui llm prepare FILE`.",
                )
            yield as_dialog(row) if "label" in row and "messages" not in row else row


def what_is_wrong(row: Any) -> str:
    """Empty for a row of a dataset."""
    if not isinstance(row, dict):
        return "found no object"
    if "messages" not in row:
        if isinstance(row.get("text"), str) and row["text"]:
            return ""
        return f"found {_keys(row)}, expected messages or text"
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        return "expected a list of messages"
    for number, turn in enumerate(messages, 1):
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str) or turn.get("role") not in ROLES:
            found = _keys(turn) if isinstance(turn, dict) else "no object"
            role = f" of the role {str(turn['role'])[:40]!r}" if isinstance(turn, dict) and "role" in turn else ""
            return (
                f"message {number} is {found}{role}, expected a role of {', '.join(ROLES)} and a content that is a text"
            )
    return ""


def as_dialog(row: Row) -> Row:
    """A text with its label as a question with its answer."""
    messages = [{"role": "user", "content": row["text"]}, {"role": "assistant", "content": str(row["label"])}]
    return {**{key: value for key, value in row.items() if key != "text"}, "messages": messages}


def _keys(value: dict[str, Any]) -> str:
    return "{" + ", ".join(str(key)[:40] for key in list(value)[:6]) + "}"
