"""Optuna, asked and told in this process.

Its study is made anew from our own trials each time, so there is no second state that a crash could hurt.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from engines.tuning.sweep_space import LARGEST_GRID, Choice, Plan, Range
from engines.tuning.trials import Trial

MOST_REPEATS = 20  # of asking the sampler for what was not tried yet, before what is left is counted
STATES = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def next_values(plan: Plan, trials: Sequence[Trial]) -> dict[str, Any] | None:
    """What the next trial tries, never what one before it tried; None: there is nothing left.

    The same trials before it give the same values, whatever was killed in between.
    """
    number = len(trials)
    if plan.config.sampler == "grid":
        grid = plan.grid()
        order = list(range(len(grid)))
        if plan.trials < len(grid):  # a part of the grid: not its first corner
            order = random.Random(plan.config.seed).sample(order, plan.trials)
        return grid[order[number]]
    tried = [trial.values for trial in trials]
    for repeat in range(MOST_REPEATS):
        seed = random.Random(f"{plan.config.seed}/{number}/{repeat}").getrandbits(31)
        trial = _study(plan, trials, seed).ask(_distributions(plan))
        values = {name: _value(found, trial.params[name]) for name, found in plan.space.items()}
        if values not in tried:
            return values
    left = [values for values in itertools.islice(plan.combinations(), LARGEST_GRID) if values not in tried]
    return random.Random(f"{plan.config.seed}/{number}").choice(left) if left else None


def should_prune(plan: Plan, others: Sequence[Trial], trial: Trial) -> bool:
    """Is the trial, after its last evaluation, worse than half of the others were at that place?"""
    if plan.config.pruner == "none" or not trial.evaluations:
        return False
    study = _study(plan, others, 0)
    study.enqueue_trial({name: _index(plan.space[name], value) for name, value in trial.values.items()})
    asked = study.ask(_distributions(plan))
    for place, value in enumerate(trial.evaluations, 1):
        asked.report(value, place)
    return asked.should_prune()


def _study(plan: Plan, trials: Sequence[Trial], seed: int) -> optuna.Study:
    config = plan.config
    startup = min(10, max(3, plan.trials // 3))
    sampler: optuna.samplers.BaseSampler = (
        optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
        if config.sampler == "tpe"
        else optuna.samplers.RandomSampler(seed=seed)
    )
    pruner = optuna.pruners.MedianPruner(n_startup_trials=config.pruner_startup, n_warmup_steps=config.pruner_warmup)
    study = optuna.create_study(direction=config.direction, sampler=sampler, pruner=pruner)
    distributions = _distributions(plan)
    for trial in trials:
        if trial.ended:
            study.add_trial(
                optuna.trial.create_trial(
                    state=STATES[trial.state],
                    value=trial.objective if trial.state == "done" else None,
                    params={name: _index(plan.space[name], value) for name, value in trial.values.items()},
                    distributions=distributions,
                    intermediate_values=dict(enumerate(trial.evaluations, 1)),
                )
            )
    return study


def _distributions(plan: Plan) -> dict[str, BaseDistribution]:
    return {name: _distribution(found) for name, found in plan.space.items()}


def _distribution(found: Range) -> BaseDistribution:
    if isinstance(found, Choice):
        return CategoricalDistribution(tuple(range(len(found.choices))))  # a choice may be a list
    if found.type == "int":
        return IntDistribution(int(found.low), int(found.high), log=found.log)
    return FloatDistribution(found.low, found.high, log=found.log)


def _value(found: Range, asked: Any) -> Any:
    return found.choices[asked] if isinstance(found, Choice) else found.number(asked)


def _index(found: Range, value: Any) -> Any:
    return found.choices.index(value) if isinstance(found, Choice) else value
