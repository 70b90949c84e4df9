"""Foreign text made harmless for a terminal: log lines, chat messages, names of files and adapters.

An escape sequence in a chat message could otherwise write the clipboard or move the
cursor. Every string that we did not write goes through `clean` before it is shown.
"""

from __future__ import annotations

import re

# CSI; OSC, DCS, SOS, PM and APC up to their end; other escapes; the same with one-byte C1 codes.
_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"
    r"|\x1b[ -/]*[0-~]"
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|[\x9d\x90\x98\x9e\x9f].*?(?:\x9c|\x07|$)",
    re.DOTALL,
)
# What is left of control characters, and the characters that reorder or hide text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_ANY = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def clean(text: str) -> str:
    """`text` without escape sequences and control characters; line breaks and tabs stay."""
    return _CONTROL.sub("\ufffd", _SEQUENCE.sub("", text)) if _ANY.search(text) else text


def clean_line(text: str) -> str:
    """The same for one line: line breaks and tabs become spaces."""
    return clean(text).replace("\n", " ").replace("\t", "    ")
