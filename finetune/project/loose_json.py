"""JSON as language models write it: in fences, with words around it, with commas too many."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_ATTEMPTS = 20  # places at which an object may begin

_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]|\\.)*"?)|,(?=\s*[}\]])', re.DOTALL)
_decode = json.JSONDecoder(strict=False).raw_decode


def repaired(text: str) -> dict[str, Any] | None:
    """The first outermost object in `text`, or None if there is none. What was thought aloud before it is left out."""
    text = text.rpartition("</think>")[2]
    start = text.find("{")
    for _ in range(MAX_ATTEMPTS):
        if start < 0:
            break
        try:
            value, _ = _decode(_STRING_OR_COMMA.sub(lambda found: found[1] or "", text[start:]))
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
        else:
            return value if isinstance(value, dict) else None
    return None
