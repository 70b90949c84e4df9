"""How a model server is started: its kind and parameters, with the command that does the same."""

from __future__ import annotations

from pathlib import Path

from textual import on

from engines.config.serve import ServeConfig
from ftui import command_line
from ftui.screens.form import FormScreen
from ftui.widgets.config_form import ConfigForm

NOTES = {
    "light": "It answers one request at a time; vllm is for load.",
    "vllm": "It needs an environment of its own: ftui setup vllm.",
    "llama-server": "It needs llama.cpp: ftui setup llama. The base model is converted once, which takes some minutes.",
}


class StartServerScreen(FormScreen[ServeConfig]):
    """Answers with the parameters."""

    def __init__(self, home: Path):
        super().__init__("Start a model server", ConfigForm(ServeConfig, ServeConfig()))
        self.home = home

    @on(ConfigForm.Changed)
    def _kind_changed(self) -> None:
        self.form.show_kind(self.form.values["kind"])

    def on_mount(self) -> None:
        self._kind_changed()

    def command(self) -> str:
        return command_line.serve(self.home, self.form.differences)

    def note(self) -> str:
        return NOTES[self.form.values["kind"]]

    def answer(self) -> ServeConfig | None:
        return self.form.config
