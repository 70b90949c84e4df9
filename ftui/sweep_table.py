"""A sweep's trials as a table: for each parameter its value and where it stands between the ends of its range.

Read downwards, a parameter's column is one axis of a parallel-coordinates plot turned on its side: the best
trials stand on top, so where their dots gather is where it is good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engines.tuning.sweep_space import Choice, Plan, Range
from engines.tuning.sweeps import SweepState
from engines.tuning.trials import Trial
from ftui import format

AXIS_WIDTH = 9
MARKS = {"done": "✓ done", "running": "● running", "pruned": "✂ pruned", "failed": "✗ failed"}
SPARKS = "▁▂▃▄▅▆▇█"


def headings(found: SweepState) -> list[str]:
    objective = found.plan.config.objective.replace("_", " ")
    return ["", "trial", objective, "state", *found.plan.space, "evaluations", "time"]


def rows(found: SweepState) -> list[tuple[str, list[str]]]:
    """(key, cells) of every trial, best first."""
    best = found.best
    spread = _ends([value for trial in found.trials for value in trial.evaluations])
    return [(str(trial.number), _cells(found, trial, trial is best, spread)) for trial in found.trials]


def _cells(found: SweepState, trial: Trial, is_best: bool, spread: tuple[float, float]) -> list[str]:
    return [
        "★" if is_best else "",
        str(trial.number),
        format.number(trial.objective),
        _mark(found, trial),
        *(parameter(found.plan.space[name], trial.values.get(name)) for name in found.plan.space),
        spark(trial.evaluations, spread),
        format.duration(trial.seconds or None),
    ]


def _mark(found: SweepState, trial: Trial) -> str:
    waits = trial.state == "running" and not found.status.active
    return "■ stopped" if waits else MARKS.get(trial.state, trial.state)


def ranges(plan: Plan) -> list[str]:
    """What is tried, a text for each parameter."""
    texts = []
    for name, found in plan.space.items():
        if isinstance(found, Choice):
            texts.append(f"{name}: {', '.join(map(short, found.choices))}")
        else:
            scale = ", logarithmic" if found.log else ""
            texts.append(f"{name}: {found.low:g} to {found.high:g} ({found.type}{scale})")
    return texts


def parameter(space: Range, value: Any) -> str:
    """`3.2e-04 ··●······`: the value and its place on its axis."""
    return f"{short(value):<8} {axis(space, value)}"


def axis(space: Range, value: Any) -> str:
    width = len(space.choices) if isinstance(space, Choice) else AXIS_WIDTH
    place = round(space.place(value) * (width - 1))
    return "·" * place + "●" + "·" * (width - 1 - place)


def short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def spark(values: Sequence[float], spread: tuple[float, float]) -> str:
    """The values as bars between the ends of `spread`, which are the same for all trials."""
    low, high = spread
    top = len(SPARKS) - 1
    return "".join(SPARKS[round((value - low) / (high - low) * top) if high > low else 0] for value in values[-12:])


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (0.0, 0.0)


def summary(found: SweepState) -> str:
    """One line: how far it is, the best, and how long it will take."""
    plan, best = found.plan, found.best
    parts = [
        format.STATE_MARKS.get(found.status.state, found.status.state),
        f"{found.ended} of {plan.trials} trials ({plan.config.sampler})",
    ]
    if best is not None:
        parts.append(
            f"best {plan.config.objective.replace('_', ' ')} {format.number(best.objective)} (trial {best.number})"
        )
    if found.status.active:
        parts.append(f"ETA {format.duration(found.eta_seconds)}")
    return "  ".join(parts)
