"""Search spaces: what they may hold, and that nothing wrong in them is found out late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from engines.config.job import build
from engines.config.sweep import SweepConfig
from engines.config.train import TrainConfig, preset
from engines.contract.errors import UserError
from engines.tuning import sweep_space, sweeps
from engines.tuning.sweep_space import Choice, Plan, Span, make_plan, plan_of


def document(**changes: Any) -> dict[str, Any]:
    return {"space": {"lora_rank": [4, 8]}, **changes}


def test_the_example_is_a_plan_and_survives_being_written_down(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(sweeps.example())
    plan = make_plan(sweep_space.read(file), {"trials": 5})
    assert plan.trials == 5 and set(plan.space) == {"learning_rate", "lora_rank", "num_epochs"}
    assert plan.base.gradient_accumulation_steps == 4 and plan.base.lora_alpha == preset("standard").lora_alpha
    assert plan_of(plan.as_dict()) == plan
    named = set(yaml.safe_load(sweeps.example()))
    assert named - {"space", "preset", "config"} <= set(SweepConfig.model_fields)


def test_types_come_from_the_parameter_and_numbers_may_be_written_as_yaml_reads_them() -> None:
    text = """
        learning_rate: {low: 1e-5, high: 1e-3, log: true}
        num_epochs: {low: 1, high: 3}
        lora_rank: {low: 2, high: 64, log: true}
        target_modules: [[q_proj], [q_proj, v_proj]]
    """
    plan = make_plan({"space": yaml.safe_load(text)})
    rate, epochs, rank, modules = plan.space.values()
    assert isinstance(rate, Span) and (rate.type, rate.low, rate.log) == ("float", 1e-5, True)
    assert isinstance(epochs, Span) and epochs.type == "float"  # half an epoch is one too
    assert isinstance(rank, Span) and rank.type == "int"
    assert isinstance(modules, Choice) and modules.choices[1] == ["q_proj", "v_proj"]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"space": {}}, "empty"),
        ({"space": {"learning_rat": [1e-3]}}, "learning_rat' (did you mean learning_rate?)"),
        ({"config": {"lora_rnk": 4}}, "lora_rnk"),
        ({"config": {"lora_rank": 0}}, "lora_rank"),
        ({"trails": 5}, "trails' (did you mean trials?)"),
        ({"sampler": "bayes"}, "sampler"),
        ({"preset": "fast"}, "no preset 'fast'"),
        ({"space": {"lora_rank": [4, 0]}}, "lora_rank"),
        ({"space": {"lora_rank": []}}, "lora_rank"),
        ({"space": {"lora_rank": 4}}, "lora_rank"),
        ({"space": {"lora_rank": {"low": 8, "high": 4}}}, "low must be below high"),
        ({"space": {"lora_rank": {"low": 4.5, "high": 8}}}, "whole numbers"),
        ({"space": {"lora_rank": {"type": "float", "low": 4, "high": 8}}}, "lora_rank is no float parameter"),
        ({"space": {"target_modules": {"low": 1, "high": 2}}}, "target_modules is no float parameter"),
        ({"space": {"learning_rate": {"low": 0, "high": 1e-3, "log": True}}}, "above 0"),
        ({"space": {"learning_rate": {"low": 1e-5, "high": 2}}}, "learning_rate"),
        ({"space": {"learning_rate": {"low": 1e-5, "hgih": 1}}}, "learning_rate"),
        ({"space": {"base_model": ["embedded", "auto"]}}, "base_model cannot be swept"),
        ({"space": {"eval_share": [0.1, 0.2]}}, "eval_share cannot be swept"),
        ({"config": {"eval_share": 0}}, "held-out part"),
        ({"space": {"learning_rate": {"low": 1e-5, "high": 1e-3}}, "sampler": "grid"}, "points or choices"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], cause: str) -> None:
    with pytest.raises(UserError) as refused:
        make_plan(document(**changes))
    assert cause in refused.value.cause and refused.value.next_step


@pytest.mark.parametrize("text", ["", "- 1", "space: [", "a: &a [*a]", "!!python/object/apply:os.system ['true']"])
def test_a_file_that_is_no_space_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises(UserError):
        make_plan(sweep_space.read(file))


def test_every_parameter_of_a_training_is_swept_or_refused_with_a_reason() -> None:
    for name, value in TrainConfig().model_dump().items():
        if name in sweep_space.INCOMPARABLE:
            with pytest.raises(UserError, match="cannot be swept"):
                make_plan({"space": {name: [value]}})
        else:
            assert make_plan({"space": {name: [value]}}).space[name].grid() == [value]
    assert set(sweep_space.INCOMPARABLE) & set(TrainConfig.model_fields)


def test_a_grid_has_each_combination_once() -> None:
    plan = make_plan(document(
        sampler="grid",
        space={"lora_rank": [4, 8], "num_epochs": {"type": "int", "low": 1, "high": 3},
               "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "points": 3}},
    ))  # fmt: skip
    grid = plan.grid()
    assert plan.trials == len(grid) == 18 and len({tuple(values.values()) for values in grid}) == 18
    assert sorted({values["learning_rate"] for values in grid}) == [1e-4, 1e-3, 1e-2]
    assert make_plan(document(sampler="grid", trials=1)).trials == 1


def test_a_trial_is_evaluated_as_often_as_wanted_whatever_its_batches() -> None:
    plan = make_plan(
        document(space={"gradient_accumulation_steps": [1, 4, 50]}, evaluations=5, config={"num_epochs": 2})
    )
    assert [plan.trial_config({"gradient_accumulation_steps": n}, 200).save_steps for n in (1, 4, 50)] == [80, 20, 2]


def test_places_on_an_axis() -> None:
    rate = build(Span, {"type": "float", "low": 1e-4, "high": 1e-2, "log": True})
    assert [round(rate.place(value), 6) for value in (1e-4, 1e-3, 1e-2, 1.0)] == [0, 0.5, 1, 1]
    assert Choice(choices=["a", "b", "c"]).place("b") == 0.5
    assert rate.number(0.000123456) == 0.0001235 and isinstance(Plan({}, TrainConfig(), SweepConfig()).trials, int)
