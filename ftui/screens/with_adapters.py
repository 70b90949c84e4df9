"""The parameters of a job on several adapters: which others take part, and where needed a new name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engines.config.job import JobConfig
from engines.contract.errors import UserError
from engines.workspace import check_name
from ftui.screens.form import FormScreen
from ftui.widgets.config_form import ConfigForm, FieldSpec

NAME = FieldSpec("new_name", "Name", "What the new adapter is called", "", "text", (), "")


class WithAdaptersScreen(FormScreen[tuple[JobConfig, list[str], str]]):
    """Answers with the parameters, the names of the other adapters and the new name.

    there: adapters that can take part; chosen: those that do at first; name: None where nothing is named;
    `command_of` makes the command of other adapters, name and what differs from `base`.
    """

    def __init__(
        self, heading: str, base: JobConfig, there: list[str], chosen: list[str], name: str | None,
        command_of: Callable[[list[str], str, dict[str, Any]], str],
    ):  # fmt: skip
        others = FieldSpec(
            "others", "Other adapters", f"With commas between; of this base model: {', '.join(there) or 'none'}", "",
            "list", (), "",
        )  # fmt: skip
        extras: dict[FieldSpec, Any] = {others: chosen, **({} if name is None else {NAME: name})}
        super().__init__(heading, ConfigForm(type(base), base, extras))
        self.there = there
        self.needs_others = name is not None
        self.command_of = command_of

    @property
    def others(self) -> list[str]:
        return list(self.form.extras["others"])

    @property
    def new_name(self) -> str:
        return str(self.form.extras.get("new_name", ""))

    def problem(self) -> str:
        unknown = next((name for name in self.others if name not in self.there), None)
        if unknown is not None:
            return f"{unknown} is no other adapter of this base model"
        if self.needs_others and not self.others:
            return "name at least one other adapter"
        try:
            if self.needs_others:
                check_name(self.new_name, "an adapter")
        except UserError as error:
            return f"{error.cause}. {error.next_step}"
        return self.form.problem

    def command(self) -> str:
        return self.command_of(self.others, self.new_name, self.form.differences)

    def answer(self) -> tuple[JobConfig, list[str], str] | None:
        config = self.form.config
        return None if config is None else (config, self.others, self.new_name)
