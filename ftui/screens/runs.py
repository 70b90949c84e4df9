"""All runs: shown, compared, repeated, extended, moved in the queue, stopped, deleted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable, Static

from engines.running.runs import Run, Runs, RunStatus
from ftui.format import STATE_MARKS, date, duration, shortened
from ftui.screens.dialog import Dialog, TextDialog
from ftui.widgets.list_table import ListTable

if TYPE_CHECKING:
    from ftui.app import FtuiApp

WIDE = 100  # columns of a terminal where the year has room
HEADINGS = ("", "state", "kind", "name", "started", "took", "cause")
REFRESH_SECONDS = 1.0
MARK = "▪"
BESIDE_NAME = {False: 53, True: 58}  # columns of all others but the cause, with or without the year
KEYS = "space marks, c compares · K J move in the queue · x stops · d deletes"
AGAIN_KEYS = " · R repeats, E extends by an epoch"
Found = list[tuple[Run, RunStatus]]


class RunsScreen(Dialog[Run]):
    """Read again once a second while it is open."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,t", "close", show=False),
        Binding("j", "move('cursor_down')", show=False),
        Binding("k", "move('cursor_up')", show=False),
        Binding("g", "move('scroll_top')", show=False),
        Binding("G", "move('scroll_bottom')", show=False),
        Binding("space", "mark", show=False),
        Binding("c", "compare", show=False),
        Binding("K", "queue(-1)", show=False),
        Binding("J", "queue(1)", show=False),
        Binding("x", "stop", show=False),
        Binding("d", "delete", show=False),
        Binding("R", "again('repeat')", show=False),
        Binding("E", "again('extend')", show=False),
    ]
    DEFAULT_CSS = """
    RunsScreen > .box { max-width: 140; }  /* as WIDEST */
    RunsScreen #run-keys { color: $foreground-muted; height: auto; }
    """

    WIDEST = 140

    def __init__(self, runs: Runs, again: dict[str, Callable[[Run], Run]] | None = None):
        """again: how a training is repeated or extended, by these words; nothing where it cannot be."""
        super().__init__()
        self.source = runs
        self.again = again or {}
        self.runs: dict[str, Run] = {}
        self.marked: list[str] = []  # in the order of marking

    @property
    def ftui(self) -> FtuiApp:
        return cast("FtuiApp", self.app)

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content("Runs")
            box.border_subtitle = Content("enter shows one, esc closes")
            yield Static("reading…", id="no-runs", markup=False)
            yield ListTable(HEADINGS)
            yield Static(self.keys, id="run-keys", markup=False)

    @property
    def keys(self) -> str:
        return KEYS + (AGAIN_KEYS if self.again else "")

    def on_resize(self) -> None:
        self.fit_list(self.query_one(ListTable), self.keys)

    def on_mount(self) -> None:
        self.query_one(ListTable).focus()
        self._look()
        self.set_interval(REFRESH_SECONDS, self._look)

    def _look(self) -> None:
        def look() -> tuple[Found, list[str]]:
            found = [(run, run.status()) for run in self.source.list()]
            waits = any(status.state == "queued" for _, status in found)
            return found, [run.id for run in self.source.queue()] if waits else []

        self.ftui.in_background("runs", look, self._show)

    def _show(self, answer: tuple[Found, list[str]]) -> None:
        if not self.is_attached:
            return
        found, queue = answer
        self.runs = {run.id: run for run, _ in found}
        self.query_one("#no-runs", Static).update("No run yet.")
        self.query_one("#no-runs").display = not found
        self.query_one(ListTable).fill([(run.id, self._cells(run, status, queue)) for run, status in found])

    def _cells(self, run: Run, status: RunStatus, queue: list[str]) -> tuple[str, ...]:
        place = f" {queue.index(run.id) + 1}" if run.id in queue else ""
        wide = self.app.size.width >= WIDE
        return (
            MARK if run.id in self.marked else "",
            STATE_MARKS.get(status.state, status.state) + place,
            run.kind,
            shortened(run.name, max(12, self.room - BESIDE_NAME[wide])),
            date(run.spec.get("created_at"), year=wide),
            duration(status.seconds()),
            status.cause[:60],
        )

    @property
    def chosen(self) -> Run | None:
        return self.runs.get(self.query_one(ListTable).chosen or "")

    def _do(self, work: Callable[[], Any], said: Callable[[Any], str]) -> None:
        def done(value: Any) -> None:
            self.ftui.say(said(value))
            self._look()

        self.ftui.in_background("run-action", work, done)

    def action_mark(self) -> None:
        run = self.chosen
        if run is not None:
            self.marked.remove(run.id) if run.id in self.marked else self.marked.append(run.id)
            self._look()

    def action_compare(self) -> None:
        from engines.running import history
        from ftui.screens.compare import draw

        runs = [self.runs[name] for name in self.marked if name in self.runs]

        def show(found: dict[str, Any]) -> None:
            self.app.push_screen(TextDialog("Trainings compared", partial(draw, found)))

        self.ftui.in_background("compare", lambda: history.compare(runs), show)

    def action_queue(self, by: int) -> None:
        run = self.chosen
        if run is None:
            return
        chosen = run

        def work() -> object:
            order = [other.id for other in self.source.queue(chosen.spec.get("device"))]
            place = order.index(chosen.id) + 1 + by if chosen.id in order else 1
            return self.source.move_in_queue(chosen, max(1, min(len(order), place)))

        self._do(work, lambda _: f"{chosen.name} has another place in the queue")

    def action_stop(self) -> None:
        run = self.chosen
        if run is not None:
            self._do(lambda: self.source.request_stop(run), lambda _: f"Stopping {run.name}")

    def action_delete(self) -> None:
        run = self.chosen
        if run is None:
            return

        def said(trashed: Path) -> str:
            self.ftui.undo_stack.append((f"{run.name} is back", lambda: self.source.restore(trashed)))
            return f"{run.name} is in the trash; u brings it back"

        self._do(lambda: self.source.delete(run), said)

    def action_again(self, how: str) -> None:
        """Repeat the training, or extend it by an epoch, as a new run."""
        run, work = self.chosen, self.again.get(how)
        if run is not None and work is not None:
            self._do(partial(work, run), _begun)

    def action_move(self, how: str) -> None:
        getattr(self.query_one(ListTable), f"action_{how}")()

    @on(DataTable.RowSelected)
    def _selected(self, event: DataTable.RowSelected) -> None:
        self.dismiss(self.runs.get(event.row_key.value or ""))


def _begun(run: Run) -> str:
    return f"{run.name} waits for its device" if run.status().state == "queued" else f"{run.name} is started"
