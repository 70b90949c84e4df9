"""All runs of the workspace, of every kind; enter shows one in the Run pane."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable, Static

from engines.runs import Run, Runs, RunStatus
from ftui.format import STATE_MARKS, date, duration
from ftui.screens.dialog import Dialog
from ftui.widgets.list_table import ListTable

if TYPE_CHECKING:
    from ftui.app import FtuiApp

HEADINGS = ("state", "kind", "name", "started", "took", "cause")
REFRESH_SECONDS = 1.0
Found = list[tuple[Run, RunStatus]]


class RunsScreen(Dialog[Run]):
    """Read again once a second while it is open."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,t", "close", show=False),
        Binding("j", "move('cursor_down')", show=False),
        Binding("k", "move('cursor_up')", show=False),
        Binding("g", "move('scroll_top')", show=False),
        Binding("G", "move('scroll_bottom')", show=False),
    ]
    DEFAULT_CSS = "RunsScreen ListTable { max-height: 100%; } RunsScreen > .box { max-width: 140; }"

    def __init__(self, runs: Runs):
        super().__init__()
        self.source = runs
        self.runs: dict[str, Run] = {}

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content("Runs")
            box.border_subtitle = Content("enter shows one, esc closes")
            yield Static("reading…", id="no-runs", markup=False)
            yield ListTable(HEADINGS)

    def on_mount(self) -> None:
        self.query_one(ListTable).focus()
        self._look()
        self.set_interval(REFRESH_SECONDS, self._look)

    def _look(self) -> None:
        ftui = cast("FtuiApp", self.app)
        ftui.in_background("runs", lambda: [(run, run.status()) for run in self.source.list()], self._show)

    def _show(self, found: Found) -> None:
        if not self.is_attached:
            return
        self.runs = {run.id: run for run, _ in found}
        self.query_one("#no-runs", Static).update("No run yet.")
        self.query_one("#no-runs").display = not found
        self.query_one(ListTable).fill([(run.id, _cells(run, status)) for run, status in found])

    def action_move(self, how: str) -> None:
        getattr(self.query_one(ListTable), f"action_{how}")()

    @on(DataTable.RowSelected)
    def _selected(self, event: DataTable.RowSelected) -> None:
        self.dismiss(self.runs.get(event.row_key.value or ""))


def _cells(run: Run, status: RunStatus) -> tuple[str, ...]:
    took = status.ended_at - status.started_at if status.ended_at and status.started_at else None
    return (
        STATE_MARKS.get(status.state, status.state),
        run.kind,
        run.name,
        date(run.spec.get("created_at")),
        duration(took),
        status.cause[:60],
    )
