"""Claude's `conversations.json`, both shapes.

    [{"uuid": "…", "name": "…", "chat_messages": [{"sender": "human", "content": [{"type": "text", …}], "text": "…"}]}]
    [{"sender": "User", "userInput": "…"}, {"sender": "Claude", "claudeOutputText": "…"}]     all one conversation

Of a content only its text is read: what was thought, and what tools were asked and said, is not.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from finetune.formats.dialog import BadRow, Talk, Turn, describe
from finetune.formats.format import RowFormat

ROLES = {"human": "user", "user": "user", "assistant": "assistant", "claude": "assistant"}
_NOT_SUPPORTED = re.compile(r"```\s*\n?This block is not supported on your current device yet\.\s*\n?```\n*")


def matches(row: dict[str, Any]) -> bool:
    return isinstance(row.get("chat_messages"), list)


def read(row: dict[str, Any]) -> Talk:
    """Raises BadRow."""
    turns = []
    for number, message in enumerate(row["chat_messages"], 1):
        if not isinstance(message, dict):
            raise BadRow(f"message {number} is {describe(message)}, expected a sender and a text")
        turns.append(Turn(_role(message, number), _text(message)))
    uuid, name = row.get("uuid"), row.get("name")
    return Talk(
        turns,
        uuid if isinstance(uuid, str) else "",
        name=name if isinstance(name, str) else "",
        began=_time(row.get("created_at")),
    )


def _time(moment: Any) -> int:
    """Unix seconds; 0 for what is no moment since 1970."""
    try:
        return max(0, int(datetime.fromisoformat(str(moment)).timestamp()))
    except (ValueError, OverflowError):
        return 0


def matches_turn(row: dict[str, Any]) -> bool:
    return "sender" in row and ("userInput" in row or "claudeOutputText" in row)


def read_turn(row: dict[str, Any]) -> Talk:
    """One turn of the older shape, whose rows are one conversation. Raises BadRow."""
    text = row.get("userInput") or row.get("claudeOutputText") or ""
    if not isinstance(text, str):
        raise BadRow(f"the text is {describe(text)}, expected a text")
    return Talk([Turn(_role(row, 1), _cleaned(text))], "0")


def _role(message: dict[str, Any], number: int) -> str:
    role = ROLES.get(str(message.get("sender")).lower())
    if role is None:
        raise BadRow(f"message {number} is of {str(message.get('sender'))[:40]!r}, expected human or assistant")
    return role


def _text(message: dict[str, Any]) -> str:
    parts = message.get("content")
    texts = [
        part["text"]
        for part in (parts if isinstance(parts, list) else [])
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    ]
    whole = message.get("text")
    return _cleaned("\n".join(texts) or (whole if isinstance(whole, str) else ""))


def _cleaned(text: str) -> str:
    return _NOT_SUPPORTED.sub("", text)


FORMAT = RowFormat("claude", matches, read, key="chat_messages")
OLDER = RowFormat("claude", matches_turn, read_turn, joined=True)
