"""Dialogs as OpenAI has them, and the older form of this project.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…", "weight": 0}]}
    {"messages": [{"from": "user", "value": "…"}, …]}

A content may be a list of parts, of which the text is read. Calls of tools and their
answers are no conversation: they are left out and counted. `weight` 0: not learned.
"""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import TOOL, BadRow, Dialog, describe, text_of_parts

ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "tool": TOOL, "function": TOOL, "function_call": TOOL, "function_response": TOOL, "observation": TOOL,
    "ipython": TOOL,
}  # fmt: skip
NONE: frozenset[int] = frozenset()
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
    turns: list[tuple[str, str]] = []
    unlearned: list[int] = []
    for number, message in enumerate(messages):
        if type(message) is dict and len(message) == 2:  # as nearly all are: role and content, and nothing more
            role, text = message.get("role"), message.get("content")
            if type(text) is str and (role == "user" or role == "assistant"):
                turns.append((role, text))
                continue
        turns.append(read_turn(message, number + 1))
        if message.get("weight") == 0:
            unlearned.append(number)
    given = row.get("conversation")
    return Dialog(turns, given if isinstance(given, str) else "", unlearned=frozenset(unlearned) if unlearned else NONE)


def read_turn(message: Any, number: int) -> tuple[str, str]:
    """Raises BadRow that names the message by its number."""
    if not isinstance(message, dict):
        raise BadRow(f"message {number} is {describe(message)}, {EXPECTED}")
    if "role" not in message and "from" not in message:
        raise BadRow(f"message {number} has no role, found {describe(message)}, {EXPECTED}")
    name = message.get("role", message.get("from"))
    role = ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise BadRow(f"message {number} has the role {str(name)[:40]!r}, expected system, user or assistant")
    text = text_of_parts(message.get("content", message.get("value")))
    if message.get("tool_calls") or message.get("function_call"):
        return (role, text) if text else (TOOL, "")
    if text is None:
        if role == TOOL:
            return TOOL, ""
        raise BadRow(f"message {number} has no text, found {describe(message)}, {EXPECTED}")
    return role, text
