"""The Parameters pane: a preset, the adapter's name, and every parameter of a training."""

from __future__ import annotations

from collections.abc import Callable

from textual import on
from textual.widgets import Select

from engines.config.train import PRESETS, TrainConfig, preset
from ftui.widgets.config_form import ConfigForm, FieldRow, FieldSpec
from ftui.widgets.form_panel import FormPanel

PRESET = FieldSpec("preset", "Preset", "A set of parameters to begin with; • marks what you changed", "", "choice",
                   tuple(PRESETS), "")  # fmt: skip
NAME = FieldSpec("name", "Adapter name", "Empty: the dataset's name with the date", "", "text", (), "")


class ParamsPanel(FormPanel):
    """The parameters of a training as a variation of a preset."""

    HINT = "j k move, enter edits, p chooses a preset, B a base model"

    def __init__(
        self, last: TrainConfig | None, family_defaults: Callable[[str], dict[str, float]], *, id: str | None = None
    ):
        """family_defaults: what a base model wants other than the preset has, see LLMEngine."""
        self.preset = nearest(last) if last else "standard"
        form = ConfigForm(TrainConfig, preset(self.preset), {PRESET: self.preset, NAME: ""}, id="train-form")
        super().__init__(form, id=id)
        if last is not None:
            form.values = last.model_dump()
        self._family_defaults = family_defaults
        self._base_model = str(form.values["base_model"])
        self._defaults = family_defaults(self._base_model)

    @property
    def adapter_name(self) -> str:
        return str(self.form.extras["name"])

    def use_preset(self, name: str) -> None:
        self.preset = name
        self.form.put("preset", name)
        self.form.fill(preset(name))

    def choose_preset(self) -> None:
        row = self.form.query_one("#field-preset", FieldRow)
        row.query_one(Select).action_show_overlay()

    @on(ConfigForm.Changed)
    def _fit_family(self) -> None:
        """Another base model: what nobody has changed becomes what its family wants."""
        base_model = str(self.form.values["base_model"])
        if base_model == self._base_model:
            return
        usual, before, after = self.form.base.model_dump(), self._defaults, self._family_defaults(base_model)
        self._base_model, self._defaults = base_model, after
        for name in {**before, **after}:
            if self.form.values[name] in (usual[name], before.get(name)):
                self.form.change(name, after.get(name, usual[name]))

    @on(ConfigForm.ExtraChanged)
    def _extra_changed(self, event: ConfigForm.ExtraChanged) -> None:
        if event.name == "preset":
            self.preset = event.value
            self.form.fill(preset(event.value))
        self.post_message(self.Changed())


def nearest(config: TrainConfig) -> str:
    """The preset of which `config` is the smallest variation."""
    values = config.model_dump()
    distances = {
        name: sum(values[field] != value for field, value in base.model_dump().items())
        for name, base in PRESETS.items()
    }
    return min(distances, key=lambda name: distances[name])
