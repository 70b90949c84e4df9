"""A fast way for lines of JSON all of which have the plain shape of their format, as nearly all have.

Each format describes that shape as a class; lines with anything else in them are read one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from finetune.formats.dialog import Dialog

DecodeLines = Callable[[bytes], Sequence[Dialog] | None]


class Plain(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A row with nothing in it but what is used."""


def plain_lines(shape: type[msgspec.Struct], as_dialog: Callable[[Any], Dialog | None]) -> DecodeLines:
    """What decodes lines of `shape`; it returns None if a line has another one, or `as_dialog` says so by None."""
    decode = msgspec.json.Decoder(shape).decode_lines

    def decode_lines(lines: bytes) -> Sequence[Dialog] | None:
        try:
            rows = decode(lines)
        except (ValueError, RecursionError):
            return None
        dialogs = list(map(as_dialog, rows))
        return cast("list[Dialog]", dialogs) if all(dialogs) else None

    return decode_lines
