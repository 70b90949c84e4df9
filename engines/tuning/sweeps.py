"""Sweeps as the faces see them: start one, what its trials are, how long it will take."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.contract import estimate, statefiles
from engines.contract.errors import UserError
from engines.data.datasets import Dataset
from engines.running.runs import Run, RunStatus
from engines.tuning import sweep_space, trials
from engines.tuning.sweep_space import Plan, Span, plan_of
from engines.tuning.trials import Trial
from engines.workspace import check_name, name_from

if TYPE_CHECKING:
    from engines.llm import LLMEngine

STOP_SECONDS = 90.0  # the trial under way saves a checkpoint first


@dataclass(frozen=True)
class SweepState:
    """A sweep at one moment. trials: best first."""

    run: Run
    status: RunStatus
    plan: Plan
    trials: list[Trial]
    eta_seconds: float | None

    @property
    def best(self) -> Trial | None:
        return trials.best(self.trials, self.plan.config.direction)

    @property
    def ended(self) -> int:
        return sum(trial.ended for trial in self.trials)

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.run.as_dict(),
            "plan": self.plan.as_dict(),
            "trials_wanted": self.plan.trials,
            "eta_seconds": self.eta_seconds,
            "best": asdict(self.best) if self.best else None,
            "trials": [asdict(trial) for trial in self.trials],
        }


def start(engine: LLMEngine, dataset: Dataset, plan: Plan, *, name: str | None = None) -> Run:
    """Start a sweep on `dataset`. Its adapters are called NAME-t01, NAME-t02 … Raises UserError for what cannot be."""
    wanted = check_name(name or free_name(engine, dataset), "a sweep")
    if any(adapter.name.startswith(f"{wanted}-t") for adapter in engine.adapters.list()):
        raise UserError("conflict", f"there are adapters {wanted}-t… already", "Choose another name.")
    for run in engine.runs.list("sweep"):
        if run.name == wanted:
            step = f"Choose another name, or delete that one: ftui runs delete {run.id}."
            raise UserError("conflict", f"there is a sweep {wanted} already", step)
    engine.check(dataset, _hardest(engine, dataset, plan))
    plan = replace(plan, base=engine.as_seen_from_here(plan.base))
    argv = [
        sys.executable, "-m", "engines.tuning.sweep_job", "--home", str(engine.workspace.home),
        "--dataset", str(dataset.path), "--name", wanted, "--config", "{run}/config.json",
    ]  # fmt: skip
    places = [os.environ.get("PYTHONPATH"), os.getcwd() if plan.base.loss else None]  # for a loss of the user's own
    env = {"PYTHONPATH": os.pathsep.join(filter(None, places))} if plan.base.loss else {}
    run = engine.runs.create("sweep", wanted, argv, config=plan.as_dict(), env=env, dataset=dataset.name)
    engine.runs.start(run)
    return run


def free_name(engine: LLMEngine, dataset: Dataset) -> str:
    """A name for the next sweep on `dataset`: chats-sweep1, chats-sweep2 …"""
    taken = {run.name for run in engine.runs.list("sweep")}
    stem = f"{name_from(dataset.name)}-sweep"
    return next(name for number in range(1, len(taken) + 2) if (name := f"{stem}{number}") not in taken)


def space_file(engine: LLMEngine) -> Path:
    """The workspace's own search space; made from the example where there is none."""
    path = engine.workspace.folder("finetune") / "sweep_space.yaml"
    if not path.exists():
        statefiles.write_bytes(path, example().encode())
    return path


def _hardest(engine: LLMEngine, dataset: Dataset, plan: Plan) -> Any:
    """The trial that takes the most rows for a step: if the data is enough for it, it is for all."""
    values: dict[str, Any] = {}
    for name in ("batch_size", "gradient_accumulation_steps"):
        if name in plan.space:
            found = plan.space[name]
            values[name] = found.number(found.high) if isinstance(found, Span) else max(found.choices)
    rows = max(1, round(engine.datasets.count_rows(dataset) * (1 - plan.base.eval_share)))
    config = plan.trial_config(values, rows)
    estimate.check_steps(rows, config)
    return config


def get(engine: LLMEngine, run_id: str | None = None) -> SweepState:
    """The sweep of that run id or name, by default the newest. Raises UserError if there is none."""
    runs = engine.runs.list("sweep")
    if not runs:
        raise UserError("not_found", "there is no sweep yet", "Start one: `ftui llm sweep SPACE.yaml --dataset NAME`.")
    if run_id is None:
        return state(runs[0])
    named = [run for run in runs if run.name == run_id]
    run = named[0] if named else engine.runs.get(run_id)
    if run.kind != "sweep":
        raise UserError("usage", f"{run.id} is no sweep", "See `ftui sweeps list`.")
    return state(run)


def state(run: Run) -> SweepState:
    """How a sweep stands now. Reading changes nothing."""
    plan = plan_of(run.spec["config"])
    found = trials.read(run.folder)
    status = run.status()
    under_way = next((trial for trial in found if not trial.ended and trial.run), None)
    spent = 0.0
    if under_way is not None:
        spent = Run(run.folder.parent / under_way.run).status().seconds(time.time()) or 0.0
    eta = trials.eta_seconds(found, plan.trials, spent) if status.active else None
    return SweepState(run, status, plan, trials.ranked(found, plan.config.direction), eta)


def example() -> str:
    """A commented search space to begin with."""
    return Path(sweep_space.EXAMPLE).read_text(encoding="utf-8")


def stop(engine: LLMEngine, run: Run) -> None:
    """Ask a sweep to end; its trial under way saves a checkpoint. `resume` goes on with it."""
    engine.runs.request_stop(run, STOP_SECONDS)


def resume(engine: LLMEngine, run: Run) -> RunStatus:
    """Go on with a sweep that was stopped, failed or killed. Raises UserError for a finished one."""
    if run.status().state == "done":
        raise UserError("conflict", f"{run.name} is finished", "Start a new sweep.")
    return engine.runs.start(run)
