"""Telegram exports for the tests: messages, chats, whole accounts, and how they are laid out."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

OWNER = "user100"
PEER = "user200"
START = 1_700_000_000
NAMES = {OWNER: "Owner", PEER: "Peer"}

_numbers = itertools.count(1)


def message(author: str | int | None, text: Any, at: int = 0, **more: Any) -> dict[str, Any]:
    """One message; `at` is in seconds after START."""
    return {
        "id": next(_numbers),
        "type": "message",
        "date": "2023-11-14T22:13:20",
        "date_unixtime": str(START + at),
        "from": NAMES.get(author, f"Name of {author}") if author is not None else None,  # type: ignore[arg-type]
        "from_id": author,
        "text": text,
        "text_entities": [{"type": "plain", "text": text}] if isinstance(text, str) else text,
    } | more


def service() -> dict[str, Any]:
    return {
        "id": next(_numbers),
        "type": "service",
        "date": "2023-11-14T22:13:20",
        "actor": "Peer",
        "action": "phone_call",
    }


def chat(
    *messages: dict[str, Any], kind: str | None = "personal_chat", id: int = 200, name: str | None = "Peer"
) -> dict[str, Any]:
    head = {"type": kind, "id": id, "messages": list(messages)}
    return head if kind in ("saved_messages", "replies", "verification_codes") else {"name": name, **head}


def account(*chats: dict[str, Any], left: tuple[dict[str, Any], ...] = (), user_id: int | None = 100) -> dict[str, Any]:
    information = {"user_id": user_id, "first_name": "Owner", "last_name": "", "bio": 'a "bio" {'}
    export: dict[str, Any] = {"about": "Here is the data."}
    if user_id is not None:
        export["personal_information"] = information
    export["contacts"] = {"about": "", "list": [{"user_id": 5, "first_name": "x"}]}
    export["chats"] = {"about": "", "list": list(chats)}
    export["left_chats"] = {"about": "", "list": list(left)}
    return export


def dialog(count: int = 1, step: int = 60) -> list[dict[str, Any]]:
    """`count` questions, each with its answer."""
    turns = []
    for number in range(count):
        turns.append(message(PEER, f"question {number}", at=2 * number * step))
        turns.append(message(OWNER, f"answer {number}", at=(2 * number + 1) * step))
    return turns


LAYOUTS: dict[str, dict[str, Any]] = {
    "telegram": {"indent": 1},
    "minified": {"separators": (",", ":")},
    "one line": {},
    "four spaces": {"indent": 4},
    "tabs": {"indent": "\t"},
    "ascii": {"indent": 1, "ensure_ascii": True},
}


def write(path: Path, export: Any, layout: str = "telegram") -> Path:
    options = {"ensure_ascii": False, **LAYOUTS[layout]}
    path.write_text(json.dumps(export, **options), encoding="utf-8", errors="surrogatepass")
    return path
