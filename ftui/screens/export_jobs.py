"""Adapters merged, combined and exported from the Adapters pane: the forms, the runs, the reports."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.content import Content

from engines.contract.errors import UserError
from engines.weights.adapters import Adapter
from engines.workspace import numbered
from ftui import command_line, export_lines
from ftui.clean import clean, clean_line
from ftui.screens.dialog import Question, TextDialog

if TYPE_CHECKING:
    from engines.config.job import JobConfig
    from engines.running.runs import Run
    from ftui.screens.llm import LLMScreen
    from ftui.screens.llm_jobs import Jobs
    from ftui.screens.make_form import Wish
    from ftui.widgets.config_form import FieldSpec

MERGED = [
    ("m", "Merge it into its base model: a model that needs no adapter", "merge"),
    ("c", "Combine it with other adapters: one adapter of several", "combine"),
]


class ExportJobs:
    """The action `merge_adapter`, and the exports that `w` offers."""

    def __init__(self, screen: LLMScreen, jobs: Jobs):
        self.screen = screen
        self.jobs = jobs

    @property
    def home(self) -> Path:
        return self.jobs.ftui.workspace.home

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
        """The form of an export, or at once what is missing for it. to: gguf, awq or onnx."""
        from engines.weights.exporting import require

        adapter = self.screen.adapter_panel.adapter
        if adapter is None:
            return
        form = {"gguf": self._gguf, "awq": self._awq, "onnx": self._onnx}[to]
        self.jobs.ftui.in_background("export", partial(require, self.jobs.engine, to), lambda _: form(adapter))

    # --- the forms ---

    def _merge(self, adapter: Adapter) -> None:
        from engines.config.merge import MergeConfig
        from engines.weights.merging import free_folder, merge
        from ftui.screens.make_form import BASE, row

        engine, usual = self.jobs.engine, f"{adapter.name}-merged"
        name = row("output", "Name", "Among the models of the workspace; or a folder, with a slash in it")

        def work(wish: Wish) -> Run:
            return merge(engine, adapter, wish.config, output=wish.output, base_model=wish.base_model)

        def command(wish: Wish) -> str:
            flags = {key: value for key, value in wish.flags.items() if (key, value) != ("output", usual)}
            return command_line.merge(self.home, adapter.name, flags)

        self._form(
            f"Merge {adapter.name} into its base model", MergeConfig(),
            {name: _free_name(engine.models.folder, usual), BASE: ""},
            command, lambda wish: free_folder(engine, adapter, wish.output), work,
        )  # fmt: skip

    def _combine(self, adapter: Adapter) -> None:
        from engines.config.combine import CombineConfig
        from engines.weights.merging import combine
        from ftui.screens.make_form import row

        engine, there = self.jobs.engine, self._others(adapter)

        def check(wish: Wish) -> None:
            _check_others(wish.others, there)
            if not wish.others:
                raise UserError("usage", "name at least one other adapter", _of(there))
            engine.adapters.check_free(wish.name)

        def work(wish: Wish) -> Run:
            return combine(engine, [adapter, *map(engine.adapters.get, wish.others)], wish.name, wish.config)

        rows = {
            _others_row(there): there[:1],
            row("new_name", "Name", "What the new adapter is called"): engine.adapters.free_name(
                f"{adapter.name}-combined"
            ),
        }
        command = lambda wish: command_line.combine(  # noqa: E731
            self.home, [adapter.name, *wish.others], wish.name, wish.flags
        )
        self._form(f"Combine {adapter.name} with others", CombineConfig(), rows, command, check, work)

    def _gguf(self, adapter: Adapter) -> None:
        from engines.config.export import GgufConfig
        from engines.weights.exporting import export_gguf, require

        def work(wish: Wish) -> Run:
            return export_gguf(self.jobs.engine, adapter, wish.config, output=wish.output, base_model=wish.base_model)

        def check(config: JobConfig) -> None:
            require(self.jobs.engine, "gguf", config)

        self._export("gguf", f"Export {adapter.name} as GGUF", adapter, GgufConfig(), work, check=check)

    def _awq(self, adapter: Adapter) -> None:
        from engines.config.export import AwqConfig
        from engines.weights.exporting import export_awq

        has_own = bool(adapter.dataset_path) and Path(adapter.dataset_path).is_file()
        dataset = None if has_own else self.screen.dataset_panel.dataset
        words = ["--dataset", dataset.name] if dataset else []
        heading = f"Export {adapter.name} as AWQ or GPTQ, calibrated on {dataset.name if dataset else 'its dataset'}"

        def work(wish: Wish) -> Run:
            return export_awq(
                self.jobs.engine, adapter, wish.config, dataset=dataset, output=wish.output,
                base_model=wish.base_model,
            )  # fmt: skip

        self._export("awq", heading, adapter, AwqConfig(), work, words)

    def _onnx(self, adapter: Adapter) -> None:
        from engines.config.export import OnnxConfig
        from engines.weights.exporting import export_onnx

        engine = self.jobs.engine

        def work(wish: Wish) -> Run:
            adapters = [adapter, *map(engine.adapters.get, wish.others)]
            return export_onnx(engine, adapters, wish.config, output=wish.output, base_model=wish.base_model)

        there = self._others(adapter)
        self._export("onnx", f"Export {adapter.name} as ONNX", adapter, OnnxConfig(), work, there=there)

    def _export(
        self, to: str, heading: str, adapter: Adapter, config: JobConfig, work: Callable[[Wish], Run],
        words: list[str] | None = None, *, there: list[str] | None = None,
        check: Callable[[JobConfig], None] | None = None,
    ) -> None:  # fmt: skip
        """words: for the command, after the adapter; there: other adapters that can take part."""
        from engines.weights.exporting import default_name, free_target
        from ftui.screens.make_form import BASE, row

        output = row("output", "Output", "A new folder; empty: in finetune/exports, called as below")
        rows: dict[FieldSpec, Any] = {output: "", BASE: ""}
        if there is not None:
            rows = {_others_row(there): [], **rows}

        def check_wish(wish: Wish) -> None:
            _check_others(wish.others, there or [])
            if check is not None:
                check(wish.config)
            free_target(self.jobs.engine, to, adapter, wish.config, wish.output)

        def command(wish: Wish) -> str:
            return command_line.export(self.home, to, [adapter.name, *(words or []), *wish.others], wish.flags)

        note = lambda wish: "" if wish.output else f"→ {default_name(to, adapter, wish.config)}"  # noqa: E731
        self._form(heading, config, rows, command, check_wish, work, note)

    def _form(
        self, heading: str, config: JobConfig, rows: dict[FieldSpec, Any], command: Callable[[Wish], str],
        check: Callable[[Wish], object], work: Callable[[Wish], Run],
        note: Callable[[Wish], str] = lambda wish: "",
    ) -> None:  # fmt: skip
        """Ask, then start."""
        from ftui.screens.make_form import MakeForm

        def answered(wish: Wish | None) -> None:
            if wish is not None:
                self.jobs.launch("Starting", lambda: work(wish), self.jobs.started)

        self.jobs.ftui.push_screen(MakeForm(clean_line(heading), config, rows, command, check, note), answered)

    def _others(self, adapter: Adapter) -> list[str]:
        """Adapters of the same base model."""
        found = self.screen.adapter_panel.found
        return [
            other.name
            for other in found
            if other.complete and other.name != adapter.name and other.base_model == adapter.base_model
        ]

    def show_report(self, run: Run) -> None:
        """What a finished export made."""
        text = Content("\n".join(clean(line) for line in export_lines.lines(run.result())))
        self.jobs.ftui.push_screen(TextDialog(f"Export of {clean(run.name)}", text))


def _free_name(folder: Path, wanted: str) -> str:
    return next(name for name in numbered(wanted) if not (folder / name).exists())


def _of(there: list[str]) -> str:
    return f"Of this base model: {', '.join(there) or 'none'}."


def _others_row(there: list[str]) -> FieldSpec:
    from ftui.screens.make_form import row

    return row("others", "Other adapters", f"With commas between. {_of(there)}", "list")


def _check_others(names: list[str], there: list[str]) -> None:
    unknown = next((name for name in names if name not in there), None)
    if unknown is not None:
        raise UserError("usage", f"{unknown} is no other adapter of this base model", _of(there))
