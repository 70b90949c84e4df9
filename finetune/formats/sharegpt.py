"""ShareGPT: `{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}], "system": "…"}`."""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import Dialog, Turn
from finetune.formats.format import RowFormat
from finetune.formats.messages import PlainSaid, looks_like_turns, read_dialog, turns_of
from finetune.formats.plain_lines import Plain, plain_lines


def matches(row: dict[str, Any]) -> bool:
    return looks_like_turns(row.get("conversations"))


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    dialog = read_dialog(row, row.get("conversations"))
    system = row.get("system")
    if isinstance(system, str) and system and not (dialog.turns and dialog.turns[0].role == "system"):
        dialog.turns.insert(0, Turn("system", system))
    return dialog


class PlainRow(Plain):
    conversations: list[PlainSaid]
    system: str = ""
    id: str | int = ""
    conversation: str = ""


def _as_dialog(row: PlainRow) -> Dialog | None:
    turns = turns_of(row.conversations)
    if not turns:
        return None
    if row.system and turns[0].role != "system":
        turns.insert(0, Turn("system", row.system))
    return Dialog(turns, row.conversation)


decode_lines = plain_lines(PlainRow, _as_dialog)
FORMAT = RowFormat("sharegpt", matches, read, key="conversations", decode_lines=decode_lines)
