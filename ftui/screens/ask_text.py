"""A line of text, asked for in a box."""

from __future__ import annotations

from collections.abc import Callable

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from engines.contract.errors import UserError
from ftui.clean import clean
from ftui.screens.dialog import Dialog


class AskText(Dialog[str]):
    """Answers with the text; `check` raises UserError for one that cannot be, which is shown in the box."""

    DEFAULT_CSS = "AskText #ask-hint { color: $foreground-muted; padding: 0 1; height: auto; }"

    def __init__(self, title: str, hint: str, value: str = "", check: Callable[[str], object] = str):
        super().__init__()
        self.heading = title
        self.hint = hint
        self.value = value
        self.check = check

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(clean(self.heading))
            box.border_subtitle = Content("enter takes it, esc cancels")
            yield Input(self.value, id="ask-text", select_on_focus=False)
            yield Static(Content(clean(self.hint)), id="ask-hint", markup=False)

    def on_mount(self) -> None:
        box = self.query_one(Input)
        box.focus()
        box.cursor_position = len(box.value)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            self.check(event.value.strip())
        except UserError as error:
            words = clean(f"✗ {error.cause}. {error.next_step}")
            self.query_one("#ask-hint", Static).update(Content.styled(words, "$text-error"))
            return
        self.dismiss(event.value.strip())
