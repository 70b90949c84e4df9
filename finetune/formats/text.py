"""Plain text to be continued: `{"text": "…"}`. All of it is learned."""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import Dialog, wanted_text


def matches(row: dict[str, Any]) -> bool:
    return "text" in row


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    return Dialog(text=wanted_text(row, "text"))
