"""The Adapters pane: what was trained, and which adapter is active."""

from __future__ import annotations

from pathlib import Path

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engines.adapters import Adapter
from ftui.adapter_table import HEADINGS, cells
from ftui.screens import confirm
from ftui.widgets.list_table import ListTable
from ftui.widgets.pane import Pane

EMPTY = "No adapter yet. A training makes one: press s."


class AdapterPanel(Pane, can_focus=True):
    """A table of adapters, newest first; the active one is marked."""

    DEFAULT_CSS = """
    AdapterPanel #adapter-empty { display: none; padding: 0 1; }
    AdapterPanel.-empty #adapter-empty { display: block; }
    AdapterPanel.-empty ListTable { display: none; }
    AdapterPanel ListTable { height: 1fr; }
    """

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id, classes="pane -empty")
        self.adapters: dict[str, Adapter] = {}
        self.table = ListTable(HEADINGS, id="adapter-list")

    def compose(self) -> ComposeResult:
        yield self.table
        yield Static(Content.styled(EMPTY, "$foreground-muted"), id="adapter-empty", markup=False)

    @property
    def adapter(self) -> Adapter | None:
        chosen = self.table.chosen
        return self.adapters.get(chosen) if chosen else None

    @property
    def active(self) -> str | None:
        return next((adapter.name for adapter in self.adapters.values() if adapter.active), None)

    def show(self, adapters: list[Adapter]) -> None:
        self.adapters = {adapter.name: adapter for adapter in adapters}
        self.set_class(not adapters, "-empty")
        self.table.fill([(adapter.name, cells(adapter)) for adapter in adapters])

    def target(self) -> Widget:
        return self.table if self.adapters else self

    # --- actions ---

    def do_activate(self) -> None:
        if self.adapter is not None:
            name = self.adapter.name
            self.ftui.in_background("activate", lambda: self.engine.adapters.activate(name), self._activated)

    def _activated(self, adapter: Adapter) -> None:
        self.ftui.say(f"● {adapter.name} is active")
        self.post_message(self.DiskChanged())

    def do_base(self) -> None:
        self.ftui.in_background("activate", self.engine.adapters.deactivate, self._deactivated)

    def _deactivated(self, was: str | None) -> None:
        self.ftui.say(f"{was} is not active any more; the base model is used")
        self.post_message(self.DiskChanged())

    def do_delete(self) -> None:
        """To the trash, from where `u` brings it back; only the active one is asked for."""
        adapter = self.adapter
        if adapter is None:
            return
        if not adapter.active:
            self._delete(adapter)
            return
        question = confirm.delete("active adapter", adapter.name, "The base model is used from then on.")
        self.app.push_screen(question, lambda answer: self._delete(adapter) if answer == "yes" else None)

    def _delete(self, adapter: Adapter) -> None:
        adapters = self.engine.adapters

        def deleted(trashed: Path) -> None:
            self.ftui.undo_stack.append((f"{adapter.name} is back", lambda: adapters.restore(trashed)))
            self.ftui.say(f"{adapter.name} is in the trash", "u brings it back.")
            self.post_message(self.DiskChanged())

        work = lambda: adapters.delete(adapter.name, even_if_active=adapter.active)  # noqa: E731
        self.ftui.in_background("delete", work, deleted)
