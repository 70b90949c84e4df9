"""Real trainings under the real supervisor: stopped, killed, resumed, and equal to one never interrupted."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.config.chat import ChatConfig
from engines.config.evaluate import EvaluateConfig
from engines.config.job import build
from engines.config.train import TrainConfig, preset
from engines.contract import checkpoints, statefiles
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.quality import evaluation
from engines.quality.figures import BASE, HELD_OUT, set_named
from engines.running.follow import LogFile
from engines.running.progress import Progress
from engines.running.runs import Run
from engines.servers.chat import open_model

SEED = int(os.environ.get("FTUI_SEED", "1"))
STEPS = 30
SETTINGS = {
    "max_steps": STEPS,
    "gradient_accumulation_steps": 2,
    "save_steps": 4,
    "learning_rate": 1e-2,
    "precision": "fp32",
    "gradient_checkpointing": False,
    "device": "cpu",
    "eval_share": 0.1,
}
pytestmark = pytest.mark.timeout(280)


@pytest.fixture
def config(tiny_model: Path) -> TrainConfig:
    return build(TrainConfig, {**SETTINGS, "base_model": str(tiny_model)})


def progress_of(run: Run) -> Progress:
    return Progress.of(LogFile(run.log).poll_all())


def wait_for_step(run: Run, step: int, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if progress_of(run).step >= step:
            return
        assert not run.status().ended, f"{run.status()}\n{run.log.read_text()[-2000:]}"
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached")


def finished(engine: LLMEngine, run: Run) -> Progress:
    status = engine.runs.wait(run, timeout=150)
    assert status.state == "done", f"{status}\n{run.log.read_text()[-3000:]}"
    return progress_of(run)


def test_killed_and_resumed_has_the_losses_of_a_run_never_interrupted(
    engine: LLMEngine, config: TrainConfig, dataset_file: Path
) -> None:
    dataset = engine.datasets.get(str(dataset_file))
    expected = finished(engine, engine.train(dataset, config, name="whole"))
    assert [step for step, _ in expected.losses] == list(range(1, STEPS + 1))
    assert expected.losses[-1][1] < expected.losses[0][1]

    chance = random.Random(SEED)
    print(f"seed {SEED}")
    run = engine.train(dataset, config, name="killed")
    kills = ["trainer", "supervisor", "stop"]
    for kind, step in zip(kills, sorted(chance.sample(range(5, STEPS - 2), len(kills))), strict=True):
        wait_for_step(run, step)
        status = statefiles.read_json(run.folder / "status.json")
        if kind == "trainer":
            os.kill(status["pid"], signal.SIGKILL)
            assert engine.runs.wait(run, timeout=60).state == "failed"
        elif kind == "supervisor":  # the trainer goes on; a face gives it a new supervisor
            os.kill(status["supervisor"], signal.SIGKILL)
            engine.runs.wait(run, timeout=0.2)
            continue
        else:
            engine.stop(run)
            assert engine.runs.wait(run, timeout=60).state in ("stopped", "done")
        if run.status().state != "done":
            engine.resume(run)
    progress = finished(engine, run)
    assert progress.losses == expected.losses
    assert progress.eval_losses == expected.eval_losses
    whole, killed = engine.adapters.get("whole"), engine.adapters.get("killed")
    weights = [(adapter.path / "final" / "adapter_model.safetensors").read_bytes() for adapter in (whole, killed)]
    assert weights[0] == weights[1]
    assert killed.complete and killed.run == run.id and killed.dataset == "talk_dataset.jsonl"


def test_stopped_before_the_end_is_stopped_and_leaves_no_adapter(
    engine: LLMEngine, config: TrainConfig, dataset_file: Path
) -> None:
    long = config.model_copy(update={"max_steps": 4000})
    run = engine.train(engine.datasets.get(str(dataset_file)), long, name="stopped")
    wait_for_step(run, 6)
    engine.stop(run)
    assert engine.runs.wait(run, timeout=60).state == "stopped"
    step = run.result()["step"]
    newest = checkpoints.newest_complete(run.folder / "checkpoints")
    assert newest is not None and checkpoints.step_of(newest) == step < 4000
    assert engine.adapters.list() == []
    assert progress_of(run).eta_seconds() is not None


def test_a_changed_dataset_is_not_resumed_on(engine: LLMEngine, config: TrainConfig, dataset_file: Path) -> None:
    run = engine.train(
        engine.datasets.get(str(dataset_file)), config.model_copy(update={"max_steps": 4000}), name="changed"
    )
    wait_for_step(run, 6)
    engine.stop(run)
    engine.runs.wait(run, timeout=60)
    write_dataset(dataset_file, dialog_rows(41))
    engine.resume(run)
    status = engine.runs.wait(run, timeout=90)
    assert status.state == "failed" and "dataset has changed" in status.cause and status.next_step


def test_an_incomplete_checkpoint_does_not_count(tmp_path: Path) -> None:
    for step in (4, 8, 12):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"x" * 100)
        if step != 12:
            checkpoints.mark_complete(folder, step=step)
    (tmp_path / "checkpoint-8" / "weights").write_bytes(b"x" * 99)  # torn after its mark
    (tmp_path / "checkpoint-x").mkdir()
    newest = checkpoints.newest_complete(tmp_path)
    assert newest is not None and newest.name == "checkpoint-4"
    assert checkpoints.newest_complete(tmp_path / "nothing") is None


@pytest.mark.parametrize("case", ["no_answers", "no_rows", "no_weights", "accumulation"])
def test_bad_input_is_one_line_and_a_next_step(
    engine: LLMEngine, config: TrainConfig, dataset_file: Path, tmp_path: Path, case: str
) -> None:
    def attempt() -> Any:
        values: dict[str, Any] = {}
        if case == "no_answers":
            rows = [{"messages": row["messages"][:1], "conversation": row["conversation"]} for row in dialog_rows(40)]
            write_dataset(dataset_file, rows)
        if case == "no_rows":
            dataset_file.write_text("")
        if case == "no_weights":
            (tmp_path / "empty").mkdir()
            values["base_model"] = str(tmp_path / "empty")
        if case == "accumulation":
            values |= {"gradient_accumulation_steps": 64, "max_steps": 0}
        run = engine.train(engine.datasets.get(str(dataset_file)), config.model_copy(update=values))
        status = engine.runs.wait(run, timeout=90)
        assert status.state == "failed"
        return status.cause, status.next_step

    try:
        cause, next_step = attempt()
    except UserError as error:
        cause, next_step = error.cause, error.next_step
    causes = {"no_rows": "the dataset talk is empty", "no_answers": "no assistant turn"}
    assert {**causes, "no_weights": "no weights", "accumulation": "64 rows"}[case] in cause
    assert next_step and "\n" not in cause and "Traceback" not in cause


def test_two_trainings_on_one_device_run_one_after_the_other(
    engine: LLMEngine, config: TrainConfig, dataset_file: Path
) -> None:
    dataset = engine.datasets.get(str(dataset_file))
    first = engine.train(dataset, config, name="first")
    second = engine.train(dataset, config, name="second")
    assert second.status().state == "queued"
    finished(engine, first)
    finished(engine, second)
    assert (first.status().ended_at or 0) <= (second.status().started_at or 0) + 0.5


@pytest.mark.model
def test_the_embedded_model_learns_answers_and_is_evaluated(engine: LLMEngine, dataset_file: Path) -> None:
    """The whole job on the real model, in a new workspace: the training makes the model itself, then learns."""
    config = preset("demo").model_copy(update={"max_steps": 8, "save_steps": 8, "gradient_accumulation_steps": 2})
    run = engine.train(engine.datasets.get(str(dataset_file)), config, name="real")
    progress = finished(engine, run)
    assert len(progress.losses) == 8 and progress.tokens_per_second and progress.eval_losses
    adapter = engine.adapters.activate("real")
    assert (engine.adapters.folder / ".active").read_text() == "real"

    data = engine.datasets.get(str(dataset_file))
    wanted = EvaluateConfig(prompt=["Hello?"], answers=2, max_new_tokens=8)
    evaluated = evaluation.evaluate(engine, adapter, wanted, dataset=data)
    assert engine.runs.wait(evaluated, timeout=120).state == "done", evaluated.log.read_text()[-2000:]
    report = evaluation.report(evaluated)
    held_out = set_named(report, HELD_OUT)
    figures = held_out["figures"]
    assert figures["real"]["perplexity"]["value"] < 0.7 * figures[BASE]["perplexity"]["value"]
    assert held_out["conversations"] == 4 and set(report["answers"][0]["answers"]) == {BASE, "real"}

    model = open_model(engine, [adapter, None])
    model.wait_until_ready()
    messages = [{"role": "user", "content": "What do you think of the sea?"}]
    said = ["".join(model.ask(who, messages, ChatConfig(max_new_tokens=12))) for who in (adapter, None, adapter)]
    model.close()
    assert said[0] == said[2] != said[1]  # repeatable at temperature 0


def test_an_adapter_of_another_base_model_is_refused(
    engine: LLMEngine, config: TrainConfig, dataset_file: Path, embedded_model: Path
) -> None:
    dataset = engine.datasets.get(str(dataset_file))
    finished(engine, engine.train(dataset, config.model_copy(update={"max_steps": 2}), name="small"))
    with pytest.raises(UserError, match="was trained on"):
        evaluation.evaluate(engine, engine.adapters.get("small"), base_model=str(embedded_model))
    card = engine.adapters.get("small").path / "card.json"  # the card lies: the script looks at the weights
    card.write_text(json.dumps({**json.loads(card.read_text()), "base_model": str(embedded_model)}))
    run = evaluation.evaluate(engine, engine.adapters.get("small"), dataset=dataset)
    status = engine.runs.wait(run, timeout=90)
    assert status.state == "failed" and "does not fit this base model" in status.cause and status.next_step
