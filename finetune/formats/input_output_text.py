"""Older Vertex AI tuning files: `{"input_text": "…", "output_text": "…", "context": "…"}`."""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import Dialog, Turn, wanted_text


def matches(row: dict[str, Any]) -> bool:
    return {"input_text", "output_text"} <= row.keys()


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    context = row.get("context")
    head = [Turn("system", context)] if isinstance(context, str) and context else []
    return Dialog(
        [*head, Turn("user", wanted_text(row, "input_text")), Turn("assistant", wanted_text(row, "output_text"))]
    )
