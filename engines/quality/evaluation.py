"""Evaluations as runs: the engine call behind `ftui llm evaluate`, and their reports."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.config.evaluate import EvaluateConfig
from engines.config.train import TrainConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.data.datasets import Dataset
from engines.quality import gate
from engines.quality.figures import GENERAL, HELD_OUT, TASK_PREFIX, Report
from engines.running.runs import Run
from engines.weights.adapters import Adapter

if TYPE_CHECKING:
    from engines.llm import LLMEngine


def evaluate(
    engine: LLMEngine, adapter: Adapter, config: EvaluateConfig | None = None, *,
    dataset: Dataset | None = None, base_model: str | None = None,
) -> Run:  # fmt: skip
    """Start the comparison of the base model with an adapter and the others that `config` names.

    On the held-out part of `dataset`, by default of the one that the adapter was trained on.
    Raises UserError for what cannot be compared, before anything is loaded.
    """
    config = config or EvaluateConfig()
    adapters = [adapter, *(engine.adapters.get(name) for name in dict.fromkeys(config.against) if name != adapter.name)]
    data = dataset or engine.data_of(adapter)
    also = _sets(engine, config.also)
    _check_conditions(config, also)
    template = _template(adapters)
    model, device = engine.base_of(adapter, base_model)
    for other in adapters[1:]:
        engine.base_of(other, model)
    argv = [
        str(engine.environments.require("llm")), "-m", "finetune.evaluate", "--model", model,
        "--dataset", str(data.path), "--eval-share", str(_eval_share(adapters, data)),
        "--max-length", str(_trained_with(adapter, "max_seq_length")), "--config", "{run}/config.json",
        "--text-template", template,
    ]  # fmt: skip
    for found in adapters:
        argv += ["--adapter", f"{found.name}={found.path / 'final'}"]
    for name, path in also.items():
        argv += ["--also", f"{name}={path}"]
    resolved = config.model_copy(
        update={
            "device": device if config.device == "auto" else config.device,
            "quantization": _trained_with(adapter, "quantization")
            if config.quantization == "auto"
            else config.quantization,
        }
    )
    run = engine.runs.create(
        "evaluate", adapter.name, argv,
        device=resolved.device, config=resolved.model_dump(), env=engine.environments.variables("llm"),
        dataset=data.name, adapters=[found.name for found in adapters],
    )  # fmt: skip
    engine.runs.start(run)
    return run


def has_report(run: Run) -> bool:
    return (run.folder / "report.json").is_file()


def report(run: Run) -> Report:
    """The report of an evaluation that is done. Raises UserError if it has none."""
    found = statefiles.read_object(run.folder / "report.json")
    if not found:
        raise UserError("not_found", f"the evaluation {run.id} has no report", f"Read its log: {run.log}.")
    return found


def check_output(output: Path | str) -> None:
    """Raises UserError if no report can be written there: before an evaluation, not after it."""
    target = Path(output).expanduser().absolute()
    for wrong, reason in (
        (target.is_dir(), "it is a folder"),
        (not target.parent.is_dir(), f"there is no folder {target.parent}"),
        (not os.access(target.parent, os.W_OK), f"nothing may be written in {target.parent}"),
    ):
        if wrong:
            raise UserError("usage", f"{target} cannot be written: {reason}", "Name another file.")


def export(run: Run, output: Path | str) -> Path:
    """Copy the report to `output`: JSON if it is called so, else Markdown. Raises UserError."""
    target = Path(output).expanduser().absolute()
    source = run.folder / ("report.json" if target.suffix == ".json" else "report.md")
    try:
        statefiles.write_bytes(target, source.read_bytes())
    except OSError as error:
        raise UserError("usage", f"{target} cannot be written: {error.strerror}", "Name another file.") from None
    return target


def _sets(engine: LLMEngine, wanted: Iterable[str]) -> dict[str, Path]:
    """The named sets and their files. Raises UserError for a name that would mean two things."""
    sets: dict[str, Path] = {}
    for name in wanted:
        found = engine.datasets.get(name)
        if found.name in (*sets, HELD_OUT, GENERAL) or found.name.startswith(TASK_PREFIX):
            raise UserError("usage", f"there are two sets called {found.name}", "Rename one of the files.")
        sets[found.name] = found.path
    return sets


def _check_conditions(config: EvaluateConfig, also: Iterable[str]) -> None:
    """A condition on a set that is not measured would be seen minutes later only."""
    known = [HELD_OUT, *([GENERAL] if config.general else []), *also]
    for condition in map(gate.parse, config.fail_if):
        if condition.set_name not in known and not (condition.set_name.startswith(TASK_PREFIX) and config.tasks):
            raise UserError(
                "usage", f"{condition.expression!r}: the set {condition.set_name} is not measured",
                f"There are: {', '.join(known)}.",
            )  # fmt: skip


def _trained_with(adapter: Adapter, name: str) -> Any:
    """A parameter of the adapter's training; the default for an adapter that does not tell."""
    return adapter.config.get(name, TrainConfig.model_fields[name].default)


def _template(adapters: list[Adapter]) -> str:
    """The text template that all adapters were trained with. Raises UserError if they differ."""
    templates = {str(_trained_with(found, "text_template")): found.name for found in adapters}
    if len(templates) > 1:
        raise UserError(
            "conflict", f"{' and '.join(templates.values())} were trained with different text templates",
            "Evaluate them one by one.",
        )  # fmt: skip
    return next(iter(templates))


def _eval_share(adapters: list[Adapter], data: Dataset) -> float:
    """What none of the adapters that were trained on this dataset has seen.

    A smaller held-out part is contained in a larger one (finetune/split_files.py), so it is the smallest.
    """
    shares = [float(_trained_with(found, "eval_share")) for found in adapters if found.dataset == data.path.name]
    return min(shares or [float(_trained_with(adapters[0], "eval_share"))])
