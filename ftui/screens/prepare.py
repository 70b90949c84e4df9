"""How a chosen file becomes a dataset: its name and the parameters, with the command that does the same."""

from __future__ import annotations

from pathlib import Path

from engines.config.job import JobConfig
from engines.config.prepare import PrepareConfig
from engines.contract.errors import UserError
from engines.workspace import check_name
from ftui import command_line
from ftui.screens.form import FormScreen
from ftui.widgets.config_form import ConfigForm, FieldSpec

NAME = FieldSpec("name", "Name", "What the dataset is called in the workspace", "", "text", (), "")


class PrepareScreen(FormScreen[tuple[Path, str, JobConfig]]):
    """Answers with the path, the dataset's name and the parameters: of `model`, which tells what the path is."""

    def __init__(self, home: Path, path: Path, name: str, taken: set[str], model: type[JobConfig] = PrepareConfig):
        super().__init__(f"Make a dataset from {path.name}", ConfigForm(model, model(), {NAME: name}))
        self.home = home
        self.path = path
        self.taken = taken
        self.model = model

    @property
    def dataset_name(self) -> str:
        return str(self.form.extras["name"])

    def problem(self) -> str:
        try:
            check_name(self.dataset_name, "a dataset")
        except UserError as error:
            return f"{error.cause}. {error.next_step}"
        return self.form.problem

    def note(self) -> str:
        if self.dataset_name not in self.taken:
            return ""
        return f"⚠ there is a dataset {self.dataset_name} already: it goes to the trash"

    def command(self) -> str:
        words = command_line.prepare if self.model is PrepareConfig else command_line.generate
        return words(self.home, self.path, self.dataset_name, self.form.differences)

    def answer(self) -> tuple[Path, str, JobConfig] | None:
        config = self.form.config
        return None if config is None else (self.path, self.dataset_name, config)
