"""What a resumed training finds: its newest whole point, an epoch that was not exported, data that changed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from tts_support.dataset import prepare_dataset

from engines.config.job import build
from engines.config.voice import VoiceConfig
from engines.contract import checkpoints
from engines.contract.errors import UserError
from tts import epochs, sft_12hz, training_state

SETTINGS = {
    "num_epochs": 1, "preview_sentences": [], "device": "cpu", "gradient_checkpointing": False, "learning_rate": 1e-2,
    "save_steps": 1, "gradient_accumulation_steps": 2,
}  # fmt: skip


@pytest.fixture
def arguments(tiny_base: Path, voice_dataset: Path, tmp_path: Path, one_core: None) -> argparse.Namespace:
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    return argparse.Namespace(
        dataset=voice_dataset, model=str(tiny_base), checkpoints=tmp_path / "points", output=tmp_path / "voice",
        config=tmp_path / "config.json", name="Tester", whisper="",
    )  # fmt: skip


def begun(arguments: argparse.Namespace, steps: int) -> sft_12hz.Training:
    """A training that was interrupted after `steps`."""
    training = sft_12hz.build(arguments, build(VoiceConfig, SETTINGS))[0]
    order = sft_12hz.order_of_epoch(len(training.data.train), 0, training.config)
    for step in range(steps):
        sft_12hz.train_step(training, order[step], step)
        sft_12hz.save_point(training, step + 1)
    return training


def steps_of(output: str) -> list[int]:
    events = [json.loads(line) for line in output.splitlines() if line.startswith('{"event"')]
    return [event["step"] for event in events if event["event"] == "metrics" and "loss" in event]


def test_an_epoch_that_was_not_exported_is_exported_by_the_resumed_run(
    arguments: argparse.Namespace, capfd: pytest.CaptureFixture[str]
) -> None:
    assert begun(arguments, 3).total == 3  # the whole epoch, but the end of it
    assert epochs.cards(arguments.output) == []
    capfd.readouterr()
    sft_12hz.train(arguments)
    assert steps_of(capfd.readouterr().out) == []
    assert [card["epoch"] for card in epochs.cards(arguments.output)] == [1]


def test_a_torn_point_does_not_count_and_two_are_kept(
    arguments: argparse.Namespace, capfd: pytest.CaptureFixture[str]
) -> None:
    begun(arguments, 3)
    found = sorted(arguments.checkpoints.iterdir(), key=checkpoints.step_of)
    assert [checkpoints.step_of(point) for point in found] == [2, 3]
    weights = found[1] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    capfd.readouterr()
    sft_12hz.train(arguments)
    assert steps_of(capfd.readouterr().out) == [3]


def test_other_data_is_not_gone_on_with(arguments: argparse.Namespace, tiny_base: Path, tmp_path: Path) -> None:
    begun(arguments, 1)
    arguments.dataset = prepare_dataset(tiny_base, tmp_path / "other", 6, 1.2)
    with pytest.raises(UserError, match="has changed since"):
        sft_12hz.train(arguments)


def test_a_full_disk_costs_a_point_but_not_the_training(
    arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    training = begun(arguments, 1)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "mark_complete", full)
    sft_12hz.save_point(training, 2)
    assert "the disk is full" in capfd.readouterr().out
    newest = training_state.newest(arguments.checkpoints, training.data.fingerprint)
    assert newest is not None and checkpoints.step_of(newest) == 1


def test_too_little_room_is_refused_before_the_first_step(
    arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sft_12hz.shutil, "disk_usage", lambda _: argparse.Namespace(free=1 << 20))
    with pytest.raises(UserError, match="epochs and the points to resume from need"):
        sft_12hz.train(arguments)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_bf16_trains(method: str, build: Any) -> None:
    """Small and odd in bf16: the loss stays a number, goes down, and the weights move."""
    training = build(precision="bf16", method=method, learning_rate=1e-2)
    before = {name: value.detach().float().clone() for name, value in training.parameters.items()}
    losses = [sft_12hz.train_step(training, [[0, 1]], step)["loss"] for step in range(6)]
    assert losses[-1] < losses[0]
    assert any(
        float((value.detach().float() - before[name]).abs().max()) > 0 for name, value in training.parameters.items()
    )
