"""The parameters of what is made of an adapter: with which others, under which name or where, on which base model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engines.config.job import JobConfig
from engines.contract.errors import UserError
from ftui.screens.form import FormScreen
from ftui.widgets.config_form import ConfigForm, FieldSpec


def row(name: str, title: str, description: str, kind: str = "text") -> FieldSpec:
    return FieldSpec(name, title, description, "", kind, (), "")


BASE = row("on_base", "Base model", "A folder, or owner/name on the hub; empty: the one that it was trained on")


@dataclass(frozen=True)
class Wish:
    """What the form says. values: the parameters that are not the default; the rest is empty where it has no row."""

    config: Any  # the model of the parameters; None while one of them is wrong
    values: dict[str, Any]
    others: list[str]
    name: str
    output: str
    base_model: str | None

    @property
    def flags(self) -> dict[str, Any]:
        """For the command: what differs."""
        where = {"output": self.output, "base_model": self.base_model}
        return {**{key: value for key, value in where.items() if value}, **self.values}


class MakeForm(FormScreen[Wish]):
    """Answers with the wish. rows: beside the parameters; known by their names: others, new_name, output, on_base.

    check: raises UserError for a wish that cannot be; note_of: a line under the command.
    """

    def __init__(
        self, heading: str, base: JobConfig, rows: dict[FieldSpec, Any], command_of: Callable[[Wish], str],
        check: Callable[[Wish], object], note_of: Callable[[Wish], str] = lambda wish: "",
    ):  # fmt: skip
        super().__init__(heading, ConfigForm(type(base), base, rows))
        self.command_of = command_of
        self.check = check
        self.note_of = note_of

    @property
    def wish(self) -> Wish:
        form, texts = self.form, self.form.extras
        return Wish(
            form.config, form.differences, list(texts.get("others", [])), str(texts.get("new_name", "")),
            str(texts.get("output", "")), str(texts.get("on_base", "")) or None,
        )  # fmt: skip

    def problem(self) -> str:
        if self.form.problem:
            return self.form.problem
        try:
            self.check(self.wish)
        except UserError as error:
            return f"{error.cause}. {error.next_step}"
        return ""

    def command(self) -> str:
        return self.command_of(self.wish)

    def note(self) -> str:
        return self.note_of(self.wish)

    def answer(self) -> Wish | None:
        return self.wish
