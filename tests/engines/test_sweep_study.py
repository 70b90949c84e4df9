"""How trials are chosen and ended, with Optuna for real and a known function for a training."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engines.tuning import trials
from engines.tuning.sweep_space import Plan, make_plan
from engines.tuning.sweep_study import next_values, should_prune
from engines.tuning.trials import Trial

SPACE = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "lora_rank": [2, 4, 8],
    "num_epochs": {"type": "int", "low": 1, "high": 4},
}


def plan(**changes: Any) -> Plan:
    return make_plan({"space": SPACE, **changes})


def loss(values: dict[str, Any]) -> float:
    """Best at a learning rate of 1e-3 and rank 8."""
    return (
        (math.log10(values.get("learning_rate", 1e-3)) + 3) ** 2
        + (8 - values["lora_rank"]) / 10
        + values["num_epochs"] / 100
    )


def carried_out(wanted: Plan, upto: int) -> list[Trial]:
    done: list[Trial] = []
    while len(done) < upto:
        values = next_values(wanted, done)
        assert values is not None
        done.append(
            Trial(len(done) + 1, values, "done", objective=loss(values), evaluations=[loss(values) + 1, loss(values)])
        )
    return done


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_the_same_history_gives_the_same_next_trial(sampler: str) -> None:
    """So a sweep that was killed goes on as if it had not been."""
    changes: dict[str, Any] = {"sampler": sampler, "trials": 16}
    if sampler == "grid":
        changes["space"] = {**SPACE, "learning_rate": [1e-4, 1e-3]}
    history = carried_out(plan(**changes), 12)
    assert carried_out(plan(**changes), 12) == history
    assert next_values(plan(**changes), history[:7]) == history[7].values
    assert carried_out(plan(**changes, seed=1), 12) != history
    assert len({tuple(trial.values.values()) for trial in history}) == 12  # nothing is tried twice


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_what_is_used_up_is_not_tried_again(sampler: str) -> None:
    space = {"lora_rank": [4, 8, 4], "num_epochs": {"type": "int", "low": 1, "high": 3}, "target_modules": [["q_proj"]]}
    wanted = plan(sampler=sampler, space=space, trials=50)
    assert (wanted.wanted, wanted.trials) == (50, 6)
    done = carried_out(wanted, 6)
    assert sorted((trial.values["lora_rank"], trial.values["num_epochs"]) for trial in done) == [
        (rank, epochs) for rank in (4, 8) for epochs in (1, 2, 3)
    ]
    assert next_values(wanted, done) is None
    narrow = plan(sampler=sampler, space={"learning_rate": {"low": 1e-4, "high": 1.0001e-4}}, trials=50)
    assert narrow.trials == 50  # an end that nobody foresees
    tried: list[Trial] = []
    while (values := next_values(narrow, tried)) is not None:
        assert len(tried) < 3
        tried.append(Trial(len(tried) + 1, values, "done", objective=1.0))
    assert tried


def test_a_part_of_a_grid_and_all_of_it() -> None:
    wanted = plan(sampler="grid", space={"lora_rank": [2, 4, 8], "num_epochs": [1, 2]})
    assert [trial.values for trial in carried_out(wanted, 6)] == wanted.grid()


def test_tpe_learns_and_random_does_not() -> None:
    def late_median(sampler: str) -> float:
        history = carried_out(plan(sampler=sampler, trials=40, seed=3), 40)
        return sorted(trial.objective or 0.0 for trial in history[20:])[10]

    assert late_median("tpe") < 0.5 * late_median("random")


def test_what_failed_or_was_pruned_is_no_result_and_does_not_stop_the_search() -> None:
    history = carried_out(plan(), 6)
    history[2].state, history[2].objective = "failed", None
    history[3].state, history[3].objective = "pruned", None
    assert next_values(plan(), history)
    best = trials.best(history, "minimize")
    assert best is not None and best.number not in (3, 4)
    assert best is min((trial for trial in history if trial.state == "done"), key=lambda trial: trial.objective or 0)
    order = trials.ranked(history, "minimize")
    assert order[0] is best and [trial.number for trial in order[-2:]] == [4, 3]
    assert trials.best(history, "maximize") is max(
        (trial for trial in history if trial.state == "done"), key=lambda trial: trial.objective or 0
    )


def test_a_trial_worse_than_the_median_at_the_same_place_is_pruned() -> None:
    wanted = plan(pruner_startup=3, pruner_warmup=2)
    others = [
        Trial(n, next_values(wanted, []) or {}, "done", objective=float(n), evaluations=[5.0, 3.0 + n, n])
        for n in range(1, 4)
    ]
    bad = Trial(4, others[0].values, evaluations=[9.0])
    assert not should_prune(wanted, others, bad)  # too early
    bad.evaluations = [9.0, 5.5]
    assert should_prune(wanted, others, bad)
    assert not should_prune(wanted, others[:2], bad)  # too few to compare with
    assert not should_prune(plan(pruner="none"), others, bad)
    good = Trial(4, others[0].values, evaluations=[9.0, 4.5])
    assert not should_prune(wanted, others, good)
    good.evaluations = [3.0, 4.5]
    assert should_prune(plan(pruner_startup=3, direction="maximize"), others, good)


def test_the_eta_comes_from_the_trials_that_have_ended() -> None:
    assert trials.eta_seconds([], 10) is None
    done = [Trial(1, {}, "done", seconds=100), Trial(2, {}, "pruned", seconds=20), Trial(3, {}, "failed", seconds=1)]
    assert trials.eta_seconds(done, 10) == 7 * 60
    running = [*done, Trial(4, {})]
    assert trials.eta_seconds(running, 10, running_seconds=30) == 7 * 60 - 30
    assert trials.eta_seconds(done, 3) == 0
