"""Classification: `{"text": "…", "label": "…"}`. The label is the answer; numbers and truth values are written out."""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import BadRow, Dialog, Turn, describe, wanted_text
from finetune.formats.format import RowFormat
from finetune.formats.plain_lines import Plain, plain_lines

LABELS = ("label", "category", "class")


def matches(row: dict[str, Any]) -> bool:
    return "text" in row and any(name in row for name in LABELS)


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    label = next(row[name] for name in LABELS if name in row)
    if label is None or isinstance(label, (dict, list)):
        raise BadRow(f"label is {describe(label)}, expected a text or a number")
    name = name_of(label)
    return Dialog([Turn("user", wanted_text(row, "text")), Turn("assistant", name)], label=name)


def name_of(label: str | bool | int | float) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


class PlainRow(Plain):
    text: str
    label: str | bool | int
    conversation: str = ""


def _as_dialog(row: PlainRow) -> Dialog:
    name = row.label if type(row.label) is str else name_of(row.label)
    return Dialog([Turn("user", row.text), Turn("assistant", name)], row.conversation, label=name)


decode_lines = plain_lines(PlainRow, _as_dialog)
FORMAT = RowFormat("text_label", matches, read, decode_lines=decode_lines)
