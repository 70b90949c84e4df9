"""The table of kept conversations in both faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftui import format
from ftui.clean import clean_line

if TYPE_CHECKING:
    from engines.servers.kept_conversations import Kept

HEADINGS = ("id", "date", "with", "turns", "first question")
LONGEST_QUESTION = 40
LONGEST_PARTNERS = 24


def cells(kept: Kept) -> tuple[str, ...]:
    partners = _short(", ".join(kept.partners), LONGEST_PARTNERS)
    question = _short(kept.first_question, LONGEST_QUESTION)
    return (kept.id, format.date(kept.at), partners, str(len(kept.turns)), question)


def _short(text: str, most: int) -> str:
    line = clean_line(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"
