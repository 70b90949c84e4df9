"""How a sweep is started: search space, name and parameters, with the command that does the same."""

from __future__ import annotations

from pathlib import Path

from engines.config.sweep import SweepConfig
from engines.contract.errors import UserError
from engines.tuning import sweep_space
from engines.tuning.sweep_space import Plan
from engines.workspace import check_name
from ftui import command_line
from ftui.screens.form import FormScreen
from ftui.sweep_table import ranges
from ftui.widgets.config_form import ConfigForm, FieldSpec

NAME = FieldSpec("sweep_name", "Name", "The adapters are called NAME-t01, NAME-t02 …", "", "text", (), "")
SPACE = FieldSpec(
    "space", "Search space", "A YAML file; edit it in another terminal, it is read again", "", "text", (), ""
)


class StartSweepScreen(FormScreen[tuple[Plan, str]]):
    """Answers with the plan and the sweep's name."""

    def __init__(self, home: Path, dataset: str, name: str, space: Path):
        super().__init__(
            f"Search for good parameters on {dataset}",
            ConfigForm(SweepConfig, SweepConfig(), {NAME: name, SPACE: str(space)}),
        )
        self.home = home
        self.dataset = dataset

    @property
    def space(self) -> Path:
        return Path(str(self.form.extras["space"])).expanduser()

    def plan(self) -> Plan:
        """Raises UserError."""
        return sweep_space.make_plan(sweep_space.read(self.space), self.form.differences)

    def problem(self) -> str:
        try:
            check_name(str(self.form.extras["sweep_name"]), "a sweep")
            if not self.form.problem:
                self.plan()
        except UserError as error:
            return f"{error.cause}. {error.next_step}"
        return self.form.problem

    def note(self) -> str:
        plan = self.plan()
        return f"{plan.trials} trials of {', '.join(ranges(plan))}"

    def command(self) -> str:
        name = str(self.form.extras["sweep_name"])
        return command_line.sweep(self.home, self.space, self.dataset, name, self.form.differences)

    def answer(self) -> tuple[Plan, str] | None:
        return self.plan(), str(self.form.extras["sweep_name"])
