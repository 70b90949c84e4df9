"""Benchmarks of lm-eval on the models that are loaded already, where that package is installed."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from engines.config.evaluate import EvaluateConfig
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import stop_requested
from engines.quality.figures import BASE, TASK_PREFIX
from finetune.scoring import Stopped

if TYPE_CHECKING:
    from finetune.evaluate import Systems

NORMAL_QUANTILE = 1.96  # of a 95 % interval made of a standard error


def check(config: EvaluateConfig) -> None:
    """Raises UserError at once, before anything is measured, if tasks are wanted and lm-eval is not there."""
    try:
        missing = bool(config.tasks) and importlib.util.find_spec("lm_eval") is None
    except ValueError:  # a module that says nothing of where it is from
        missing = True
    if missing:
        raise UserError(
            "not_ready",
            "the benchmarks need the package lm-eval, which is not in the training environment",
            f"Install it: {sys.executable} -m pip install lm-eval; or leave out --tasks.",
        )


def run(systems: Systems, config: EvaluateConfig) -> list[dict[str, Any]]:
    """A set `tasks.NAME` of the report for each task. Raises UserError for a task that cannot run, and Stopped."""
    if not config.tasks:
        return []
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=config.tasks_folder or None)
    found: dict[str, dict[str, Any]] = {}
    for who in systems.names:
        if stop_requested():
            raise Stopped
        emit("phase", name="tasks", text=f"{', '.join(config.tasks)}: {who}")
        with systems.using(who) as model:
            wrapped = HFLM(pretrained=model, tokenizer=systems.tokenizer, batch_size=config.batch_size)
            try:
                found[who] = simple_evaluate(
                    wrapped, tasks=list(config.tasks), task_manager=manager, limit=config.tasks_limit or None,
                    bootstrap_iters=config.resamples, log_samples=False,
                )  # fmt: skip
            except (KeyError, ValueError, OSError, ConnectionError) as error:
                first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
                raise UserError(
                    "failed", f"lm-eval could not run {', '.join(config.tasks)}: {first}",
                    "Most tasks fetch their questions from the hub; --tasks-folder names tasks of your own.",
                ) from error  # fmt: skip
    return [_entry(task, found) for task in found[BASE]["results"]]


def _entry(task: str, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    figures = {who: _figures(result["results"][task]) for who, result in found.items()}
    counted = found[BASE].get("n-samples", {}).get(task, {})
    changes = {
        who: {
            name: {"value": figure["value"] - figures[BASE][name]["value"], "low": None, "high": None}
            for name, figure in values.items()
        }
        for who, values in figures.items()
        if who != BASE
    }
    return {
        "name": f"{TASK_PREFIX}{task}", "kind": "task", "rows": counted.get("effective"),
        "rows_in_all": counted.get("original"), "conversations": None, "tokens": None, "labels": [],
        "figures": figures, "changes": changes, "examples": [],
    }  # fmt: skip


def _figures(result: dict[str, Any]) -> dict[str, Any]:
    """`{"acc,none": 0.5, "acc_stderr,none": 0.1}` as figures with intervals."""
    figures = {}
    for key, value in result.items():
        name, _, version = key.partition(",")
        if not isinstance(value, int | float) or isinstance(value, bool) or name.endswith("_stderr") or not version:
            continue
        error = result.get(f"{name}_stderr,{version}")
        half = NORMAL_QUANTILE * error if isinstance(error, int | float) else None
        low, high = (None, None) if half is None else (value - half, value + half)
        figures[name if version == "none" else f"{name}_{version}"] = {"value": value, "low": low, "high": high}
    return figures
