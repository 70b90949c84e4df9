"""ShareGPT: `{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}], "system": "…"}`."""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import Dialog, Turn
from finetune.formats.messages import looks_like_turns, read_dialog


def matches(row: dict[str, Any]) -> bool:
    return looks_like_turns(row.get("conversations"))


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    dialog = read_dialog(row, row.get("conversations"))
    system = row.get("system")
    if isinstance(system, str) and system and not (dialog.turns and dialog.turns[0].role == "system"):
        dialog.turns.insert(0, Turn("system", system))
    return dialog
