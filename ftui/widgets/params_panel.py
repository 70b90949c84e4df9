"""The Parameters pane: a preset, the adapter's name, and every parameter of a training."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Select, Static

from engines.config import PRESETS, TrainConfig, preset
from ftui.widgets.config_form import ConfigForm, FieldRow, FieldSpec
from ftui.widgets.pane import Pane

PRESET = FieldSpec("preset", "Preset", "A set of parameters to begin with; • marks what you changed", "", "choice",
                   tuple(PRESETS), "")  # fmt: skip
NAME = FieldSpec("name", "Adapter name", "Empty: the dataset's name with the date", "", "text", (), "")


class ParamsPanel(Pane):
    """Holds the form; `Changed` tells that the parameters are others now."""

    DEFAULT_CSS = """
    ParamsPanel ConfigForm { height: 1fr; scrollbar-size-vertical: 1; }
    ParamsPanel #param-help { height: 2; padding: 0 1; color: $foreground-muted; }
    """

    class Changed(Message):
        """The parameters, or their validity, changed."""

    class Ready(Message):
        """The form stands."""

        def __init__(self, panel: ParamsPanel):
            super().__init__()
            self.panel = panel

    def __init__(self, last: TrainConfig | None, *, id: str | None = None):
        super().__init__(id=id, classes="pane")
        self.preset = nearest(last) if last else "standard"
        self.form = ConfigForm(TrainConfig, preset(self.preset), {PRESET: self.preset, NAME: ""}, id="train-form")
        if last is not None:
            self.form.values = last.model_dump()

    def compose(self) -> ComposeResult:
        yield self.form
        yield Static(Content("j k move, enter edits, p chooses a preset"), id="param-help", markup=False)

    def on_mount(self) -> None:
        self.post_message(self.Ready(self))

    @property
    def adapter_name(self) -> str:
        return str(self.form.extras["name"])

    def use_preset(self, name: str) -> None:
        self.preset = name
        self.form.put("preset", name)
        self.form.fill(preset(name))

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

    def choose_preset(self) -> None:
        row = self.form.query_one("#field-preset", FieldRow)
        row.query_one(Select).action_show_overlay()

    @on(ConfigForm.ExtraChanged)
    def _extra_changed(self, event: ConfigForm.ExtraChanged) -> None:
        if event.name == "preset":
            self.preset = event.value
            self.form.fill(preset(event.value))
        self.post_message(self.Changed())

    @on(ConfigForm.Changed)
    def _form_changed(self, event: ConfigForm.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())

    @on(ConfigForm.Described)
    def _described(self, event: ConfigForm.Described) -> None:
        self.query_one("#param-help", Static).update(Content(event.text), layout=False)


def nearest(config: TrainConfig) -> str:
    """The preset of which `config` is the smallest variation."""
    values = config.model_dump()
    distances = {
        name: sum(values[field] != value for field, value in base.model_dump().items())
        for name, base in PRESETS.items()
    }
    return min(distances, key=lambda name: distances[name])
