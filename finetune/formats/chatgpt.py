"""ChatGPT's `conversations.json` and its shards `conversations-000.json`: trees of messages.

    [{"title": "…", "mapping": {"<id>": {"message": {…}, "parent": "<id>", "children": […]}}, "current_node": "<id>"}]

A conversation is what leads to `current_node`: other branches are answers that were
regenerated or questions that were edited. Hidden messages, thoughts and tools are left out.
"""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import TOOL, BadRow, Talk, Turn, describe, text_of_parts
from finetune.formats.format import RowFormat

LATEST = 253_402_300_800  # Unix seconds; the year 10000 begins


def matches(row: dict[str, Any]) -> bool:
    return isinstance(row.get("mapping"), dict)


def read(row: dict[str, Any]) -> Talk:
    """Raises BadRow."""
    nodes: dict[str, Any] = row["mapping"]
    turns = [turn for node in path(nodes, _last(row, nodes)) if (turn := _turn(node.get("message")))]
    given, title, began = row.get("conversation_id") or row.get("id"), row.get("title"), row.get("create_time")
    return Talk(
        turns,
        given if isinstance(given, str) else "",
        name=title if isinstance(title, str) else "",
        began=int(began) if isinstance(began, (int, float)) and 0 < began < LATEST else 0,
    )


def path(nodes: dict[str, Any], last: str) -> list[dict[str, Any]]:
    """The nodes from the root to `last`. Raises BadRow for a path that goes round."""
    found: dict[str, dict[str, Any]] = {}
    here: Any = last
    while isinstance(here, str) and isinstance(node := nodes.get(here), dict):
        if here in found:
            raise BadRow("the messages go round in a circle, expected a tree")
        found[here] = node
        here = node.get("parent")
    return list(found.values())[::-1]


def _last(row: dict[str, Any], nodes: dict[str, Any]) -> str:
    current = row.get("current_node")
    if isinstance(current, str) and current in nodes:
        return current
    leaves = [name for name, node in nodes.items() if isinstance(node, dict) and not node.get("children")]
    if not leaves:
        raise BadRow(f"found {describe(row)}, expected current_node, the last message")
    return leaves[-1]


def _turn(message: Any) -> Turn | None:
    """None: nothing that was said, so nothing to count."""
    if not isinstance(message, dict):
        return None
    author, content, about = (_dict(message.get(name)) for name in ("author", "content", "metadata"))
    role = author.get("role")
    if about.get("is_visually_hidden_from_conversation"):
        return None
    if role == "system":
        text = text_of_parts(content.get("parts")) or ""
        return Turn("system", text) if about.get("is_user_system_message") and text else None
    kind = content.get("content_type", "text")
    if role == "tool" or (role == "assistant" and message.get("recipient", "all") != "all"):
        return Turn(TOOL, "")
    if role not in ("user", "assistant") or kind not in ("text", "multimodal_text"):
        return None
    return Turn(role, text_of_parts(content.get("parts")) or "")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


FORMAT = RowFormat("chatgpt", matches, read, key="mapping")
