"""The Run pane: one run, live or from the past, with its figures, chart and log."""

from __future__ import annotations

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from engines.running.runs import Run
from ftui import sample_lines
from ftui.clean import clean_line
from ftui.follower import Follower, Move
from ftui.format import count
from ftui.widgets import run_figures
from ftui.widgets.log_view import LogView
from ftui.widgets.loss_chart import LossChart
from ftui.widgets.pane import Pane

EMPTY = "No run yet. Press s to start a training, or D for the demo."
WIDE = 110  # from this width on the log stands beside the chart


class RunPanel(Pane):
    """Follows the run that it is given, to its end and after it."""

    DEFAULT_CSS = """
    RunPanel #run-head, RunPanel #run-failure { height: auto; padding: 0 1; }
    RunPanel #run-failure { display: none; margin: 1 0 0 0; }
    RunPanel #run-failure.-shown { display: block; }
    RunPanel #run-body { layout: vertical; height: 1fr; margin: 1 0 0 0; }
    RunPanel.-wide #run-body { layout: horizontal; }
    RunPanel #chart { height: 5fr; min-height: 6; display: none; }
    RunPanel #chart.-shown { display: block; }
    RunPanel.-empty #run-body { visibility: hidden; }
    RunPanel #log { height: 6fr; min-height: 4; border-top: solid $foreground 30%; }
    RunPanel #log:focus { border-top: heavy $accent; }
    RunPanel.-wide #chart { width: 1fr; height: 1fr; margin: 0 2 0 0; }
    RunPanel.-wide #log { width: 1fr; height: 1fr; }
    RunPanel #find { display: none; height: 1; }
    RunPanel #find.-shown { display: block; }
    """

    class Moved(Message):
        """The state of the run changed."""

        def __init__(self, run: Run, state: str, before: str):
            super().__init__()
            self.run = run
            self.state = state
            self.before = before

    def __init__(self, empty: str = EMPTY, *, id: str | None = None):
        super().__init__(id=id, classes="pane -empty")
        self.follower: Follower | None = None
        self.head = Static(Content.styled(empty, "$foreground-muted"), id="run-head", markup=False)
        self.failure = Static("", id="run-failure", markup=False)
        self.chart = LossChart(id="chart")
        self.log_view = LogView(id="log")
        self._state = ""
        self._head: Content | None = None

    def compose(self) -> ComposeResult:
        yield self.head
        yield self.failure
        with Container(id="run-body"):
            yield self.chart
            yield self.log_view
        yield Input(placeholder="search in the log, enter to go", id="find", compact=True)

    def on_mount(self) -> None:
        self.watch(self.log_view, "new_lines", self._show_position, init=False)
        self.chart.log_scale = self.ftui.remembered.log_scale

    @property
    def run(self) -> Run | None:
        return self.follower.run if self.follower else None

    @property
    def state(self) -> str:
        return self._state

    # --- following ---

    def show(self, run: Run) -> None:
        """Follow `run` from its first line. The same run again changes nothing."""
        if self.run is not None and self.run.id == run.id:
            return
        self._state, self._head = "", None
        self.remove_class("-empty")
        self._follow(run)

    @work(exclusive=True, group="follow")
    async def _follow(self, run: Run) -> None:
        self.follower = Follower(run)
        self.log_view.show(self.follower.log)
        async for move in self.follower.moves():
            self._draw(self.follower, move)

    def _draw(self, follower: Follower, move: Move) -> None:
        if move.lines:
            self.log_view.grew()
            self._show_position()
        if move.figures:
            self._draw_figures(follower, move)
        if move.status.state != self._state:
            before, self._state = self._state, move.status.state
            self.post_message(self.Moved(follower.run, self._state, before))

    def _draw_figures(self, follower: Follower, move: Move) -> None:
        head = run_figures.head(follower.run, move.status, follower.progress, self.size.width)
        if self._head is None or not head.is_same(self._head):
            taller = self._head is None or head.plain.count("\n") != self._head.plain.count("\n")
            self._head = head
            self.head.update(head, layout=taller)
        self.chart.show(follower.progress.losses, follower.progress.eval_losses)
        self.chart.set_class(not self.chart.empty, "-shown")
        if move.status.state != self._state:
            failure = run_figures.failure(follower.run, move.status)
            self.failure.update(failure or Content(""))
            self.failure.set_class(failure is not None, "-shown")

    def on_resize(self) -> None:
        self.set_class(self.size.width >= WIDE, "-wide")

    # --- the log and the chart ---

    def target(self) -> Widget:
        return self.log_view

    def leave(self) -> bool:
        """Close the search box, then forget the search."""
        box = self.query_one("#find", Input)
        if box.has_class("-shown"):
            self._close_box(box)
            return True
        if not self.log_view.needle:
            return False
        self.log_view.search("")
        self._show_position()
        return True

    def do_find(self) -> None:
        box = self.query_one("#find", Input)
        box.add_class("-shown")
        box.value = self.log_view.needle
        self.screen.set_focus(box)

    def do_next_match(self) -> None:
        self.log_view.search(self.log_view.needle, again=True)

    def do_previous_match(self) -> None:
        self.log_view.search(self.log_view.needle, backwards=True, again=True)

    def do_log_scale(self) -> None:
        self.chart.log_scale = not self.chart.log_scale
        self.ftui.remember(log_scale=self.chart.log_scale)

    def do_answers(self) -> None:
        from ftui.screens.dialog import TextDialog

        lines = sample_lines.lines(self.follower.progress.samples if self.follower else [])
        styled = [Content.styled(clean_line(line), "bold" if line.startswith(">") else "") for line in lines]
        self.app.push_screen(TextDialog("Sample answers", Content("\n").join(styled)))

    @on(Input.Submitted, "#find")
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.log_view.search(event.value.strip(), backwards=self.log_view.following)
        self._close_box(event.input)

    def _close_box(self, box: Input) -> None:
        box.remove_class("-shown")
        self.screen.set_focus(self.log_view)

    @on(LogView.Searched)
    def _searched(self, event: LogView.Searched) -> None:
        self._show_position(event)

    def _show_position(self, _: object = None) -> None:
        """Where the log stands, in its border."""
        view = self.log_view
        lines = len(view.log_file) if view.log_file else 0
        title = f"log · {count(lines)} lines"
        if view.needle:
            where = "not found" if view.found is None else f"line {count(view.found + 1)}"
            title += f" · /{clean_line(view.needle)[:30]} {where}"
        view.border_title = Content(title)
        view.border_subtitle = Content(view.position)
