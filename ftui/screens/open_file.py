"""Choosing a file: a path that is typed, with the folder's entries below to choose from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from ftui.clean import clean_line
from ftui.format import size
from ftui.screens.dialog import Dialog

if TYPE_CHECKING:
    from ftui.app import FtuiApp

SHOWN = 200
HINT = "Type a path. tab completes it, up and down choose, enter opens; ctrl+s takes the whole folder."
FOLDER = "This is a folder: choose a file in it, or press ctrl+s to take all of it."
Entry = tuple[str, bool, int]  # name, is it a folder, bytes


def list_folder(folder: Path, beginning: str) -> list[Entry]:
    """Entries that begin with `beginning`, folders first; hidden ones only if asked for. Runs in a thread."""
    found: list[Entry] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".") and not beginning.startswith(".")
                if hidden or not entry.name.lower().startswith(beginning.lower()):
                    continue
                try:
                    found.append((entry.name, entry.is_dir(), entry.stat().st_size))
                except OSError:
                    continue
    except OSError:
        return []
    return sorted(found, key=lambda entry: (not entry[1], entry[0].lower()))[:SHOWN]


class OpenFileScreen(Dialog[Path]):
    """Answers with the path of a file, or of a folder that is to be taken as a whole."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", show=False, priority=True),
        Binding("ctrl+s", "take_folder", show=False, priority=True),
        Binding("down", "move('cursor_down')", show=False, priority=True),
        Binding("up", "move('cursor_up')", show=False, priority=True),
    ]
    DEFAULT_CSS = """
    OpenFileScreen OptionList { height: auto; max-height: 14; border: none; background: transparent; }
    OpenFileScreen #hint { color: $foreground-muted; }
    """

    def __init__(self, folder: Path, heading: str = "Open chats, a dataset file, or a folder"):
        super().__init__()
        self.heading = heading
        self.folder = folder
        self.entries: list[Entry] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(self.heading)
            box.border_subtitle = Content("esc cancels")
            yield Input(f"{self.folder}/", id="path", select_on_focus=False)
            yield Static(HINT, id="hint", markup=False)
            yield OptionList(id="entries")

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        box = self.query_one(Input)
        box.focus()
        box.cursor_position = len(box.value)

    def _split(self) -> tuple[Path, str]:
        """The folder and the beginning of a name in what was typed."""
        text = self.query_one(Input).value
        head, _, tail = text.rpartition("/")
        return Path(f"{head}/" if head or text.startswith("/") else ".").expanduser(), tail

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        for root in ("//", "/~"):  # a path typed behind the one that stood there
            if root in event.value:
                event.input.value = event.value[event.value.rindex(root) + 1 :]
                event.input.cursor_position = len(event.input.value)
                return
        folder, beginning = self._split()
        cast("FtuiApp", self.app).in_background("folder", lambda: list_folder(folder, beginning), self._show)

    def _show(self, entries: list[Entry]) -> None:
        if not self.is_attached:
            return
        self.entries = entries
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(_label(entry)) for entry in entries])
        self.query_one("#hint", Static).update(HINT if entries else "Nothing here begins so.")

    def action_move(self, how: str) -> None:
        getattr(self.query_one(OptionList), f"action_{how}")()

    def _put(self, name: str, is_folder: bool) -> None:
        box = self.query_one(Input)
        head, slash, _ = box.value.rpartition("/")
        box.value = f"{head}{slash}{name}{'/' if is_folder else ''}"
        box.cursor_position = len(box.value)

    def action_complete(self) -> None:
        """As much as all entries have in common, like a shell."""
        chosen = self.query_one(OptionList).highlighted
        if chosen is not None:
            self._put(*self.entries[chosen][:2])
        elif len(self.entries) == 1:
            self._put(*self.entries[0][:2])
        elif self.entries:
            common = _common_beginning([name for name, _, _ in self.entries])
            if len(common) > len(self._split()[1]):
                self._put(common, False)

    def action_take_folder(self) -> None:
        folder, rest = self._split()
        if (folder / rest).is_dir():
            self.dismiss(folder / rest)
        else:
            self.query_one("#hint", Static).update(Content.styled("✗ this is no folder", "$text-error"))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        chosen = self.query_one(OptionList).highlighted
        if chosen is not None:
            self._open(chosen)
            return
        path = Path(event.value).expanduser()
        if path.is_dir():
            if event.value.endswith("/"):
                self.query_one("#hint", Static).update(Content.styled(FOLDER, "$text-warning"))
            else:
                event.input.value += "/"
                event.input.cursor_position = len(event.input.value)
        elif path.is_file():
            self.dismiss(path)
        else:
            self.query_one("#hint", Static).update(Content.styled(f"✗ no file {clean_line(str(path))}", "$text-error"))

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self._open(event.option_index)

    def _open(self, index: int) -> None:
        name, is_folder, _ = self.entries[index]
        self._put(name, is_folder)
        if not is_folder:
            self.dismiss(Path(self.query_one(Input).value).expanduser())


def _common_beginning(names: list[str]) -> str:
    """First and last of the sorted names differ the earliest."""
    first, last = min(names), max(names)
    return next((first[:place] for place, letter in enumerate(first) if last[place : place + 1] != letter), first)


def _label(entry: Entry) -> Content:
    name, is_folder, count = entry
    words = f"{clean_line(name)}/" if is_folder else clean_line(name)
    note = "" if is_folder else f"   {size(count)}"
    return Content.assemble((words, "bold" if is_folder else ""), (note, "$foreground-muted"))
