"""Small datasets, made for the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SUBJECTS = ("the garden", "a bicycle", "the weather", "a new film", "old maps", "good bread", "the sea", "a train")


def dialog_rows(count: int) -> list[dict[str, Any]]:
    """`count` short dialogs, each of its own conversation, no two alike."""
    rows = []
    for number in range(count):
        subject = SUBJECTS[number % len(SUBJECTS)]
        question = f"What do you think of {subject}, number {number}?"
        reply = f"well, {subject} .. number {number} is a good one ~"
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        rows.append({"messages": messages, "conversation": f"0/{number}"})
    return rows


def write_dataset(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
