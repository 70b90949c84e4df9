"""A sweep: one training after another, each a supervised run of its own, the next one chosen by those before.

    python -m engines.tuning.sweep_job --home WORKSPACE --dataset NAME_OR_FILE --name NAME --config PLAN.json

Everything it knows is in trials.json and in the runs of its trials, so it may be killed at any
moment and started again: trials that have ended are not repeated, one under way is followed if
it still runs, and else resumed from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from pathlib import Path

from engines.config.train import TrainConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit, number
from engines.contract.run_protocol import run_dir, run_script, stop_requested, write_result
from engines.data.datasets import Dataset
from engines.llm import LLMEngine
from engines.running.follow import LogFile
from engines.running.progress import Progress
from engines.running.runs import Run
from engines.tuning import sweep_study, trials
from engines.tuning.sweep_space import Plan, plan_of
from engines.tuning.trials import Trial
from engines.weights.adapters import Adapters
from engines.workspace import Workspace

LOOK_SECONDS = 0.5
TOLD_SECONDS = 10.0  # between two lines about the same trial
STOP_SECONDS = 40.0  # a trial's grace; the sweep's own is longer
STOP_TOGETHER_SECONDS = 1.0  # a machine that shuts down stops the trial and the sweep at about the same time
MOST_ATTEMPTS = 3  # of a trial that died while nobody watched
MOST_FAILURES = 3  # in a row, before one has succeeded: then something is wrong with all of them


class Stopped(Exception):
    """Somebody asked the sweep to stop; the trial under way was stopped with it and will be resumed."""


class Sweep:
    """The life of one sweep."""

    def __init__(self, engine: LLMEngine, folder: Path, name: str, dataset: Dataset, plan: Plan):
        self.engine = engine
        self.folder = folder
        self.name = name
        self.dataset = dataset
        self.plan = plan
        self.trials = trials.read(folder)

    def run(self) -> Trial:
        """Carry out all trials; the best one. Raises Stopped, UserError if none succeeds."""
        self._show_progress()
        if self.plan.trials < self.plan.wanted:
            print(f"{self.plan.trials} trials: the search space has no more combinations", flush=True)
        while True:
            under_way = next((trial for trial in self.trials if not trial.ended), None)
            if under_way is None and len(self.trials) >= self.plan.trials:
                break
            if stop_requested():
                raise Stopped
            trial = under_way or self._next()
            if trial is None:
                print("the search space is used up", flush=True)
                break
            self._carry_out(trial)
            self._tidy(trial)
            self._show_progress()
            self._check_failures()
        found = self._best()
        if found is None:
            raise UserError("failed", "no trial has succeeded", f"The last one: {self.trials[-1].cause}")
        return found

    def _next(self) -> Trial | None:
        """Choose what is tried next, and write it down before anything starts; None: all was tried."""
        values = sweep_study.next_values(self.plan, self.trials)
        if values is None:
            return None
        trial = Trial(len(self.trials) + 1, values)
        trial.adapter = f"{self.name}-t{trial.number:02d}"
        self.trials.append(trial)
        self._save()
        return trial

    def _carry_out(self, trial: Trial) -> None:
        emit("phase", name="trial", text=self._title(trial))
        self._show_progress()
        try:
            run = self._started(trial)
        except UserError as error:
            self._end(trial, "failed", f"{error.cause}. {error.next_step}")
            return
        trial.run = run.id
        self._follow(trial, run)
        status = run.status()
        trial.seconds = _seconds(run)
        if status.state == "done":
            objective = number(run.result(), self.plan.config.objective)
            if objective is None:
                self._end(trial, "failed", f"its {self.plan.config.objective} is no number")
            else:
                trial.objective = float(objective)
                self._end(trial, "done")
        elif status.state == "stopped" and not trial.pruning:
            time.sleep(STOP_TOGETHER_SECONDS)
            if stop_requested():
                raise Stopped
            self._end(trial, "pruned", "somebody stopped it")
        elif trial.pruning:
            self._end(trial, "pruned", f"worse than half of the others after {len(trial.evaluations)} evaluations")
        else:
            self._end(trial, "failed", status.cause or f"its run was {status.state}")

    def _started(self, trial: Trial) -> Run:
        """The trial's run, alive or done: the one that is there, resumed if it must be, else a new one."""
        found = [
            run
            for run in self.engine.runs.list("train")
            if run.spec.get("part_of") == {"sweep": self.folder.name, "trial": trial.number}
        ]
        if not found:
            config = self.plan.trial_config(trial.values, training_rows(self.engine, self.dataset, self.plan.base))
            part_of = {"sweep": self.folder.name, "trial": trial.number}
            return self.engine.train(self.dataset, config, name=trial.adapter, part_of=part_of)
        (run,) = found
        status = run.status()
        finished = status.state == "done" or (status.ended and trial.pruning)
        if not finished and not (status.state == "failed" and status.attempt >= MOST_ATTEMPTS):
            self.engine.runs.start(run)
        return run

    def _follow(self, trial: Trial, run: Run) -> None:
        """Wait for the end of a trial, and bring it about for a bad one. Raises Stopped."""
        log, progress, told = LogFile(run.log), Progress(), time.monotonic()
        while True:
            status = run.status()
            if status.state == "orphan":
                self.engine.runs.adopt(run)
            for event in log.poll_all():
                progress.apply(event)
            evaluations = [value for _, value in progress.eval_losses]
            if evaluations != trial.evaluations:
                trial.evaluations = evaluations
                self._save()
                self._prune(trial, run)
            if status.ended:
                return
            if progress.step and time.monotonic() - told >= TOLD_SECONDS:
                told = time.monotonic()
                step = f"step {progress.step}/{progress.total_steps}"
                emit("phase", name="trial", text=f"{self._title(trial)}; {step}{self._time_left(run)}")
                self._show_progress()
            if stop_requested():
                self._stop(run)
                raise Stopped
            time.sleep(LOOK_SECONDS)

    def _prune(self, trial: Trial, run: Run) -> None:
        others = [other for other in self.trials if other is not trial]
        if trial.pruning or len(trial.evaluations) >= self.plan.config.evaluations:
            return  # the last evaluation is the result
        if sweep_study.should_prune(self.plan, others, trial) and run.status().active:
            trial.pruning = True
            self._save()
            print(f"trial {trial.number} is pruned after {len(trial.evaluations)} evaluations", flush=True)
            self._stop(run)

    def _stop(self, run: Run) -> None:
        try:
            self.engine.runs.request_stop(run, STOP_SECONDS)
            self.engine.runs.wait(run, STOP_SECONDS + 15)
        except UserError:  # it has just ended by itself
            pass

    def _end(self, trial: Trial, state: str, cause: str = "") -> None:
        trial.state, trial.cause = state, cause
        self._save()
        result = f"{self.plan.config.objective} {trial.objective:.4f}" if trial.objective is not None else cause
        print(f"trial {trial.number}: {state}, {result}", flush=True)

    def _tidy(self, trial: Trial) -> None:
        """The best trial's adapter stays; every other one goes to the trash, and its checkpoints are removed."""
        if self.plan.config.keep_adapters:
            return
        found = self._best()
        for other in self.trials:
            if other is not found and other.ended:
                _discard(self.engine.adapters, other.adapter)
                if other.run:
                    shutil.rmtree(self.engine.workspace.runs / other.run / "checkpoints", ignore_errors=True)

    def _best(self) -> Trial | None:
        return trials.best(self.trials, self.plan.config.direction)

    def _check_failures(self) -> None:
        last = self.trials[-MOST_FAILURES:]
        if self._best() is None and len(last) == MOST_FAILURES and all(trial.state == "failed" for trial in last):
            raise UserError(
                "failed", f"the first {len(self.trials)} trials failed, the last one: {last[-1].cause}",
                "Mend that in the search space, or its `config:`, and start a new sweep.",
            )  # fmt: skip

    def _show_progress(self) -> None:
        emit("progress", done=sum(trial.ended for trial in self.trials), total=self.plan.trials, unit="trials")

    def _title(self, trial: Trial) -> str:
        return f"trial {trial.number} of {self.plan.trials}: {describe(trial)}"

    def _time_left(self, run: Run) -> str:
        eta = trials.eta_seconds(self.trials, self.plan.trials, _seconds(run))
        return "" if eta is None else f"; the sweep's ETA {eta / 60:.0f} min"

    def _save(self) -> None:
        trials.write(self.folder, self.trials)


