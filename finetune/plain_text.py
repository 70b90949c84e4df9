"""Text made harmless, and text made shorter."""

from __future__ import annotations

import re

HARMFUL = re.compile("\r\n|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPE = re.compile(rb"\\[bfru]")
_CONTROL = re.compile(rb"\xc2[\x80-\x9f]")  # U+0080 to U+009F
_BREAKS = ("\r\n", "\r", "\x0b", "\x0c", "\x85")
_SENTENCE_END = re.compile(r"(?:[.!?…。！？]+[\"'»”’)\]]*(?=\s|$)|(?=\n))")


def harmless(text: str) -> str:
    """Without control characters; vertical tabs and the like become line breaks, half surrogate pairs U+FFFD."""
    return text if text.isprintable() else HARMFUL.sub(_harmless_character, text)


def is_surely_harmless(json: bytes | bytearray) -> bool:
    """Can no text in this JSON hold control characters? Most of them stand in it as escapes only; False: perhaps."""
    if b"\\" in json and _ESCAPE.search(json):
        return False
    return b"\x7f" not in json and (b"\xc2" not in json or not _CONTROL.search(json))


def _harmless_character(found: re.Match[str]) -> str:
    if found[0] in _BREAKS:
        return "\n"
    return "\ufffd" if found[0] >= "\ud800" else ""


def first_sentences(text: str, limit: int) -> str:
    """As many whole sentences or lines of `text` as fit into `limit` characters; empty if none does."""
    end = 0
    for found in _SENTENCE_END.finditer(text, 0, limit + 1):
        if found.end() <= limit:
            end = found.end()
    return text[:end].rstrip()
