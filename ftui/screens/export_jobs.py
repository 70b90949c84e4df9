"""Adapters merged, combined and exported from the Adapters pane: the forms, the runs, the reports."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.content import Content

from engines.weights.adapters import Adapter
from ftui import command_line, export_lines
from ftui.clean import clean, clean_line
from ftui.screens.dialog import Question, TextDialog

if TYPE_CHECKING:
    from engines.config.job import JobConfig
    from engines.running.runs import Run
    from ftui.screens.llm import LLMScreen
    from ftui.screens.llm_jobs import Jobs

MERGED = [
    ("m", "Merge it into its base model: a model that needs no adapter", "merge"),
    ("c", "Combine it with other adapters: one adapter of several", "combine"),
]


class ExportJobs:
    """The action `merge_adapter`, and the exports that `w` offers."""

    def __init__(self, screen: LLMScreen, jobs: Jobs):
        self.screen = screen
        self.jobs = jobs

    def do_merge_adapter(self) -> None:
        adapter = self.screen.adapter_panel.adapter
        if adapter is None:
            return

        def answered(answer: str | None) -> None:
            if answer:
                {"merge": self._merge, "combine": self._combine}[answer](adapter)

        question = Question(f"Merge {clean_line(adapter.name)}", Content("Into what?"), MERGED)
        self.screen.app.push_screen(question, answered)

    def ask(self, to: str) -> None:
        """The form of an export. to: gguf, awq or onnx."""
        adapter = self.screen.adapter_panel.adapter
        if adapter is not None:
            {"gguf": self._gguf, "awq": self._awq, "onnx": self._onnx}[to](adapter)

    def _merge(self, adapter: Adapter) -> None:
        from engines.config.merge import MergeConfig
        from engines.weights.merging import merge

        command = partial(command_line.merge, self.jobs.ftui.workspace.home, adapter.name)
        heading = f"Merge {adapter.name} into its base model, as {adapter.name}-merged"
        self._form(heading, MergeConfig(), command, lambda config: merge(self.jobs.engine, adapter, config))

    def _gguf(self, adapter: Adapter) -> None:
        from engines.config.export import GgufConfig
        from engines.weights.exporting import export_gguf

        command = partial(command_line.export, self.jobs.ftui.workspace.home, "gguf", [adapter.name])
        work = lambda config: export_gguf(self.jobs.engine, adapter, config)  # noqa: E731
        self._form(f"Export {adapter.name} as GGUF", GgufConfig(), command, work)

    def _awq(self, adapter: Adapter) -> None:
        from engines.config.export import AwqConfig
        from engines.weights.exporting import export_awq

        has_own = bool(adapter.dataset_path) and Path(adapter.dataset_path).is_file()
        dataset = None if has_own else self.screen.dataset_panel.dataset
        words = [adapter.name, *(["--dataset", dataset.name] if dataset else [])]
        command = partial(command_line.export, self.jobs.ftui.workspace.home, "awq", words)
        work = lambda config: export_awq(self.jobs.engine, adapter, config, dataset=dataset)  # noqa: E731
        heading = f"Export {adapter.name} as AWQ or GPTQ, calibrated on {dataset.name if dataset else 'its dataset'}"
        self._form(heading, AwqConfig(), command, work)

    def _onnx(self, adapter: Adapter) -> None:
        from engines.config.export import OnnxConfig
        from engines.weights.exporting import export_onnx
        from ftui.screens.with_adapters import WithAdaptersScreen

        home = self.jobs.ftui.workspace.home

        def command(others: list[str], _: str, values: dict[str, Any]) -> str:
            return command_line.export(home, "onnx", [adapter.name, *others], values)

        def work(config: Any, others: list[Adapter], _: str) -> Run:
            return export_onnx(self.jobs.engine, [adapter, *others], config)

        screen = WithAdaptersScreen(
            f"Export {adapter.name} as ONNX", OnnxConfig(), self._others(adapter), [], None, command
        )
        self._push(screen, "Exporting", work)

    def _combine(self, adapter: Adapter) -> None:
        from engines.config.combine import CombineConfig
        from engines.weights.merging import combine
        from ftui.screens.with_adapters import WithAdaptersScreen

        home, engine = self.jobs.ftui.workspace.home, self.jobs.engine

        def command(others: list[str], name: str, values: dict[str, Any]) -> str:
            return command_line.combine(home, [adapter.name, *others], name, values)

        def work(config: Any, others: list[Adapter], name: str) -> Run:
            return combine(engine, [adapter, *others], name, config)

        others = self._others(adapter)
        screen = WithAdaptersScreen(
            f"Combine {adapter.name} with others", CombineConfig(), others, others[:1],
            engine.adapters.free_name(f"{adapter.name}-combined"), command,
        )  # fmt: skip
        self._push(screen, "Combining", work)

    def _others(self, adapter: Adapter) -> list[str]:
        """Adapters of the same base model."""
        found = self.screen.adapter_panel.found
        return [
            other.name
            for other in found
            if other.complete and other.name != adapter.name and other.base_model == adapter.base_model
        ]

    def _form(self, heading: str, config: JobConfig, command: Any, work: Any) -> None:
        """Ask for the parameters alone, then start."""
        from ftui.screens.parameters import ParametersScreen

        def answered(chosen: JobConfig | None) -> None:
            if chosen is not None:
                self.jobs.launch("Starting", lambda: work(chosen), self.jobs.started)

        self.jobs.ftui.push_screen(ParametersScreen(clean_line(heading), config, command), answered)

    def _push(self, screen: Any, what: str, work: Any) -> None:
        """Ask for parameters and other adapters, then start."""

        def answered(answer: tuple[JobConfig, list[str], str] | None) -> None:
            if answer is not None:
                config, names, name = answer
                get = self.jobs.engine.adapters.get
                start = lambda: work(config, [get(other) for other in names], name)  # noqa: E731
                self.jobs.launch(what, start, self.jobs.started)

        self.jobs.ftui.push_screen(screen, answered)

    def show_report(self, run: Run) -> None:
        """What a finished export made."""
        text = Content("\n".join(clean(line) for line in export_lines.lines(run.result())))
        self.jobs.ftui.push_screen(TextDialog(f"Export of {clean(run.name)}", text))
