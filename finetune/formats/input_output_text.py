"""Older Vertex AI tuning files: `{"input_text": "…", "output_text": "…", "context": "…"}`."""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import Dialog, wanted_text


def matches(row: dict[str, Any]) -> bool:
    return {"input_text", "output_text"} <= row.keys()


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    context = row.get("context")
    head = [("system", context)] if isinstance(context, str) and context else []
    return Dialog([*head, ("user", wanted_text(row, "input_text")), ("assistant", wanted_text(row, "output_text"))])
