"""The Adapters pane: what was trained, and which adapter is active."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, Static

from engines.weights.adapters import Adapter
from ftui.adapter_table import DEFAULT_SORT, HEADINGS, SORTS, arranged, cells, last_cells
from ftui.clean import clean_line
from ftui.screens import confirm
from ftui.widgets.list_table import ListTable
from ftui.widgets.pane import Pane

if TYPE_CHECKING:
    from engines.servers.activation import Outcome, ServerResult

EMPTY = "No adapter yet. A training makes one: press s."


class AdapterPanel(Pane, can_focus=True):
    """A table of adapters, newest first; the active one is marked."""

    DEFAULT_CSS = """
    AdapterPanel #adapter-empty { display: none; padding: 0 1; }
    AdapterPanel.-empty #adapter-empty { display: block; }
    AdapterPanel.-empty ListTable { display: none; }
    AdapterPanel ListTable { height: 1fr; }
    AdapterPanel #adapter-more { height: auto; max-height: 2; padding: 0 1; color: $foreground-muted; }
    AdapterPanel #adapter-result { height: auto; max-height: 4; padding: 0 1; }
    """

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id, classes="pane -empty")
        self.found: list[Adapter] = []  # all there are
        self.adapters: dict[str, Adapter] = {}  # those that are shown
        self.sort = DEFAULT_SORT
        self.words = ""
        self.told = False  # there stands what came of a change …
        self.told_at: str | None = None  # … that was begun on this row
        self.table = ListTable(HEADINGS, id="adapter-list")

    def compose(self) -> ComposeResult:
        yield self.table
        yield Static(Content.styled(EMPTY, "$foreground-muted"), id="adapter-empty", markup=False)
        yield Static("", id="adapter-more", classes="-hidden", markup=False)
        yield Static("", id="adapter-result", classes="-hidden", markup=False)

    @property
    def adapter(self) -> Adapter | None:
        chosen = self.table.chosen
        return self.adapters.get(chosen) if chosen else None

    @property
    def active(self) -> str | None:
        return next((adapter.name for adapter in self.found if adapter.active), None)

    def show(self, adapters: list[Adapter]) -> None:
        self.found = adapters
        shown = arranged(adapters, self.sort, self.words)
        self.adapters = {adapter.name: adapter for adapter in shown}
        self.set_class(not adapters, "-empty")
        self.table.fill([(adapter.name, cells(adapter)) for adapter in shown])
        parts = [f"by {self.sort}"] if self.sort != DEFAULT_SORT else []
        parts += [f"{len(shown)} of {len(adapters)} hold “{clean_line(self.words)}”"] if self.words else []
        self.border_subtitle = Content(", ".join(parts))
        self._show_more_soon()

    @on(DataTable.RowHighlighted)
    @on(events.Resize)
    def _show_more_soon(self) -> None:
        self.call_after_refresh(self._show_more)

    def _show_more(self) -> None:
        """What of the chosen row is out of sight, as the table is wider than the pane."""
        adapter = self.adapter if self.table.virtual_size.width > self.table.size.width else None
        line = self.query_one("#adapter-more", Static)
        line.set_class(adapter is None, "-hidden")
        if adapter is not None:
            line.update(Content(clean_line(" · ".join(text for text in last_cells(adapter) if text))))

    def target(self) -> Widget:
        return self.table if self.adapters else self

    # --- actions ---

    def do_sort(self) -> None:
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        self.show(self.found)

    def do_filter(self) -> None:
        from ftui.screens.ask_text import AskText

        def answered(words: str | None) -> None:
            if words is not None:
                self.words = words
                self.show(self.found)

        hint = "Words in a name, a dataset, a base model, tags or notes; empty shows all."
        self.app.push_screen(AskText("Filter the adapters", hint, self.words), answered)

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        """Whoever goes on has read what came of the last change."""
        if self.table.chosen != self.told_at:
            self.say_result(Content(""))

    def leave(self) -> bool:
        """Away with what came of the last change, else out of the filter."""
        if self.told:
            self.say_result(Content(""))
            return True
        held, self.words = self.words, ""
        if held:
            self.show(self.found)
        return bool(held)

    def do_activate(self) -> None:
        if self.adapter is not None:
            name = self.adapter.name
            self.say_result(Content.styled(f"activating {clean_line(name)} …", "$foreground-muted"))
            self._change(lambda: self.engine.activation.activate(name))

    def do_base(self) -> None:
        self._change(self.engine.activation.deactivate)

    def _change(self, work: Callable[[], Outcome]) -> None:
        self.ftui.in_background("activate", work, self._changed, self._refused)

    def _changed(self, outcome: Outcome) -> None:
        """Say what came of it, and below the table what each server did."""
        if not outcome.done:
            self.ftui.say(f"Nothing has changed: {outcome.active or 'the base model'} is active", severity="error")
        elif outcome.active:
            self.ftui.say(f"● {outcome.active} is active")
        else:
            self.ftui.say("No adapter is active any more; the base model is used")
        self.say_result(Content("\n").join(_result(result) for result in outcome.results))
        self.post_message(self.DiskChanged())

    def _refused(self, error: Exception) -> None:
        self.say_result(Content(""))
        self.ftui.show_error(error)

    def say_result(self, text: Content) -> None:
        self.told, self.told_at = bool(text.plain), self.table.chosen
        line = self.query_one("#adapter-result", Static)
        line.update(text)
        line.set_class(not self.told, "-hidden")

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
        activation = self.engine.activation

        def deleted(trashed: Path) -> None:
            self.ftui.undo_stack.append((f"{adapter.name} is back", lambda: activation.adapters.restore(trashed)))
            self.ftui.say(f"{adapter.name} is in the trash", "u brings it back.")
            self.post_message(self.DiskChanged())

        work = lambda: activation.delete(adapter.name, even_if_active=adapter.active)  # noqa: E731
        self.ftui.in_background("delete", work, deleted)


def _result(result: ServerResult) -> Content:
    mark, style = ("✓", "$text-success") if result.ok else ("✗", "$text-error")
    words = clean_line(f"{result.server}: {result.text}")
    return Content.assemble((f"{mark} ", style), words, (f"  {result.seconds:.2f} s", "$foreground-muted"))
