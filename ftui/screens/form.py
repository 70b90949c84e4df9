"""A box with the parameters of a job, and the command that does what `s` is about to do."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from ftui.clean import clean_line
from ftui.screens.dialog import Dialog
from ftui.typing_keys import is_typed
from ftui.widgets.config_form import ConfigForm, FieldRow

KEYS = "j and k move, enter edits, s starts, esc cancels"
Result = TypeVar("Result")


class FormScreen(Dialog[Result]):
    """Answers with what `answer` makes of the form."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(keys, action, show=False, priority=True)
        for keys, action in (
            ("s", "start"), ("enter", "edit"), ("backspace", "reset"), ("y", "copy"),
            ("j,down", "move(1)"), ("k,up", "move(-1)"), ("tab", "step(1)"), ("shift+tab", "step(-1)"),
        )
    ]  # fmt: skip
    TYPED: ClassVar[dict[str, str]] = {"start": "s", "edit": "enter", "reset": "backspace", "copy": "y", "move": "j"}
    DEFAULT_CSS = """
    FormScreen ConfigForm { height: auto; max-height: 16; }
    FormScreen #form-help { color: $foreground-muted; height: 2; padding: 0 1; }
    FormScreen #form-command { height: auto; max-height: 5; padding: 0 1; }
    """

    def __init__(self, heading: str, form: ConfigForm):
        super().__init__()
        self.heading = heading
        self.form = form

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(clean_line(self.heading))
            box.border_subtitle = Content(KEYS)
            yield self.form
            yield Static("", id="form-help", markup=False)
            yield Static("", id="form-command", markup=False)

    def on_mount(self) -> None:
        self.form.query(FieldRow).first().focus()
        self._changed()

    def problem(self) -> str:
        """Why it cannot be started as it stands; empty if it can."""
        return self.form.problem

    def command(self) -> str:
        """What `s` does, on the command line."""
        raise NotImplementedError

    def note(self) -> str:
        """A line under the command; a warning begins with ⚠ and stands above it."""
        return ""

    def answer(self) -> Result | None:
        """What the form says, when nothing is wrong with it."""
        raise NotImplementedError

    @on(ConfigForm.Changed)
    @on(ConfigForm.ExtraChanged)
    def _changed(self) -> None:
        problem = self.problem()
        if problem:
            text = Content.styled(f"✗ {clean_line(problem)}", "$text-error")
        else:
            text = Content.assemble(("s ", "bold $accent"), ("$ ", "$foreground-muted"), clean_line(self.command()))
            note = clean_line(self.note())
            if note.startswith("⚠"):  # first, because a small screen cuts the end
                text = Content.styled(f"{note}\n", "$text-warning") + text
            elif note:
                text += Content.styled(f"\n{note}", "$foreground-muted")
        self.query_one("#form-command", Static).update(text)

    @on(ConfigForm.Described)
    def _described(self, event: ConfigForm.Described) -> None:
        self.query_one("#form-help", Static).update(Content(event.text))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        key = self.TYPED.get(action)
        return key is None or not is_typed(self.focused, key)

    def action_start(self) -> None:
        if self.problem():
            self.notify(self.problem(), severity="warning", markup=False)
            return
        self.dismiss(self.answer())

    def action_edit(self) -> None:
        row = self.form.row()
        if row is not None:
            row.edit()

    def action_reset(self) -> None:
        self.form.reset()

    def action_move(self, step: int) -> None:
        self.form.move(step)

    def action_step(self, step: int) -> None:
        """tab leaves a field that is being edited, too."""
        self.form.move(step)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self.command())
        self.notify("Copied", markup=False)

    def action_close(self) -> None:
        if not self.form.leave():
            self.dismiss(None)
