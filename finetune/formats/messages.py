"""Dialogs as OpenAI has them, and the older form of this project.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…", "weight": 0}]}
    {"messages": [{"from": "user", "value": "…"}, …]}

A content may be a list of parts, of which the text is read. Calls of tools and their
answers are no conversation: they are left out and counted. `weight` 0: not learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from finetune.formats.dialog import TOOL, BadRow, Dialog, Turn, describe, text_of_parts
from finetune.formats.format import RowFormat
from finetune.formats.plain_lines import Plain, plain_lines

ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "tool": TOOL, "function": TOOL, "function_call": TOOL, "function_response": TOOL, "observation": TOOL,
    "ipython": TOOL,
}  # fmt: skip
PLAIN_ROLES = ("user", "assistant", "system")
EXPECTED = 'expected {"role": "user", "content": "…"}'


def matches(row: dict[str, Any]) -> bool:
    return looks_like_turns(row.get("messages"))


def read(row: dict[str, Any]) -> Dialog:
    return read_dialog(row, row.get("messages"))


def looks_like_turns(messages: Any) -> bool:
    """Does it look like a list of turns, perhaps a faulty one?"""
    if not isinstance(messages, list) or not messages:
        return False
    first = messages[0]
    if not isinstance(first, dict):
        return True
    return "role" in first or {"from", "value"} <= first.keys() or bool(ROLES.keys() & first.keys())


def read_dialog(row: dict[str, Any], messages: Any) -> Dialog:
    """Raises BadRow."""
    if not isinstance(messages, list):
        raise BadRow(f"found {describe(row)}, expected an object with a list of messages")
    given = row.get("conversation")
    turns = [read_turn(message, number) for number, message in enumerate(messages, 1)]
    return Dialog(turns, given if isinstance(given, str) else "")


def read_turn(message: Any, number: int) -> Turn:
    """Raises BadRow that names the message by its number."""
    if type(message) is dict and len(message) == 2:  # as nearly all are
        role, text = message.get("role") or message.get("from"), message.get("content") or message.get("value")
        if type(role) is str and type(text) is str and (known := ROLES.get(role)) is not None and known != TOOL:
            return Turn(known, text)
    if not isinstance(message, dict):
        raise BadRow(f"message {number} is {describe(message)}, {EXPECTED}")
    if "role" not in message and "from" not in message:
        raise BadRow(f"message {number} has no role, found {describe(message)}, {EXPECTED}")
    name = message.get("role", message.get("from"))
    role = ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise BadRow(f"message {number} has the role {str(name)[:40]!r}, expected system, user or assistant")
    text = text_of_parts(message.get("content", message.get("value")))
    if not text and (role == TOOL or message.get("tool_calls") or message.get("function_call")):
        return Turn(TOOL, "")
    if text is None:
        raise BadRow(f"message {number} has no text, found {describe(message)}, {EXPECTED}")
    return Turn(role, text, 0 if message.get("weight") == 0 and role == "assistant" else 1)


class PlainTurn(Turn, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A turn with nothing in it but what is used."""

    role: Literal["user", "assistant", "system"]
    content: str
    weight: Literal[1] = 1


class PlainRow(Dialog, gc=False, omit_defaults=True, forbid_unknown_fields=True, rename={"turns": "messages"}):
    """A row of such turns and nothing else, as nearly all are."""

    turns: list[PlainTurn] = []  # type: ignore[assignment]  # noqa: RUF012
    conversation: str = ""
    text: Literal[""] = ""
    label: Literal[""] = ""


class WeighedTurn(PlainTurn, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One that is perhaps not to be learned."""

    weight: Literal[0, 1] = 1  # type: ignore[assignment]


class WeighedRow(PlainRow, gc=False, omit_defaults=True, forbid_unknown_fields=True, rename={"turns": "messages"}):
    turns: list[WeighedTurn] = []  # type: ignore[assignment]  # noqa: RUF012


class PlainSaid(Plain):
    """A turn of the older form and of ShareGPT."""

    value: str
    speaker: Literal["human", "user", "gpt", "assistant", "system"] = msgspec.field(name="from")


class PlainSaidRow(Plain):
    messages: list[PlainSaid]
    conversation: str = ""


def weighs_answers_only(row: Dialog) -> bool:
    return all([turn.weight or turn.role == "assistant" for turn in row.turns])


def turns_of(said: list[PlainSaid]) -> list[Turn]:
    return [Turn(ROLES[turn.speaker], turn.value) for turn in said]


_decode_turns = plain_lines(PlainRow, lambda row: row if row.turns else None)
_decode_weighed = plain_lines(WeighedRow, lambda row: row if row.turns and weighs_answers_only(row) else None)
_decode_said = plain_lines(
    PlainSaidRow, lambda row: Dialog(turns_of(row.messages), row.conversation) if row.messages else None
)


def decode_lines(lines: bytes) -> Sequence[Dialog] | None:
    """The dialogs of lines of JSON if all are plain rows of one form."""
    return _decode_turns(lines) or _decode_weighed(lines) or _decode_said(lines)


FORMAT = RowFormat("messages", matches, read, key="messages", decode_lines=decode_lines)
