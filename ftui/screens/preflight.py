"""The pre-flight of a training: its figures, what is learned of three rows, and changes that make it fit."""

from __future__ import annotations

from textwrap import wrap
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ftui import preflight
from ftui.clean import clean_line
from ftui.screens.dialog import ScrolledDialog
from ftui.widgets.token_view import LEGEND, draw_rows


class PreflightScreen(ScrolledDialog[str]):
    """Closes with `fit` where the changes are wanted, with `probe` where the speed shall be measured."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,enter,v", "close", show=False),
        Binding("f", "answer('fit')", show=False),
        Binding("p", "answer('probe')", show=False),
    ]

    def __init__(self, found: dict[str, Any]):
        super().__init__()
        self.found = found

    @property
    def answers(self) -> dict[str, str]:
        """Key to words, for what can be answered now."""
        fit = {"f": "make it fit"} if self.found["changes"] and self.found["fits_after_changes"] else {}
        return fit | ({} if self.found["probe"] or not self.found["fits"] else {"p": "probe speed and memory"})

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box") as box:
            box.border_title = Content("Before the training")
            words = [f"{key} {text}" for key, text in self.answers.items()]
            box.border_subtitle = Content(", ".join([*words, "esc closes"]))
            yield Static("", markup=False)

    def on_resize(self) -> None:
        self.query_one(".box Static", Static).update(draw(self.found, self.room))

    def action_answer(self, answer: str) -> None:
        if answer[0] in self.answers:
            self.dismiss(answer)


TITLE = 13  # characters


def draw(found: dict[str, Any], width: int) -> Content:
    """Title and figures of each line, in `width` characters; below them advice, warnings and three rows."""
    lines = []
    for title, text in preflight.facts(found):
        first, *more = wrap(clean_line(text), width - TITLE, break_on_hyphens=False) or [""]
        lines.append(Content.assemble((f"{title:<{TITLE}}", "$foreground-muted"), first))
        lines += [Content(" " * TITLE + line) for line in more]
    lines += _marked("→" if found["fits"] else "⚠", preflight.advice(found), _style(found), width)
    lines += _marked("⚠", found["warnings"], "$text-warning", width)
    return Content("\n").join([*lines, Content(""), LEGEND, *draw_rows(found["mask"], 1)])


def _style(found: dict[str, Any]) -> str:
    """Of advice: a hint, a warning, or that it cannot be."""
    if found["fits"]:
        return "$text-primary"
    return "$text-warning" if found["fits_after_changes"] else "$text-error"


def _marked(mark: str, texts: list[str], style: str, width: int) -> list[Content]:
    lines = ("\n  ".join(wrap(clean_line(text), width - 2, break_on_hyphens=False)) for text in texts)
    return [Content.styled(f"{mark} {text}", style) for text in lines]
