"""Evaluations and sweeps of the language-model screen: started, and their results shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftui.clean import clean
from ftui.screens.dialog import TextDialog

if TYPE_CHECKING:
    from engines.config.evaluate import EvaluateConfig
    from engines.quality.figures import Report
    from engines.running.runs import Run
    from ftui.screens.llm_jobs import Jobs


class TuningJobs:
    """The actions `evaluate` and `sweeps`."""

    def __init__(self, jobs: Jobs):
        self.jobs = jobs

    def do_evaluate(self) -> None:
        from engines.quality.evaluation import evaluate
        from ftui.screens.evaluate import EvaluateScreen

        adapter = self.jobs.screen.adapter_panel.adapter
        if adapter is None:
            return
        chosen = adapter

        def answered(config: EvaluateConfig | None) -> None:
            if config is not None:
                work = lambda: evaluate(self.jobs.engine, chosen, config)  # noqa: E731
                self.jobs.launch("Evaluating", work, self.jobs.started)

        self.jobs.ftui.push_screen(EvaluateScreen(self.jobs.ftui.workspace.home, chosen.name), answered)

    def do_sweeps(self, run_id: str = "") -> None:
        from ftui.screens.sweeps import SweepsScreen

        def chosen(run: Run | None) -> None:
            if run is not None:
                self.jobs.started(run)

        dataset = self.jobs.screen.dataset_panel.dataset
        self.jobs.ftui.push_screen(SweepsScreen(self.jobs.engine, dataset, run_id), chosen)

    def open(self, run: Run) -> None:
        """Show what a chosen run has found, where that is more than the Run pane can show."""
        from engines.quality.evaluation import has_report

        if run.kind == "evaluate" and has_report(run):
            self.show_report(run)
        elif run.kind == "export" and run.result():
            self.jobs.screen.export_jobs.show_report(run)
        elif run.kind == "sweep":
            self.do_sweeps(run.id)

    def show_report(self, run: Run) -> None:
        """The report of an evaluation that is done."""
        from engines.quality.evaluation import report

        def show(found: Report) -> None:
            from ftui.widgets.evaluation import draw

            self.jobs.ftui.push_screen(TextDialog(f"Evaluation of {clean(run.name)}", draw(found)))

        self.jobs.ftui.in_background("report", lambda: report(run), show)
