"""The parameter models: presets as agreed, bounds, errors that name the field."""

from __future__ import annotations

import pytest

from engines.config.job import build
from engines.config.prepare import PrepareConfig
from engines.config.samples import SampleConfig, TranscribeConfig
from engines.config.train import PRESETS, TrainConfig, preset
from engines.config.voice import VoiceConfig
from engines.contract.errors import UserError
from engines.contract.estimate import check_steps, optimizer_steps


@pytest.mark.parametrize(
    ("name", "rank", "alpha", "accumulation", "epochs", "length"),
    [("quick", 4, 8, 32, 1, 512), ("standard", 8, 16, 64, 1, 768), ("thorough", 16, 32, 128, 2, 1024)],
)
def test_presets(name: str, rank: int, alpha: int, accumulation: int, epochs: int, length: int) -> None:
    config = preset(name)
    assert (config.lora_rank, config.lora_alpha) == (rank, alpha)
    assert (config.gradient_accumulation_steps, config.num_epochs, config.max_seq_length) == (
        accumulation,
        epochs,
        length,
    )
    assert (config.lora_dropout, config.batch_size, config.learning_rate) == (0.05, 1, 2e-4)
    assert config.target_modules == ["q_proj", "k_proj", "v_proj"]
    assert (config.warmup_ratio, config.weight_decay, config.save_steps) == (0.03, 0.01, 200)


def test_a_preset_is_a_copy() -> None:
    preset("quick").target_modules.append("o_proj")
    assert PRESETS["quick"].target_modules == ["q_proj", "k_proj", "v_proj"]


def test_every_field_has_what_a_form_needs() -> None:
    for model in (TrainConfig, PrepareConfig, SampleConfig, TranscribeConfig, VoiceConfig):
        for name, field in model.model_fields.items():
            assert field.title and field.description, name
            assert not field.is_required(), name


def test_errors_name_every_wrong_field() -> None:
    with pytest.raises(UserError) as raised:
        build(TrainConfig, {"lora_rank": 0, "precision": "fp8", "unheard_of": 1})
    assert raised.value.exit_code == 2
    for name in ("lora_rank", "precision", "unheard_of"):
        assert name in raised.value.cause


def test_unknown_preset_says_which_there_are() -> None:
    with pytest.raises(UserError) as raised:
        preset("fast")
    assert "quick" in raised.value.next_step


@pytest.mark.parametrize(
    ("rows", "changes", "steps"),
    [
        (100, {"gradient_accumulation_steps": 10}, 10),
        (101, {"gradient_accumulation_steps": 10}, 11),
        (100, {"batch_size": 4, "gradient_accumulation_steps": 5, "num_epochs": 2}, 10),
        (100, {"gradient_accumulation_steps": 10, "num_epochs": 0.5}, 5),
        (100, {"gradient_accumulation_steps": 10, "max_steps": 3}, 3),
    ],
)
def test_optimizer_steps(rows: int, changes: dict[str, float], steps: int) -> None:
    assert optimizer_steps(rows, build(TrainConfig, changes)) == steps


def test_more_accumulation_than_rows_is_caught_with_a_way_out() -> None:
    with pytest.raises(UserError) as raised:
        check_steps(60, preset("thorough"))
    assert "128 rows" in raised.value.cause and "60" in raised.value.cause
    assert "gradient_accumulation_steps to 3" in raised.value.next_step


def test_few_steps_are_a_warning() -> None:
    assert "only 4 optimizer steps" in (check_steps(250, preset("standard")) or "")
    assert check_steps(2000, preset("standard")) is None


@pytest.mark.parametrize(
    ("rows", "changes", "named"),
    [
        (149, {"gradient_accumulation_steps": 64}, {"gradient_accumulation_steps": 7}),
        (149, {"batch_size": 64, "gradient_accumulation_steps": 1}, {"batch_size": 7}),
        (5, {"gradient_accumulation_steps": 1}, {"num_epochs": 4}),
        (300, {"gradient_accumulation_steps": 15, "num_epochs": 0.2}, {"num_epochs": 1}),
    ],
)
def test_the_way_to_more_steps_gives_more_steps(rows: int, changes: dict[str, float], named: dict[str, float]) -> None:
    config = build(TrainConfig, changes)
    ((name, value),) = named.items()
    assert f"; {name} {value} would" in (check_steps(rows, config) or "")
    assert optimizer_steps(rows, config.model_copy(update=named)) >= 20
