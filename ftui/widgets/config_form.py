"""A form made from a parameter model: one row per field, in the model's own words.

The rows are walked with j and k; enter edits one, backspace brings back the preset's
value. A switch, a choice or a line of text, after the field's type. What is wrong is said
under the field, in the words of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Label, Select, Switch

from engines.config.job import JobConfig, explain
from ftui.clean import clean_line
from ftui.command_line import as_text
from ftui.typing_keys import EndsWithEnter

Config = TypeVar("Config", bound=JobConfig)
CHANGED = "•"


@dataclass(frozen=True)
class FieldSpec:
    """One field of a model, as its JSON schema tells it."""

    name: str
    title: str
    description: str
    unit: str
    kind: str  # bool, choice, list, text
    choices: tuple[str, ...]
    bounds: str
    separator: str = ","  # between the items of a list
    optional: bool = False  # an empty line of text leaves it unset
    only_for: tuple[str, ...] = ()  # kinds of the job that have it; empty: all

    @property
    def help(self) -> str:
        return f"{self.description}{f' ({self.bounds})' if self.bounds else ''}"


def fields_of(model: type[JobConfig]) -> Iterator[FieldSpec]:
    """The fields of a model, in its order."""
    for name, schema in model.model_json_schema()["properties"].items():
        options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
        if len(options) == 1:  # a field that may be unset
            schema = {**schema, **options[0], "optional": True}
        choices = tuple(schema.get("enum", ()))
        kind = {"boolean": "bool", "array": "list"}.get(schema.get("type"), "choice" if choices else "text")
        yield FieldSpec(
            name, schema.get("title", name), schema.get("description", ""), schema.get("unit", ""), kind, choices,
            _bounds(schema), schema.get("separator", ","), schema.get("optional", False),
            tuple(schema.get("only_for", ())),
        )  # fmt: skip


def _bounds(schema: dict[str, Any]) -> str:
    signs = {"minimum": "≥ ", "exclusiveMinimum": "> ", "maximum": "≤ ", "exclusiveMaximum": "< "}
    return ", ".join(f"{sign}{schema[key]:g}" for key, sign in signs.items() if key in schema)


class FieldRow(EndsWithEnter, Widget, can_focus=True):
    """One field: its title, its value, its unit."""

    DEFAULT_CSS = """
    FieldRow { height: auto; layout: vertical; padding: 0 1 0 0; }
    FieldRow .field { height: 1; }
    FieldRow .title { width: 25; }
    FieldRow .unit { width: auto; max-width: 12; padding: 0 0 0 1; color: $foreground-muted; }
    FieldRow .wrong { height: auto; color: $text-error; display: none; }
    FieldRow.-wrong .wrong { display: block; }
    FieldRow:focus { background: $boost; text-style: bold; }
    FieldRow:focus .title { text-style: reverse; }
    FieldRow Input, FieldRow Select { width: 1fr; max-width: 44; }
    FieldRow Input:focus { background: $panel; text-style: underline; }
    FieldRow Switch { border: none; height: 1; padding: 0; background: transparent; }
    FieldRow Switch:focus { border: none; }
    """

    class Changed(Message):
        """The person gave a field another value, not yet checked."""

        def __init__(self, row: FieldRow, value: Any):
            super().__init__()
            self.row = row
            self.value = value

    def __init__(self, spec: FieldSpec, value: Any):
        super().__init__(id=f"field-{spec.name}")
        self.spec = spec
        self.value = value

    def compose(self) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Label(f" {self.spec.title}", classes="title", markup=False)
            yield self._editor()
            if self.spec.kind == "bool":
                yield Label("on" if self.value else "off", classes="unit", markup=False)
            elif self.spec.unit:
                yield Label(self.spec.unit, classes="unit", markup=False)
        yield Label("", classes="wrong", markup=False)

    def _editor(self) -> Widget:
        if self.spec.kind == "bool":
            return Switch(bool(self.value), animate=False)
        if self.spec.kind == "choice":
            options = [(choice, choice) for choice in self.spec.choices]
            return Select(options, value=self.value, allow_blank=False, compact=True)
        return Input(clean_line(as_text(self.value, self.spec.separator)), compact=True, select_on_focus=True)

    def edit(self) -> None:
        """What enter does on the row: open its editor, or leave it."""
        if self.cancel():
            return
        editor = self.query_one("Switch, Select, Input")
        if isinstance(editor, Switch):
            editor.toggle()
        elif isinstance(editor, Select):
            editor.action_show_overlay()
        else:
            self.screen.set_focus(editor)

    def put(self, value: Any) -> None:
        """Show `value`, without telling anybody."""
        self.value = value
        editor = self.query_one("Switch, Select, Input")
        with self.prevent(Input.Changed, Switch.Changed, Select.Changed):
            if isinstance(editor, Switch):
                editor.value = bool(value)
                self.query_one(".unit", Label).update("on" if value else "off")
            elif isinstance(editor, Select):
                editor.value = value
            elif isinstance(editor, Input):
                editor.value = clean_line(as_text(value, self.spec.separator))

    def say(self, problem: str, changed: bool) -> None:
        """What is wrong with the value, and whether it differs from the preset."""
        self.set_class(bool(problem), "-wrong")
        self.query_one(".wrong", Label).update(Content(f"✗ {clean_line(problem)}" if problem else ""))
        self.query_one(".title", Label).update(Content(f"{CHANGED if changed else ' '}{self.spec.title}"))

    def cancel(self) -> bool:
        """Leave the editor; True if it was open."""
        focused = self.screen.focused
        if focused is None or self not in focused.ancestors:
            return False
        self.screen.set_focus(self)
        return True

    @on(Switch.Changed)
    def _switched(self, event: Switch.Changed) -> None:
        event.stop()
        self.query_one(".unit", Label).update("on" if event.value else "off")
        self.post_message(self.Changed(self, event.value))

    @on(Select.Changed)
    def _chosen(self, event: Select.Changed) -> None:
        event.stop()
        if event.value != self.value:
            self.post_message(self.Changed(self, event.value))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        parts = [part.strip() for part in event.value.split(self.spec.separator)]
        value: Any = [part for part in parts if part] if self.spec.kind == "list" else event.value.strip()
        self.post_message(self.Changed(self, None if value == "" and self.spec.optional else value))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if isinstance(event.widget, Select):  # the closed choice hands the keys back to the row
            self.screen.set_focus(self)


class ConfigForm(VerticalScroll, Generic[Config], can_focus=False):
    """The form of one model. `config` is the valid whole, or None; `problem` says why not."""

    class Changed(Message):
        """Another value, or another validity."""

    class Described(Message):
        """The row in focus changed; its help is `text`."""

        def __init__(self, text: str):
            super().__init__()
            self.text = text

    class ExtraChanged(Message):
        """A row that is no field of the model has another value."""

        def __init__(self, name: str, value: Any):
            super().__init__()
            self.name = name
            self.value = value

    def __init__(
        self, model: type[Config], base: Config, extras: dict[FieldSpec, Any] | None = None, *, id: str | None = None
    ):
        super().__init__(id=id)
        self.extras = {spec.name: value for spec, value in (extras or {}).items()}
        self._extra_specs = list(extras or {})
        self.model = model
        self.base = base  # what the values are compared with: a preset
        self.values: dict[str, Any] = base.model_dump()
        self.problems: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        for spec in self._extra_specs:
            yield FieldRow(spec, self.extras[spec.name])
        for spec in fields_of(self.model):
            yield FieldRow(spec, self.values[spec.name])

    @property
    def config(self) -> Config | None:
        return None if self.problems else self.model.model_validate(self.values)

    @property
    def problem(self) -> str:
        return "; ".join(f"{name}: {problem}" for name, problem in self.problems.items())

    @property
    def differences(self) -> dict[str, Any]:
        """The values that are not the preset's."""
        base = self.base.model_dump()
        return {name: value for name, value in self.values.items() if value != base[name]}

    def fill(self, base: Config, config: Config | None = None) -> None:
        """Show `config` (or the preset itself) as a variation of the preset `base`."""
        self.base = base
        self.values = (config or base).model_dump()
        self.problems = {}
        for row in self.query(FieldRow):
            if row.spec.name in self.values:
                row.put(self.values[row.spec.name])
                self._mark(row)
        self.post_message(self.Changed())

    def row(self) -> FieldRow | None:
        """The row in focus, or whose editor is."""
        focused = self.screen.focused
        nodes = focused.ancestors_with_self if focused is not None else []
        return next((node for node in nodes if isinstance(node, FieldRow)), None)

    def reset(self) -> None:
        """The preset's value for the row in focus."""
        row = self.row()
        if row is not None and row.spec.name in self.values:
            self.change(row.spec.name, self.base.model_dump()[row.spec.name])

    def change(self, name: str, value: Any) -> None:
        """Give the field `name` another value, as if somebody had typed it."""
        row = self.query_one(f"#field-{name}", FieldRow)
        row.put(value)
        self._take(row, value)

    @on(FieldRow.Changed)
    def _row_changed(self, event: FieldRow.Changed) -> None:
        event.stop()
        self._take(event.row, event.value)

    def _take(self, row: FieldRow, value: Any) -> None:
        """Check one value; a good one is kept, with the type that the model gives it."""
        name = row.spec.name
        if name in self.extras:
            self.extras[name] = row.value = value
            self.post_message(self.ExtraChanged(name, value))
            return
        candidate = self.base.model_copy(deep=True)
        try:
            setattr(candidate, name, value)
        except ValidationError as error:
            self.problems[name] = explain(error).removeprefix(f"{name}: ")
            self.values[name] = value
        else:
            self.problems.pop(name, None)
            self.values[name] = row.value = getattr(candidate, name)
        self._mark(row)
        self.post_message(self.Changed())

    def _mark(self, row: FieldRow) -> None:
        row.say(self.problems.get(row.spec.name, ""), row.spec.name in self.differences)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        row = next((node for node in event.widget.ancestors_with_self if isinstance(node, FieldRow)), None)
        if row is not None:
            self.post_message(self.Described(row.spec.help))

    def show_kind(self, kind: str) -> None:
        """Hide the fields that this kind of the job does not have; they have their usual values then."""
        usual = self.base.model_dump()
        for row in self.query(FieldRow):
            row.display = not row.spec.only_for or kind in row.spec.only_for
            if not row.display and self.values[row.spec.name] != usual[row.spec.name]:
                self.change(row.spec.name, usual[row.spec.name])

    def put(self, name: str, value: Any) -> None:
        """Show another value in a row that is no field of the model."""
        self.extras[name] = value
        self.query_one(f"#field-{name}", FieldRow).put(value)

    def leave(self) -> bool:
        """Close the editor of a row; True if one was open."""
        row = self.row()
        return row is not None and row.cancel()

    def move(self, step: int) -> None:
        """Focus the row `step` below, as far as there are rows."""
        rows = [row for row in self.query(FieldRow) if row.display]
        here = self.row()
        target = rows.index(here) + step if here is not None else 0
        self.screen.set_focus(rows[max(0, min(len(rows) - 1, target))])
