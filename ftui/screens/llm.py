"""The language-model screen: Dataset, Parameters, Run and Adapters, with real data from the engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import on, work
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import DataTable

from engines.data.datasets import Dataset
from engines.running.runs import Run
from engines.weights.adapters import Adapter
from ftui.actions import LLM, Facts
from ftui.screens.adapter_jobs import AdapterJobs
from ftui.screens.dataset_jobs import DatasetJobs
from ftui.screens.export_jobs import ExportJobs
from ftui.screens.llm_jobs import Jobs
from ftui.screens.panes import PanesPlace
from ftui.screens.tuning_jobs import TuningJobs
from ftui.widgets.adapter_panel import AdapterPanel
from ftui.widgets.dataset_panel import DatasetPanel
from ftui.widgets.pane import Pane
from ftui.widgets.run_panel import RunPanel

if TYPE_CHECKING:
    from engines.llm import LLMEngine
    from ftui.widgets.params_panel import ParamsPanel

CHECK_SECONDS = 0.3


@dataclass(frozen=True)
class Lists:
    """One look at the workspace."""

    datasets: list[Dataset]
    adapters: list[Adapter]
    training: Run | None  # one that runs, else one that waits, else the newest
    training_active: bool


def look(engine: LLMEngine) -> Lists:
    """Read the lists from disk; runs in a thread."""
    active = engine.runs.newest("train", active=True)
    newest = active or engine.runs.newest("train")
    return Lists(engine.datasets.list(), engine.adapters.list(), newest, active is not None)


class LLMScreen(PanesPlace):
    """Four panes. What they can do is in the panes and in `Jobs`."""

    NAME = "llm"
    PANES = LLM
    FORM = "params"
    params: ParamsPanel | None = None

    def __init__(self) -> None:
        super().__init__()
        self.jobs = Jobs(self)
        self.dataset_jobs = DatasetJobs(self.jobs)
        self.tuning = TuningJobs(self.jobs)
        self.adapter_jobs = AdapterJobs(self, self.jobs)
        self.export_jobs = ExportJobs(self, self.jobs)
        self.dataset_panel = DatasetPanel(id="dataset")
        self.run_panel = RunPanel(id="run")
        self.adapter_panel = AdapterPanel(id="adapters")
        self.lists: Lists | None = None
        self.warnings: list[str] = []
        self.refusal = ""  # why the engine would not start a training
        self.wanted_dataset = ""
        self._check_timer: Timer | None = None

    def on_mount(self) -> None:
        self.wanted_dataset = self.ftui.remembered.dataset
        self.begin_panes()
        self.watch(self.app, "engine", self._begin)

    # --- the engine's answers ---

    def _begin(self, engine: LLMEngine | None) -> None:
        if engine is not None and self.params is None:
            self.ftui.in_background("last", engine.last_config, self._mount_params)
            self.scan()
            self._watch_disk(engine)

    def _mount_params(self, last: object) -> None:
        from engines.config.train import TrainConfig
        from ftui.widgets.params_panel import ParamsPanel

        assert self.ftui.engine is not None
        chosen = last if isinstance(last, TrainConfig) else None
        self.mount_form(ParamsPanel(chosen, self.ftui.engine.family_defaults, id="params"))

    @work(exclusive=True, group="disk")
    async def _watch_disk(self, engine: LLMEngine) -> None:
        from engines.changes import changes

        async for _ in changes(engine.workspace):
            self.scan()

    def scan(self) -> None:
        """Look at the disk again; the old lists stay until the new ones are there."""
        engine = self.ftui.engine
        if engine is not None:
            self.ftui.in_background("scan", lambda: look(engine), self._scanned)

    def _scanned(self, lists: Lists) -> None:
        first, self.lists = self.lists is None, lists
        self.dataset_panel.show(lists.datasets)
        if self.wanted_dataset in self.dataset_panel.datasets:
            self.dataset_panel.choose(self.wanted_dataset)
            self.wanted_dataset = ""
        self.adapter_panel.show(lists.adapters)
        self.ftui.active_adapter = self.adapter_panel.active
        self._show_training(lists)
        if not lists.datasets:
            self.jobs.show_machine_in_pane()
        if first or self.app.focused is None:
            self.call_after_refresh(self.focus_pane)
        self.check()

    def _show_training(self, lists: Lists) -> None:
        """A training that somebody else started takes the place of one that has ended."""
        shown, newest = self.run_panel.run, lists.training
        if newest is None:
            return
        newer = shown is None or newest.spec.get("created_at", 0) > shown.spec.get("created_at", 0)
        if shown is None or (newer and lists.training_active and not self.facts().run_active):
            self.run_panel.show(newest)

    # --- what is about to start ---

    @on(DatasetPanel.Chosen)
    def _dataset_chosen(self, event: DatasetPanel.Chosen) -> None:
        if event.dataset is not None and not self.wanted_dataset:
            self.ftui.remembered.dataset = event.dataset.name
        self.check()

    def form_changed(self) -> None:
        self.check()

    def check(self) -> None:
        """Say soon whether a training makes sense with what is chosen now."""
        self.show_start()
        if self._check_timer is not None:
            self._check_timer.stop()
        self._check_timer = self.set_timer(CHECK_SECONDS, self._check_now)

    def _check_now(self) -> None:
        engine, dataset = self.ftui.engine, self.dataset_panel.dataset
        config = self.params.form.config if self.params else None
        if engine is None or dataset is None or config is None:
            self._checked([])
            return
        self.ftui.in_background("check", lambda: engine.check(dataset, config), self._checked, self._refused)

    def _checked(self, warnings: list[str]) -> None:
        self.warnings, self.refusal = warnings, ""
        self.show_start()

    def _refused(self, error: Exception) -> None:
        self.warnings = []
        self.refusal = f"{error}. {getattr(error, 'next_step', '')}".strip()
        self.show_start()

    def show_start(self) -> None:
        facts = self.facts()
        problem = facts.problem or (self.refusal if facts.dataset else "")
        self.start_bar.show(self.jobs.command(), problem, self.warnings if facts.dataset else [])
        self.show_footer()

    # --- facts ---

    @property
    def panes(self) -> dict[str, Widget]:
        """By name. A placeholder stands for the parameters until the engine is loaded."""
        params: Widget = self.params or self.placeholder
        return {"dataset": self.dataset_panel, "params": params, "run": self.run_panel, "adapters": self.adapter_panel}

    def facts(self) -> Facts:
        run, adapter, dataset = self.run_panel.run, self.adapter_panel.adapter, self.dataset_panel.dataset
        undo = self.ftui.undo_stack
        return Facts(
            place=self.NAME,
            pane=self.pane,
            loaded=self.ftui.engine is not None and self.params is not None,
            busy=self.jobs.busy,
            dataset=dataset.name if dataset else None,
            preparing=self.dataset_panel.preparing is not None,
            problem=self.params.form.problem if self.params else "",
            run=run.name if run else None,
            run_kind=run.kind if run else "",
            run_state=self.run_panel.state,
            adapters=len(self.adapter_panel.found),
            adapter=adapter.name if adapter else None,
            adapter_complete=adapter.complete if adapter else False,
            active_adapter=self.adapter_panel.active,
            undo=undo[-1][0] if undo else "",
            searching=bool(self.run_panel.log_view.needle),
        )

    def owners(self) -> Iterable[object]:
        of_pane: tuple[object, ...] = (self.dataset_jobs, self.adapter_jobs)
        if self.pane == "adapters":  # both can rename and write
            of_pane = (self.adapter_jobs, self.dataset_jobs)
        return (self.panes[self.pane], *of_pane, self.jobs, self.tuning, self.export_jobs, self)

    @on(RunPanel.Moved)
    def _run_moved(self, event: RunPanel.Moved) -> None:
        self.show_footer()
        if event.before:
            self.jobs.run_moved(event.run, event.state)
            if event.state == "done" and event.run.kind == "evaluate":
                self.tuning.show_report(event.run)
            elif event.state == "done" and event.run.kind == "export":
                self.export_jobs.show_report(event.run)
            self.scan()

    @on(DatasetPanel.Prepared)
    def _prepared(self, event: DatasetPanel.Prepared) -> None:
        self.jobs.prepared(event.run, event.status.state)

    @on(Pane.DiskChanged)
    def _disk_changed(self) -> None:
        self.scan()

    @on(DataTable.RowHighlighted)
    def _row_moved(self) -> None:
        self.show_footer()
