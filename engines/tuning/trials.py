"""The trials of a sweep on disk: runs/{id}/trials.json, whole or absent, written by the sweep's script alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engines.contract import statefiles

FILE = "trials.json"
ENDED = ("done", "pruned", "failed")


@dataclass
class Trial:
    """One training of a sweep. state: running or one of ENDED; objective is None until it is done.

    evaluations: losses on the held-out part, first to last. pruning: it was told to end early.
    """

    number: int
    values: dict[str, Any]
    state: str = "running"
    run: str = ""
    adapter: str = ""
    objective: float | None = None
    evaluations: list[float] = field(default_factory=list)
    pruning: bool = False
    seconds: float = 0.0
    cause: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED


def read(folder: Path) -> list[Trial]:
    """The trials of the sweep whose run has `folder`, first to last; none if it has not begun."""
    entries = statefiles.read_object(folder / FILE).get("trials", [])
    known = Trial.__dataclass_fields__
    return [Trial(**{key: value for key, value in entry.items() if key in known}) for entry in entries]


def write(folder: Path, trials: Sequence[Trial]) -> None:
    statefiles.write_json(folder / FILE, {"trials": [asdict(trial) for trial in trials]}, folder / "reserve")


def best(trials: Sequence[Trial], direction: str) -> Trial | None:
    """The done trial with the best objective; of equal ones the first."""
    done = [trial for trial in trials if trial.state == "done" and trial.objective is not None]
    sign = -1 if direction == "maximize" else 1
    return min(done, key=lambda trial: (sign * (trial.objective or 0.0), trial.number), default=None)


def ranked(trials: Sequence[Trial], direction: str) -> list[Trial]:
    """Best first; then those that run, were pruned, failed."""
    order = {"done": 0, "running": 1, "pruned": 2, "failed": 3}
    sign = -1 if direction == "maximize" else 1

    def key(trial: Trial) -> tuple[float, float, int]:
        reached = (
            trial.objective if trial.objective is not None else trial.evaluations[-1] if trial.evaluations else math.inf
        )
        return order.get(trial.state, 4), sign * reached, trial.number

    return sorted(trials, key=key)


def eta_seconds(trials: Sequence[Trial], count: int, running_seconds: float = 0.0) -> float | None:
    """Seconds to the end of a sweep of `count` trials, from the mean of those that have ended; None until one has."""
    spent = [trial.seconds for trial in trials if trial.state in ("done", "pruned") and trial.seconds]
    left = count - sum(trial.ended for trial in trials)
    if not spent:
        return None
    each = sum(spent) / len(spent)
    return max(0.0, left * each - min(running_seconds, each)) if left > 0 else 0.0
