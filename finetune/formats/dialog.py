"""What every format of ready-made dialogs is read into, and how a bad row is described."""

from __future__ import annotations

from typing import Any

import msgspec

TOOL = "tool"  # the role of what a program said or was told; never learned, counted


class BadRow(ValueError):
    """The text says what was found and what was expected."""


class Turn(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One message of a dialog, of the role system, user, assistant or tool. `weight` 0: context, not learned."""

    role: str
    content: str
    weight: int = 1


class Dialog(msgspec.Struct, gc=False, omit_defaults=True, rename={"turns": "messages"}):
    """What a record is read into, and a line of a dataset.

    conversation: what a split keeps together; empty, until it is written: the record itself.
    text: to be continued, instead of turns; all of it is learned. label: of a classification.
    """

    turns: list[Turn] = []
    conversation: str = ""
    text: str = ""
    label: str = ""


class Talk(Dialog, gc=False, rename={"turns": "messages"}):
    """A conversation with an assistant, which is not yet a row. name: its title; began: Unix seconds, 0: not known."""

    name: str = ""
    began: int = 0


def describe(value: Any) -> str:
    """A JSON value in a few words."""
    if isinstance(value, dict):
        return "{" + ", ".join(str(key)[:40] for key in list(value)[:6]) + "}"
    return {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")


def wanted_text(row: dict[str, Any], *names: str) -> str:
    """The first of the fields that is there, as text. Raises BadRow."""
    for name in names:
        if name in row:
            value = row[name]
            if isinstance(value, str):
                return value
            raise BadRow(f"{name} is {describe(value)}, expected a text")
    raise BadRow(f"found {describe(row)}, expected {' or '.join(names)}")


def text_of_parts(content: Any) -> str | None:
    """The text of a content that is a string, or a list of parts of which some are text. None: neither."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part if isinstance(part, str) else part.get("text") for part in content if isinstance(part, (str, dict))]
    return "\n".join(part for part in parts if isinstance(part, str))
