"""Older Vertex AI tuning files: `{"input_text": "…", "output_text": "…", "context": "…"}`."""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import Dialog, Turn, wanted_text
from finetune.formats.format import RowFormat
from finetune.formats.plain_lines import Plain, plain_lines


def matches(row: dict[str, Any]) -> bool:
    return {"input_text", "output_text"} <= row.keys()


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    context = row.get("context")
    head = [Turn("system", context)] if isinstance(context, str) and context else []
    return Dialog(
        [*head, Turn("user", wanted_text(row, "input_text")), Turn("assistant", wanted_text(row, "output_text"))]
    )


class PlainRow(Plain):
    input_text: str
    output_text: str
    context: str = ""
    conversation: str = ""


def _as_dialog(row: PlainRow) -> Dialog:
    turns = [Turn("user", row.input_text), Turn("assistant", row.output_text)]
    return Dialog([Turn("system", row.context), *turns] if row.context else turns, row.conversation)


decode_lines = plain_lines(PlainRow, _as_dialog)
FORMAT = RowFormat("input_output_text", matches, read, decode_lines=decode_lines)
