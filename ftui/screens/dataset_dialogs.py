"""What is asked about datasets: a new name, a format and a file, what to merge; with the command that does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engines.contract.errors import UserError
from engines.data.exports import FORMATS
from engines.workspace import check_name
from ftui import command_line
from ftui.clean import clean_line
from ftui.screens.dialog import Dialog

Result = TypeVar("Result")


class DatasetDialog(Dialog[Result]):
    """One line to type, and what is wrong with it or the command it makes. enter answers where nothing is wrong."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "answer", show=False, priority=True)]
    DEFAULT_CSS = """
    DatasetDialog .label { color: $foreground-muted; }
    DatasetDialog #outcome { height: auto; max-height: 5; }
    DatasetDialog OptionList { height: auto; max-height: 10; background: transparent; padding: 0; }
    DatasetDialog OptionList, DatasetDialog OptionList:focus { border: none; }
    """
    KEYS = "enter does it, esc cancels"

    def __init__(self, home: Path, heading: str, label: str, value: str):
        super().__init__()
        self.home = home
        self.heading = heading
        self.label = label
        self.field = Input(value, id="answer")

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(self.heading)
            box.border_subtitle = Content(self.KEYS)
            yield from self.above()
            yield Static(self.label, classes="label", markup=False)
            yield self.field
            yield Static("", id="outcome", markup=False)

    def above(self) -> Iterator[Widget]:
        """What stands above the line to type."""
        yield from ()

    def on_mount(self) -> None:
        self.first().focus()
        self.show_outcome()

    def first(self) -> Widget:
        """What has the focus at first."""
        return self.field

    def answer(self) -> Result:
        raise NotImplementedError

    def problem(self) -> str:
        raise NotImplementedError

    def words(self) -> list[str]:
        """The command, after `ftui data`."""
        raise NotImplementedError

    @on(Input.Changed)
    def show_outcome(self) -> None:
        if problem := self.problem():
            text = Content.styled(f"✗ {clean_line(problem)}", "$text-error")
        else:
            text = Content.assemble(("$ ", "$foreground-muted"), clean_line(command_line.data(self.home, self.words())))
        self.query_one("#outcome", Static).update(text)

    def action_answer(self) -> None:
        if not self.problem():
            self.dismiss(self.answer())


def name_problem(name: str, taken: set[str]) -> str:
    """Why a new dataset cannot be called so."""
    try:
        check_name(name, "a dataset")
    except UserError as error:
        return f"{error.cause}. {error.next_step}"
    return f"there is a dataset {name} already" if name in taken else ""


class RenameScreen(DatasetDialog[str]):
    """Answers with the new name."""

    def __init__(self, home: Path, name: str, taken: set[str]):
        super().__init__(home, f"Rename {clean_line(name)}", "New name", name)
        self.name_before = name
        self.taken = taken - {name}

    def problem(self) -> str:
        name = self.field.value
        return "that is its name now" if name == self.name_before else name_problem(name, self.taken)

    def words(self) -> list[str]:
        return ["rename", self.name_before, self.field.value]

    def answer(self) -> str:
        return self.field.value


class ExportScreen(DatasetDialog[tuple[str, Path]]):
    """Answers with a format and the file to write."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move('cursor_down')", show=False, priority=True),
        Binding("up", "move('cursor_up')", show=False, priority=True),
    ]
    KEYS = "up and down choose, enter writes, esc cancels"

    def __init__(self, home: Path, name: str, folder: Path):
        super().__init__(home, f"Write {clean_line(name)} for another program", "File", "")
        self.dataset_name = name
        self.folder = folder
        self.formats = OptionList(*[Option(_format_line(form), id=form) for form in FORMATS])
        self.formats.can_focus = False
        self.formats.highlighted = 0
        self.field.value = self._proposal()

    def above(self) -> Iterator[Widget]:
        yield self.formats

    @property
    def form(self) -> str:
        return list(FORMATS)[self.formats.highlighted or 0]

    def _proposal(self) -> str:
        return str(self.folder / f"{self.dataset_name}-{self.form}.{FORMATS[self.form].ending}")

    def action_move(self, how: str) -> None:
        is_proposed = self.field.value == self._proposal()
        getattr(self.formats, f"action_{how}")()
        if is_proposed:
            self.field.value = self._proposal()
            self.field.cursor_position = len(self.field.value)
        self.show_outcome()

    def problem(self) -> str:
        path = self._path()
        if not self.field.value.strip() or path.is_dir():
            return "name a file"
        if not path.parent.is_dir():
            return f"there is no folder {path.parent}"
        return f"{path.name} exists already" if path.exists() else ""

    def _path(self) -> Path:
        return Path(self.field.value).expanduser().absolute()

    def words(self) -> list[str]:
        return ["export", self.dataset_name, "--format", self.form, "--output", str(self._path())]

    def answer(self) -> tuple[str, Path]:
        return self.form, self._path()


class MergeScreen(DatasetDialog[tuple[list[str], str]]):
    """Answers with the names of two or more datasets, as they were chosen, and the name of what they become."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "choose", show=False),
        Binding("j", "move('cursor_down')", show=False),
        Binding("k", "move('cursor_up')", show=False),
    ]
    KEYS = "space chooses, tab goes to the name, enter merges, esc cancels"

    def __init__(self, home: Path, name: str, names: list[str]):
        proposals = ("merged", *(f"merged-{number}" for number in range(2, len(names) + 3)))
        super().__init__(home, "Merge datasets", "Name of the new one", next(p for p in proposals if p not in names))
        self.names = names
        self.chosen = [name]
        self.list = OptionList(*[self._line(each) for each in names])

    def above(self) -> Iterator[Widget]:
        yield self.list

    def first(self) -> Widget:
        self.list.highlighted = 0
        return self.list

    def _line(self, name: str) -> Content:
        mark = ("[x] ", "bold $accent") if name in self.chosen else ("[ ] ", "$foreground-muted")
        return Content.assemble(mark, clean_line(name))

    def action_move(self, how: str) -> None:
        getattr(self.list, f"action_{how}")()

    def action_choose(self) -> None:
        index = self.list.highlighted
        if index is not None:
            name = self.names[index]
            self.chosen.remove(name) if name in self.chosen else self.chosen.append(name)
            self.list.replace_option_prompt_at_index(index, self._line(name))
            self.show_outcome()

    def problem(self) -> str:
        if len(self.chosen) < 2:
            return "choose two or more"
        return name_problem(self.field.value, set(self.names))

    def words(self) -> list[str]:
        return ["merge", *self.chosen, "--name", self.field.value]

    def answer(self) -> tuple[list[str], str]:
        return self.chosen, self.field.value


def _format_line(form: str) -> Content:
    return Content.assemble((f"{form:<18}", "bold"), (FORMATS[form].words, "$foreground-muted"))
