"""The ASCII mode: every sign that we draw has a plain twin, for terminals and fonts without the others.

On with FTUI_ASCII=1, and by itself where the locale is not UTF-8.
"""

from __future__ import annotations

import locale
import os

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_PLAIN = {
    "●": "*", "◌": "o", "◐": "~", "✓": "+", "✗": "x", "■": "#", "·": ".", "–": "-", "—": "-", "…": "~", "»": ">",
    "▼": "v", "▲": "^", "▸": ">", "◂": "<", "◆": "o", "⚠": "!", "×": "x", "•": "*", "→": ">", "█": "#", "░": ".",
    "━": "-", "┃": "|", "┏": "+", "┓": "+", "┗": "+", "┛": "+", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "─": "-",
    "│": "|", "┼": "+", "┤": "|", "├": "|", "└": "+", "┘": "+", "┌": "+", "┐": "+", "┬": "+", "┴": "+",
    "▔": "-", "▁": "_", "▂": "_", "▃": "_", "▄": "_", "▅": "#", "▆": "#", "▇": "#", "▀": "#", "▊": "|", "▎": "|",
    "▉": "#", "▋": "|", "▍": "|", "▌": "|", "▐": "|", "✎": "e", "▏": "|", "▕": "|",
}  # fmt: skip
_UPPER_DOTS, _LOWER_DOTS = 0x1B, 0xE4  # the bits of a Braille cell by height


def _braille(dots: int) -> str:
    """The ASCII character that stands about where the dots are."""
    up, down = dots & _UPPER_DOTS, dots & _LOWER_DOTS
    return " " if not dots else ":" if up and down else "'" if up else "."


_TABLE = str.maketrans({**_PLAIN, **{chr(0x2800 + dots): _braille(dots) for dots in range(256)}})


class AsciiFilter(LineFilter):
    """Replaces our signs on their way to the terminal. Each twin is one cell wide, as the sign is."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if text.isascii() else Segment(text.translate(_TABLE), segment.style, segment.control)
            for segment in segments
            for text in (segment.text,)
        ]


def wanted() -> bool:
    chosen = os.environ.get("FTUI_ASCII", "")
    if chosen:
        return chosen != "0"
    return locale.getpreferredencoding(False).lower().replace("-", "") not in ("utf8", "utf8sig")
