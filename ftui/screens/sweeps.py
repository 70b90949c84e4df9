"""The sweeps: trials of one as a table, best first, each parameter with its place in its range; keys that act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable, Static

from engines.data.datasets import Dataset
from engines.running.runs import Run
from engines.tuning import sweeps
from engines.tuning.sweeps import SweepState
from ftui.clean import clean_line
from ftui.screens.dialog import Dialog
from ftui.sweep_table import headings, rows, summary
from ftui.widgets.list_table import ListTable

if TYPE_CHECKING:
    from engines.llm import LLMEngine
    from engines.tuning.sweep_space import Plan
    from ftui.app import FtuiApp

REFRESH_SECONDS = 1.0
EMPTY = "No sweep yet. One tries many trainings and keeps the best adapter: press s."
KEYS = "s start  x stop  r resume  enter run  b activate best  [ ] other  esc"


class SweepsScreen(Dialog[Run]):
    """Answers with the run of the trial that was chosen. Read again once a second while it is open."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,S", "close", show=False),
        Binding("j", "move('cursor_down')", show=False),
        Binding("k", "move('cursor_up')", show=False),
        Binding("g", "move('scroll_top')", show=False),
        Binding("G", "move('scroll_bottom')", show=False),
        Binding("left_square_bracket", "other(1)", show=False),
        Binding("right_square_bracket", "other(-1)", show=False),
        Binding("s", "start", show=False),
        Binding("x", "stop", show=False),
        Binding("r", "resume", show=False),
        Binding("b", "best", show=False),
    ]
    DEFAULT_CSS = """
    SweepsScreen > .box { width: 96%; max-width: 180; height: 90%; }
    SweepsScreen #sweep-summary { height: auto; padding: 0 1; }
    SweepsScreen #sweep-trial { height: auto; max-height: 4; padding: 0 1; color: $foreground-muted; }
    SweepsScreen ListTable { height: 1fr; }
    """

    def __init__(self, engine: LLMEngine, dataset: Dataset | None, run_id: str = ""):
        super().__init__()
        self.engine = engine
        self.dataset = dataset
        self.found: list[SweepState] = []
        self.shown = run_id  # of the sweep that is shown; by default the newest
        self.table: ListTable | None = None

    @property
    def ftui(self) -> FtuiApp:
        return cast("FtuiApp", self.app)

    @property
    def sweep(self) -> SweepState | None:
        return next((entry for entry in self.found if entry.run.id == self.shown), None)

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content("Sweeps")
            box.border_subtitle = Content(KEYS)
            yield Static("reading…", id="sweep-summary", markup=False)
            yield Static("", id="sweep-trial", markup=False)

    def on_mount(self) -> None:
        self._look()
        self.set_interval(REFRESH_SECONDS, self._look)

    def _look(self) -> None:
        def read() -> list[SweepState]:
            return [sweeps.state(run) for run in self.engine.runs.list("sweep")]

        self.ftui.in_background("sweeps", read, self._show)

    def _show(self, found: list[SweepState]) -> None:
        if not self.is_attached:
            return
        self.found = found
        if self.sweep is None and found:
            self.shown = found[0].run.id
        sweep = self.sweep
        if sweep is None:
            self.query_one("#sweep-summary", Static).update(Content.styled(EMPTY, "$foreground-muted"))
            return
        place = f"   {found.index(sweep) + 1} of {len(found)}" if len(found) > 1 else ""
        title = Content.assemble((clean_line(sweep.run.name), "bold"), (place, "$foreground-muted"))
        line = Content(f"{summary(sweep)}   {clean_line(str(sweep.run.spec.get('dataset', '')))}")
        cause = Content.styled(f"\n{clean_line(sweep.status.cause)}", "$text-error") if sweep.status.cause else ""
        self.query_one("#sweep-summary", Static).update(Content.assemble(title, "\n", line, cause))
        self._fill(sweep)

    def _fill(self, sweep: SweepState) -> None:
        wanted = headings(sweep)
        if self.table is None or list(self.table.headings) != wanted:
            if self.table is not None:
                self.table.remove()
            self.table = ListTable(wanted)
            self.query_one(".box").mount(self.table, before="#sweep-trial")
            self.call_after_refresh(self.table.focus)
            self.call_after_refresh(self._look)
            return
        self.table.fill(rows(sweep))
        self._describe()

    @on(DataTable.RowHighlighted)
    def _describe(self) -> None:
        """All that is known of the trial under the cursor."""
        trial = self._trial()
        if trial is None:
            return
        values = "  ".join(f"{name}={value}" for name, value in trial.values.items())
        more = f"\n{trial.cause}" if trial.cause else f"\nadapter {trial.adapter}" if trial.state == "done" else ""
        self.query_one("#sweep-trial", Static).update(Content(clean_line(values) + "\n" + clean_line(more.strip())))

    def _trial(self) -> sweeps.Trial | None:
        chosen = self.table.chosen if self.table is not None else None
        trials = self.sweep.trials if self.sweep else []
        return next((trial for trial in trials if str(trial.number) == chosen), None)

    # --- keys ---

    def action_move(self, how: str) -> None:
        if self.table is not None:
            getattr(self.table, f"action_{how}")()

    def action_other(self, step: int) -> None:
        """The sweep before, or after, in time."""
        sweep = self.sweep
        if sweep is not None:
            place = self.found.index(sweep) + step
            self.shown = self.found[max(0, min(len(self.found) - 1, place))].run.id
            self._show(self.found)

    @on(DataTable.RowSelected)
    def _selected(self) -> None:
        trial = self._trial()
        if trial is None or not trial.run:
            self.ftui.say("This trial has no run")
            return
        self.ftui.in_background("trial", lambda: self.engine.runs.get(trial.run), self._chosen)

    def _chosen(self, run: Run) -> None:
        self.dismiss(run)

    def action_start(self) -> None:
        from ftui.screens.start_sweep import StartSweepScreen

        dataset = self.dataset
        if dataset is None:
            self.ftui.say("No dataset yet: close this and press o", severity="warning")
            return

        def ask(space: object) -> None:
            name = sweeps.free_name(self.engine, dataset)
            screen = StartSweepScreen(self.engine.workspace.home, dataset.name, name, sweeps.space_file(self.engine))
            self.app.push_screen(screen, self._start)

        self.ftui.in_background("space", lambda: sweeps.space_file(self.engine), ask)

    def _start(self, answer: tuple[Plan, str] | None) -> None:
        dataset = self.dataset
        if answer is None or dataset is None:
            return
        plan, name = answer
        self.ftui.say(f"Starting {name}")
        self.ftui.in_background("launch", lambda: sweeps.start(self.engine, dataset, plan, name=name), self._started)

    def _started(self, run: Run) -> None:
        self.shown = run.id
        self._look()

    def action_stop(self) -> None:
        sweep = self.sweep
        if sweep is None or not sweep.status.active:
            self.ftui.say("No sweep runs here: press s to start one", severity="warning")
            return
        told = f"Stopping {sweep.run.name}: its trial saves a checkpoint first"
        self.ftui.in_background("stop", lambda: sweeps.stop(self.engine, sweep.run), lambda _: self.ftui.say(told))

    def action_resume(self) -> None:
        sweep = self.sweep
        if sweep is None or sweep.status.active:
            self.ftui.say("It is running" if sweep else "No sweep yet: press s", severity="warning")
            return
        self.ftui.in_background("launch", lambda: sweeps.resume(self.engine, sweep.run), lambda _: self._look())

    def action_best(self) -> None:
        best = self.sweep.best if self.sweep else None
        if best is None:
            self.ftui.say("No trial has succeeded yet", severity="warning")
            return
        self.ftui.in_background(
            "activate",
            lambda: self.engine.adapters.activate(best.adapter),
            lambda adapter: self.ftui.say(f"● {adapter.name} is active"),
        )
