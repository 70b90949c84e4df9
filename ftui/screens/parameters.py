"""The parameters of a job and nothing else, asked for before it starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engines.config.job import JobConfig
from ftui.screens.form import FormScreen
from ftui.widgets.config_form import ConfigForm


class ParametersScreen(FormScreen[JobConfig]):
    """Answers with the parameters. `command_of` makes the command of what differs from `base`."""

    def __init__(self, heading: str, base: JobConfig, command_of: Callable[[dict[str, Any]], str]):
        super().__init__(heading, ConfigForm(type(base), base))
        self.command_of = command_of

    def command(self) -> str:
        return self.command_of(self.form.differences)

    def answer(self) -> JobConfig | None:
        return self.form.config
