"""The pre-flight of a training: its figures, what is learned of three rows, and changes that make it fit."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ftui import preflight
from ftui.clean import clean, clean_line
from ftui.screens.dialog import Dialog
from ftui.widgets.token_view import draw_rows


class PreflightScreen(Dialog[str]):
    """Closes with `fit` where the changes are wanted, with `probe` where the speed shall be measured."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,enter,v", "close", show=False),
        Binding("f", "answer('fit')", show=False),
        Binding("p", "answer('probe')", show=False),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]

    def __init__(self, found: dict[str, Any]):
        super().__init__()
        self.found = found

    @property
    def answers(self) -> dict[str, str]:
        """Key to words, for what can be answered now."""
        fit = {"f": "make it fit"} if self.found["changes"] and self.found["fits_after_changes"] else {}
        return fit | ({} if self.found["probe"] else {"p": "probe speed and memory"})

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box") as box:
            box.border_title = Content("Before the training")
            words = [f"{key} {text}" for key, text in self.answers.items()]
            box.border_subtitle = Content(", ".join([*words, "esc closes"]))
            yield Static(draw(self.found), markup=False)

    def on_mount(self) -> None:
        self.query_one(".box").focus()

    def action_scroll(self, lines: int) -> None:
        self.query_one(".box").scroll_relative(y=lines, animate=False)

    def action_answer(self, answer: str) -> None:
        if answer[0] in self.answers:
            self.dismiss(answer)


def draw(found: dict[str, Any]) -> Content:
    lines = [
        Content.assemble((f"{title:<12} ", "$foreground-muted"), clean_line(text))
        for title, text in preflight.facts(found)
    ]
    style = "$text-warning" if found["fits"] or found["fits_after_changes"] else "$text-error"
    lines += [Content.styled(f"⚠ {clean(text)}", style) for text in [*preflight.advice(found), *found["warnings"]]]
    return Content("\n").join([*lines, Content(""), *draw_rows(found["mask"], 1)])
