"""A pane with the form of one parameter model, and the help of the row in focus below it."""

from __future__ import annotations

from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from ftui.widgets.config_form import ConfigForm, FieldRow
from ftui.widgets.pane import Pane


class FormPanel(Pane):
    """Holds the form; `Changed` tells that the parameters are others now."""

    DEFAULT_CSS = """
    FormPanel ConfigForm { height: 1fr; scrollbar-size-vertical: 1; }
    FormPanel #param-help { height: 2; padding: 0 1; color: $foreground-muted; }
    """
    HINT = "j k move, enter edits, backspace brings the default back"

    class Changed(Message):
        """The parameters, or their validity, changed."""

    class Ready(Message):
        """The form stands."""

        def __init__(self, panel: FormPanel):
            super().__init__()
            self.panel = panel

    def __init__(self, form: ConfigForm[Any], *, id: str | None = None):
        super().__init__(id=id, classes="pane")
        self.form = form

    def compose(self) -> ComposeResult:
        yield self.form
        yield Static(Content(self.HINT), id="param-help", markup=False)

    def on_mount(self) -> None:
        self.post_message(self.Ready(self))

    def target(self) -> Widget:
        return self.form.row() or self.form.query(FieldRow).first()

    def leave(self) -> bool:
        return self.form.leave()

    def move(self, where: str) -> None:
        self.form.move({"down": 1, "up": -1, "top": -1000, "bottom": 1000}[where])

    def do_edit(self) -> None:
        row = self.form.row()
        if row is not None:
            row.edit()

    def do_reset(self) -> None:
        self.form.reset()

    @on(ConfigForm.Changed)
    def _form_changed(self, event: ConfigForm.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())

    @on(ConfigForm.Described)
    def _described(self, event: ConfigForm.Described) -> None:
        self.query_one("#param-help", Static).update(Content(event.text), layout=False)
