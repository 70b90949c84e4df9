"""Plain text to be continued: `{"text": "…"}`. All of it is learned."""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import Dialog, wanted_text
from finetune.formats.format import RowFormat
from finetune.formats.plain_lines import Plain, plain_lines


def matches(row: dict[str, Any]) -> bool:
    return "text" in row


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    return Dialog(text=wanted_text(row, "text"))


class PlainRow(Plain):
    text: str
    conversation: str = ""


decode_lines = plain_lines(PlainRow, lambda row: Dialog(conversation=row.conversation, text=row.text))
FORMAT = RowFormat("text", matches, read, decode_lines=decode_lines)
