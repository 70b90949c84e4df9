"""What an evaluation of an adapter shall measure, with the command that does the same."""

from __future__ import annotations

from pathlib import Path

from engines.config.evaluate import EvaluateConfig
from ftui import command_line
from ftui.screens.form import FormScreen
from ftui.widgets.config_form import ConfigForm


class EvaluateScreen(FormScreen[EvaluateConfig]):
    """Answers with the parameters."""

    def __init__(self, home: Path, adapter: str):
        super().__init__(f"Evaluate {adapter}", ConfigForm(EvaluateConfig, EvaluateConfig()))
        self.home = home
        self.adapter = adapter

    def command(self) -> str:
        return command_line.evaluate(self.home, self.adapter, self.form.differences)

    def answer(self) -> EvaluateConfig | None:
        config = self.form.config
        return config if isinstance(config, EvaluateConfig) else None
