"""A look at the dialogs of a dataset: one page, each turn with the name and the colour of its role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ftui.clean import clean, clean_line
from ftui.format import count

PAGE = 5
ROLE_WIDTH = 10
CONTEXT = "context"  # stands for the role of an answer that is not learned in its row
ROLES = {"user": "$text-primary", "assistant": "$text-success", "system": "$text-warning", CONTEXT: "$foreground-muted"}
Dialogs = Sequence[Sequence[dict[str, Any]]]


def draw(dialogs: Dialogs, first: int, total: int | None, width: int) -> Content:
    """A page of dialogs, the first of which has the number `first`."""
    lines: list[Content] = []
    of = f" of {count(total)}" if total is not None else ""
    for number, dialog in enumerate(dialogs, first + 1):
        lines.append(Content.styled(f"─ dialog {count(number)}{of}", "$foreground-muted"))
        for turn in dialog:
            lines += _turn(turn["role"] if turn.get("weight", 1) else CONTEXT, turn["content"], width)
    return Content("\n").join(lines)


def _turn(role: str, text: str, width: int) -> list[Content]:
    """The role once, the text beside it."""
    body = Content(clean(text).expandtabs(4)).wrap(max(10, width - ROLE_WIDTH))
    label = Content.styled(f"{clean_line(role)[: ROLE_WIDTH - 1]:>{ROLE_WIDTH - 1}} ", f"bold {ROLES.get(role, '')}")
    margin = Content(" " * ROLE_WIDTH)
    return [(margin if number else label) + line for number, line in enumerate(body)] or [label]


class Preview(VerticalScroll, can_focus=True):
    """Shows the page that it is given."""

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id)
        self._text = Static("", markup=False)
        self._page: tuple[Dialogs, int, int | None] = ([], 0, None)

    def compose(self) -> ComposeResult:
        yield self._text

    def show(self, dialogs: Dialogs, first: int, total: int | None) -> None:
        self._page = (dialogs, first, total)
        self._draw()
        self.scroll_home(animate=False)

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        self._text.update(draw(*self._page, self.scrollable_content_region.width))
