"""What a format says of itself. `finetune.formats.FORMATS` lists them all."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.formats.chat_export import ChatExport
from finetune.formats.dialog import Dialog
from finetune.formats.plain_lines import DecodeLines

Matches = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class RowFormat:
    """A shape of JSON records and of lines of a table, each of which is a dialog or a text.

    key: stands in a record of this format alone; it tells of one that is larger than what was looked at.
    joined: all records of a file are one conversation. decode_lines: a faster way for lines all of which it reads.
    """

    name: str
    matches: Matches
    read: Callable[[dict[str, Any]], Dialog]
    key: str = ""
    joined: bool = False
    decode_lines: DecodeLines | None = None


@dataclass(frozen=True)
class ChatFormat:
    """An export of a messenger, whose messages are yet to be formed into dialogs.

    has_keys: is it this format, a JSON object with these keys? is_text: or a text that begins so?
    """

    name: str
    open: Callable[[Path], ChatExport]
    has_keys: Callable[[Collection[str]], bool] = lambda keys: False
    is_text: Callable[[str], bool] = lambda head: False
