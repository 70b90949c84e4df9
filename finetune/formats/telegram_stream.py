"""Telegram exports whose keys stand in another order, such as sorted: read value by value, which is slower."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from finetune.formats.json_stream import DamagedJson
from finetune.formats.mending_stream import MendingStream
from finetune.formats.telegram_message import UNDECODABLE, Chat

BATCH = 500
HEAD = ("id", "name", "type")


def walk_chats(stream: MendingStream) -> Iterator[list[Any] | Chat]:
    """The messages of one chat in lists, of which the first is empty, then its head; then the next chat.

    Raises DamagedJson, after what is there.
    """
    head: dict[str, Any] = {}
    batch: list[Any] = []
    has_messages = False
    try:
        for key in stream.members():
            if key == "messages" and stream.peek() == "[":
                has_messages = True
                yield []
                for message in stream.messages():
                    batch.append(message)
                    if len(batch) == BATCH:
                        yield batch
                        batch = []
                yield batch
                batch = []
            elif key in ("chats", "left_chats") and stream.peek() == "{":
                for inner in stream.members():
                    if inner == "list" and stream.peek() == "[":
                        for _ in stream.items():
                            yield from walk_chats(stream)
                    else:
                        stream.value()
            else:
                value = stream.value()
                if key in HEAD:
                    head[key] = value
    except DamagedJson:
        if has_messages:
            yield batch
            yield as_chat(head)
        raise
    if has_messages:
        yield as_chat(head)


def as_chat(head: dict[str, Any]) -> Chat:
    """Fields that are not as they should be count as missing."""
    try:
        return msgspec.convert(head, Chat)
    except UNDECODABLE:
        fitting = {name: value for name, value in head.items() if _fits({name: value})}
        return msgspec.convert(fitting, Chat)


def _fits(head: dict[str, Any]) -> bool:
    try:
        msgspec.convert(head, Chat)
    except UNDECODABLE:
        return False
    return True
