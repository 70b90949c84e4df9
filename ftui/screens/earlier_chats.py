"""The conversations that are kept: one is gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable, Static

from engines.workspace import Workspace
from ftui.conversation_table import HEADINGS, cells
from ftui.screens.dialog import Dialog
from ftui.widgets.list_table import ListTable

if TYPE_CHECKING:
    from engines.servers.kept_conversations import Kept
    from ftui.app import FtuiApp


class EarlierChatsScreen(Dialog["Kept"]):
    """Closes with a conversation."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "close", show=False),
        Binding("j", "move('cursor_down')", show=False),
        Binding("k", "move('cursor_up')", show=False),
        Binding("g", "move('scroll_top')", show=False),
        Binding("G", "move('scroll_bottom')", show=False),
    ]

    def __init__(self, workspace: Workspace):
        super().__init__()
        self.workspace = workspace
        self.found: dict[str, Kept] = {}

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content("Earlier conversations")
            box.border_subtitle = Content("enter goes on with one, esc closes")
            yield Static("reading…", id="no-chats", markup=False)
            yield ListTable(HEADINGS)

    def on_resize(self) -> None:
        self.fit_list(self.query_one(ListTable), "")

    def on_mount(self) -> None:
        from engines.servers.kept_conversations import all_of

        self.query_one(ListTable).focus()
        cast("FtuiApp", self.app).in_background("chats", lambda: all_of(self.workspace), self._show)

    def _show(self, found: list[Kept]) -> None:
        if not self.is_attached:
            return
        self.found = {kept.id: kept for kept in found}
        words = self.query_one("#no-chats", Static)
        words.update(Content("No conversation is kept yet."))
        words.display = not found
        self.query_one(ListTable).fill([(kept.id, cells(kept)) for kept in found])

    @on(DataTable.RowSelected)
    def _selected(self) -> None:
        chosen = self.query_one(ListTable).chosen
        if chosen in self.found:
            self.dismiss(self.found[chosen])

    def action_move(self, how: str) -> None:
        getattr(self.query_one(ListTable), f"action_{how}")()
