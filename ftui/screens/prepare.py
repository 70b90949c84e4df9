"""How a chosen file becomes a dataset: its name and the parameters, with the command that does the same."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from engines.config import JobConfig, PrepareConfig
from engines.errors import UserError
from engines.workspace import check_name
from ftui import command_line
from ftui.clean import clean_line
from ftui.screens.dialog import Dialog
from ftui.typing_keys import is_typed
from ftui.widgets.config_form import ConfigForm, FieldRow, FieldSpec

NAME = FieldSpec("name", "Name", "What the dataset is called in the workspace", "", "text", (), "")
KEYS = "j and k move, enter edits, s starts, esc cancels"


class PrepareScreen(Dialog[tuple[Path, str, JobConfig]]):
    """Answers with the path, the dataset's name and the parameters: of `model`, which tells what the path is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(keys, action, show=False, priority=True)
        for keys, action in (
            ("s", "start"), ("enter", "edit"), ("backspace", "reset"), ("y", "copy"),
            ("j,down", "move(1)"), ("k,up", "move(-1)"), ("tab", "step(1)"), ("shift+tab", "step(-1)"),
        )
    ]  # fmt: skip
    TYPED: ClassVar[dict[str, str]] = {"start": "s", "edit": "enter", "reset": "backspace", "copy": "y", "move": "j"}
    DEFAULT_CSS = """
    PrepareScreen ConfigForm { height: auto; max-height: 16; }
    PrepareScreen #prepare-help { color: $foreground-muted; height: 2; padding: 0 1; }
    PrepareScreen #prepare-command { height: auto; max-height: 5; padding: 0 1; }
    """

    def __init__(self, home: Path, path: Path, name: str, taken: set[str], model: type[JobConfig] = PrepareConfig):
        super().__init__()
        self.home = home
        self.path = path
        self.taken = taken
        self.model = model
        self.form = ConfigForm(model, model(), {NAME: name})

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(f"Make a dataset from {clean_line(self.path.name)}")
            box.border_subtitle = Content(KEYS)
            yield self.form
            yield Static("", id="prepare-help", markup=False)
            yield Static("", id="prepare-command", markup=False)

    def on_mount(self) -> None:
        self.form.query(FieldRow).first().focus()
        self._changed()

    @property
    def dataset_name(self) -> str:
        return str(self.form.extras["name"])

    def _problem(self) -> str:
        try:
            check_name(self.dataset_name, "a dataset")
        except UserError as error:
            return f"{error.cause}. {error.next_step}"
        return self.form.problem

    @on(ConfigForm.Changed)
    @on(ConfigForm.ExtraChanged)
    def _changed(self) -> None:
        problem = self._problem()
        if problem:
            text = Content.styled(f"✗ {clean_line(problem)}", "$text-error")
        else:
            text = Content.assemble(("s ", "bold $accent"), ("$ ", "$foreground-muted"), clean_line(self.command()))
            if self.dataset_name in self.taken:
                warning = f"\n⚠ this replaces the dataset {clean_line(self.dataset_name)}"
                text += Content.styled(warning, "$text-warning")
        self.query_one("#prepare-command", Static).update(text)

    @on(ConfigForm.Described)
    def _described(self, event: ConfigForm.Described) -> None:
        self.query_one("#prepare-help", Static).update(Content(event.text))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        key = self.TYPED.get(action)
        return key is None or not is_typed(self.focused, key)

    def command(self) -> str:
        words = command_line.prepare if self.model is PrepareConfig else command_line.generate
        return words(self.home, self.path, self.dataset_name, self.form.differences)

    def action_start(self) -> None:
        config = self.form.config
        if self._problem() or config is None:
            self.notify(self._problem(), severity="warning", markup=False)
            return
        self.dismiss((self.path, self.dataset_name, config))

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
