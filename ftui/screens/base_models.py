"""Base models: those on this machine, and known ones that can be fetched; one is chosen for the training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable, Static

from ftui.model_table import HEADINGS, rows
from ftui.screens.dialog import Dialog
from ftui.widgets.list_table import ListTable

if TYPE_CHECKING:
    from engines.weights.models import BaseModel, Models
    from ftui.app import FtuiApp

KEYS = "enter trains this one · f fetches it from the hub, with progress · any other: type its name into Base model"


class BaseModelsScreen(Dialog[tuple[str, str]]):
    """Closes with ("use" or "fetch", the name of a model)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,B", "close", show=False),
        Binding("j", "move('cursor_down')", show=False),
        Binding("k", "move('cursor_up')", show=False),
        Binding("g", "move('scroll_top')", show=False),
        Binding("G", "move('scroll_bottom')", show=False),
        Binding("f", "fetch", show=False),
    ]
    DEFAULT_CSS = """
    BaseModelsScreen > .box { width: 96%; max-width: 140; }
    BaseModelsScreen #model-keys { color: $foreground-muted; height: auto; }
    """

    def __init__(self, models: Models):
        super().__init__()
        self.models = models
        self.here: set[str] = set()

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content("Base models")
            box.border_subtitle = Content("enter chooses, esc closes")
            yield Static("reading…", id="no-models", markup=False)
            yield ListTable(HEADINGS)
            yield Static(KEYS, id="model-keys", markup=False)

    def on_resize(self) -> None:
        self.fit_list(self.query_one(ListTable), KEYS)

    def on_mount(self) -> None:
        self.query_one(ListTable).focus()
        cast("FtuiApp", self.app).in_background("models", self.models.list, self._show)

    def _show(self, found: list[BaseModel]) -> None:
        if self.is_attached:
            self.here = {model.name for model in found}
            self.query_one("#no-models").display = False
            self.query_one(ListTable).fill([(cells[0], cells) for cells in rows(found)])

    @on(DataTable.RowSelected)
    def _selected(self) -> None:
        self._answer("use")

    def action_fetch(self) -> None:
        if self.query_one(ListTable).chosen in self.here:
            self.notify("It is on this machine already: enter trains it", markup=False)
        else:
            self._answer("fetch")

    def _answer(self, what: str) -> None:
        name = self.query_one(ListTable).chosen
        if name is not None:
            self.dismiss((what, name))

    def action_move(self, how: str) -> None:
        getattr(self.query_one(ListTable), f"action_{how}")()
