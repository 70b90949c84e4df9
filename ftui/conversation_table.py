"""The table of kept conversations in both faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftui import format
from ftui.clean import clean_line

if TYPE_CHECKING:
    from engines.servers.kept_conversations import Kept

HEADINGS = ("date", "first question", "with", "turns", "id")  # what one looks for first
LONGEST_QUESTION = 32
LONGEST_PARTNERS = 16


def cells(kept: Kept) -> tuple[str, ...]:
    partners = _short(", ".join(kept.partners), LONGEST_PARTNERS)
    question = _short(kept.first_question, LONGEST_QUESTION)
    return (format.date(kept.at), question, partners, str(len(kept.turns)), kept.id)


def _short(text: str, most: int) -> str:
    line = clean_line(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"
