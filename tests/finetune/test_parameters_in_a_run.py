"""What the parameters of steps, logs, checkpoints and gradients do, seen in short runs of a tiny model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset
from test_parameters_are_obeyed import Built

ROWS = 8  # to train on; two more are held out
QUICK = {"eval_share": 0.2, "sample_tokens": 0, "learning_rate": 1e-2}


@dataclass
class Ran:
    """A run in a folder of its own. gradients: their length when the weights are changed, step by step."""

    steps: int
    events: list[dict[str, Any]]
    checkpoints: list[int]
    gradients: list[float]

    def logged(self, figure: str) -> dict[int, float]:
        """step → figure, of all events that tell it."""
        told = (event for event in self.events if event["event"] == "metrics" and figure in event)
        return {event["step"]: event[figure] for event in told}


def run(model: Path, folder: Path, capfd: pytest.CaptureFixture[str], **values: Any) -> Ran:
    from transformers import TrainerCallback

    gradients: list[float] = []

    class Watcher(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
            lengths = [float(p.grad.norm()) for p in model.parameters() if p.grad is not None]
            gradients.append(sum(length**2 for length in lengths) ** 0.5)

    folder.mkdir()
    data = write_dataset(folder / "talk_dataset.jsonl", dialog_rows(ROWS + 2))
    built = Built({**QUICK, **values}, model, data, folder / "checkpoints")
    assert len(built.parts[0].input_ids) == ROWS and len(built.parts[1].input_ids) == 2
    built.trainer.add_callback(Watcher())
    built.trainer.speed_up("fp32")
    capfd.readouterr()
    built.trainer.train()
    lines = capfd.readouterr().out.splitlines()
    events = [json.loads(line) for line in lines if line.startswith('{"event"')]
    found = sorted(int(entry.name.partition("-")[2]) for entry in (folder / "checkpoints").glob("checkpoint-*"))
    return Ran(built.trainer.state.global_step, events, found, gradients)


def test_steps_logs_and_checkpoints(tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plain = run(tiny_model, tmp_path / "plain", capfd, num_epochs=1, keep_checkpoints=100, save_steps=1)
    assert plain.steps == 4 and list(plain.logged("loss")) == [1, 2, 3, 4]  # two rows a step, each step logged
    assert list(plain.logged("eval_loss")) == plain.checkpoints == [1, 2, 3, 4]

    longer = run(
        tiny_model, tmp_path / "longer", capfd, num_epochs=2.5, logging_steps=3, save_steps=2, keep_checkpoints=1,
        lr_schedule="constant",
    )  # fmt: skip
    assert longer.steps == 10 and list(longer.logged("loss")) == [1, 3, 6, 9]
    evaluated = longer.logged("eval_loss")
    assert list(evaluated) == [2, 4, 6, 8, 10]
    assert longer.checkpoints == sorted({min(evaluated, key=lambda step: evaluated[step]), 10})  # the best, the newest

    fewer = run(tiny_model, tmp_path / "fewer", capfd, gradient_accumulation_steps=4, max_steps=0)
    assert fewer.steps == 2
    assert run(tiny_model, tmp_path / "limited", capfd, max_steps=3).steps == 3


def test_it_ends_early_where_nothing_gets_better(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nothing = {"learning_rate": 1e-30, "save_steps": 1, "num_epochs": 2}
    assert run(tiny_model, tmp_path / "patient", capfd, **nothing).steps == 8
    assert run(tiny_model, tmp_path / "early", capfd, **nothing, early_stopping=2).steps == 3


def test_gradients_are_cut_to_the_length_that_is_allowed(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    free = run(tiny_model, tmp_path / "free", capfd, max_steps=2, max_grad_norm=0)
    assert min(free.gradients) > 0.01 and list(free.logged("loss")) == [1, 2]
    cut = run(tiny_model, tmp_path / "cut", capfd, max_steps=2, max_grad_norm=0.01)
    assert cut.gradients == pytest.approx([0.01, 0.01], rel=1e-3)
    assert min(cut.logged("grad_norm").values()) > 0.01  # what is told is what they were