def describe(trial: Trial) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in trial.values.items())


def _short(value: object) -> str:
    return (
        f"{value:g}"
        if isinstance(value, float)
        else " ".join(map(str, value))
        if isinstance(value, list)
        else str(value)
    )


def training_rows(engine: LLMEngine, dataset: Dataset, base: TrainConfig) -> int:
    """About how many rows are trained on."""
    return max(1, math.floor(engine.datasets.count_rows(dataset) * (1 - base.eval_share)))


def _discard(adapters: Adapters, name: str) -> None:
    """To the trash, unless somebody has activated it, or it is gone already."""
    try:
        adapters.delete(name)
    except UserError:
        pass


def _seconds(run: Run) -> float:
    return run.status().seconds(time.time()) or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Try combinations of training parameters.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--name", required=True, help="the beginning of the adapters' names")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    folder = run_dir() or statefiles.make_private_dir(arguments.config.parent)
    engine = LLMEngine(Workspace(arguments.home))
    plan = plan_of(json.loads(arguments.config.read_text(encoding="utf-8")))
    sweep = Sweep(engine, folder, arguments.name, engine.datasets.get(arguments.dataset), plan)
    try:
        found = sweep.run()
    except Stopped:
        write_result("stopped", trials=sum(trial.ended for trial in sweep.trials))
        return
    write_result(
        "done", best=found.number, adapter=found.adapter, objective=found.objective, values=found.values,
        trials=len(sweep.trials),
    )  # fmt: skip


if __name__ == "__main__":
    run_script(main)
