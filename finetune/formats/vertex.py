"""Gemini and Vertex AI.

{"systemInstruction": {"parts": [{"text": "…"}]}, "contents": [{"role": "user", "parts": [{"text": "…"}]}, …]}
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from finetune.formats.dialog import TOOL, BadRow, Dialog, Turn, describe, text_of_parts
from finetune.formats.format import RowFormat
from finetune.formats.plain_lines import Plain, plain_lines

ROLES = {"user": "user", "model": "assistant", "assistant": "assistant", "system": "system", "function": TOOL}


def matches(row: dict[str, Any]) -> bool:
    contents = row.get("contents")
    return isinstance(contents, list) and bool(contents) and isinstance(contents[0], dict) and "parts" in contents[0]


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    system = row.get("systemInstruction", row.get("system_instruction"))
    text = text_of_parts(system.get("parts")) if isinstance(system, dict) else system
    turns = [Turn("system", text)] if isinstance(text, str) and text else []
    for number, content in enumerate(row["contents"], 1):
        if not isinstance(content, dict) or not isinstance(content.get("parts"), list):
            raise BadRow(
                f'content {number} is {describe(content)}, expected {{"role": "user", "parts": [{{"text": …}}]}}'
            )
        role = ROLES.get(content.get("role", "user"))
        if role is None:
            raise BadRow(f"content {number} has the role {str(content.get('role'))[:40]!r}, expected user or model")
        text = text_of_parts(content["parts"]) or ""
        turns.append(Turn(role, text) if text else Turn(TOOL, ""))
    return Dialog(turns)


class PlainPart(Plain):
    text: str


class PlainContent(Plain):
    parts: list[PlainPart]
    role: Literal["user", "model"] = "user"


class PlainInstruction(Plain):
    parts: list[PlainPart]
    role: str = ""


class PlainRow(Plain):
    contents: list[PlainContent]
    instruction: PlainInstruction | None = msgspec.field(default=None, name="systemInstruction")
    conversation: str = ""


def _as_dialog(row: PlainRow) -> Dialog | None:
    turns = []
    if row.instruction is not None and (system := _joined(row.instruction.parts)):
        turns.append(Turn("system", system))
    for content in row.contents:
        text = _joined(content.parts)
        if not text:
            return None
        turns.append(Turn("user" if content.role == "user" else "assistant", text))
    return Dialog(turns, row.conversation) if row.contents else None


def _joined(parts: list[PlainPart]) -> str:
    return parts[0].text if len(parts) == 1 else "\n".join([part.text for part in parts])


decode_lines = plain_lines(PlainRow, _as_dialog)
FORMAT = RowFormat("vertex", matches, read, key="contents", decode_lines=decode_lines)
