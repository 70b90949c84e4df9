"""Runs compared, repeated and extended: real trainings of a tiny model, through the command line too."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from engines.config.job import build
from engines.config.train import TrainConfig
from engines.contract import checkpoints
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.running import history
from engines.running.follow import LogFile
from engines.running.runs import Run
from ftui import format

pytestmark = pytest.mark.timeout(280)


@pytest.fixture
def config(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """The model is named from the folder where one stands, and the name looks like one of the hub."""
    monkeypatch.chdir(tiny_model.parent.parent)
    values = {
        "base_model": f"{tiny_model.parent.name}/{tiny_model.name}",
        "gradient_accumulation_steps": 4, "learning_rate": 1e-2, "precision": "fp32",
        "gradient_checkpointing": False, "device": "cpu", "eval_share": 0.2, "sample_tokens": 3, "save_steps": 4,
        "num_epochs": 1, "lr_schedule": "constant", "warmup_ratio": 0,
    }  # fmt: skip
    return build(TrainConfig, values)


def finished(engine: LLMEngine, run: Run) -> Run:
    status = engine.runs.wait(run, timeout=200)
    assert status.state == "done", f"{status}\n{run.log.read_text()[-3000:]}"
    return run


def command(home: Path, *words: str) -> Any:
    argv = [sys.executable, "-m", "ftui", *words, "--home", str(home), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_extended_repeated_compared(
    engine: LLMEngine, config: TrainConfig, dataset_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = engine.datasets.get(str(dataset_file))
    whole = finished(engine, engine.train(dataset, config.model_copy(update={"num_epochs": 2}), name="whole"))
    half = finished(engine, engine.train(dataset, config, name="half"))
    monkeypatch.chdir(tmp_path)  # what goes on with a run may do so from anywhere
    longer = finished(engine, engine.extend(half, 1, name="longer"))
    steps = half.result()["steps"]
    expected = [point for point in history.progress_of(whole).losses if point[0] > steps]
    assert expected and history.progress_of(longer).losses == expected
    assert longer.result()["steps"] == whole.result()["steps"] == 2 * steps
    newest = checkpoints.newest_complete(half.folder / "checkpoints")
    first_half = (checkpoints.read_mark(newest) or {})["seconds"] if newest else 0.0
    assert first_half > 0 and longer.result()["seconds"] > first_half  # of the whole training, not of its end alone
    assert engine.adapters.get("half").complete and engine.adapters.get("longer").complete

    again = finished(engine, engine.repeat(half, name="again"))
    assert history.progress_of(again).losses == history.progress_of(half).losses

    found = command(engine.workspace.home, "runs", "compare", half.id, again.id, whole.id)
    assert found["parameters"] == {"num_epochs": [1, 1, 2]}
    assert found["figures"]["loss"][0] == found["figures"]["loss"][1] != found["figures"]["loss"][2]
    assert [len(points) for points in found["losses"]] == [steps, steps, 2 * steps]
    assert half.spec["packages"]["torch"] and half.spec["code"]["version"] and half.spec["data_fingerprint"]

    assert [engine.repeat(half).name, engine.extend(again, 1).name] == ["half-again", "again-longer"]
    third = engine.repeat(engine.runs.get("half-again", "train"))
    assert third.name == "half-again-2"
    for run in reversed(engine.runs.list("train")):
        if run.status().active:
            engine.runs.request_stop(run)
    drawn = subprocess.run(
        [sys.executable, "-m", "ftui", "runs", "compare", whole.id, longer.id, "--home", str(engine.workspace.home)],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout.splitlines()  # fmt: skip
    curves = [
        line[25:] for line in drawn if line.startswith(("whole  ", "longer  ")) and set(line) & set(format.SPARKS)
    ]
    assert len(curves[0]) == len(curves[1]) and curves[1].startswith(" ") and not curves[0].startswith(" ")

    samples = command(engine.workspace.home, "runs", "samples", half.id)
    assert {sample["step"] for sample in samples} == {step for step, _ in history.progress_of(half).eval_losses}

    with open(dataset_file, "a") as file:
        file.write(json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}))
    with pytest.raises(UserError, match="not what half was trained on"):
        engine.repeat(half)
    with pytest.raises(UserError, match="cannot be compared"):
        history.compare([half])
    assert command(engine.workspace.home, "runs", "delete", again.id)["trash"]
    assert command(engine.workspace.home, "runs", "restore", again.id)["id"] == again.id


def test_an_extended_run_goes_on_with_the_rate_of_its_longer_schedule(
    engine: LLMEngine, config: TrainConfig, dataset_file: Path
) -> None:
    dataset = engine.datasets.get(str(dataset_file))
    linear = config.model_copy(update={"lr_schedule": "linear", "eval_share": 0.0})
    half = finished(engine, engine.train(dataset, linear, name="half"))
    longer = finished(engine, engine.extend(half, 1, name="longer"))
    steps = half.result()["steps"]
    events = [event for event in LogFile(longer.log).poll_all() if event["event"] == "metrics" and "loss" in event]
    peak, total = linear.learning_rate, 2 * steps
    wanted = {step: peak * (total - step + 1) / total for step in range(steps + 1, total + 1)}
    assert {event["step"]: event["learning_rate"] for event in events} == pytest.approx(wanted)
    assert not history.progress_of(longer).warnings


def test_tensorboard_opens_on_loopback(engine: LLMEngine, config: TrainConfig, dataset_file: Path) -> None:
    limited = config.model_copy(update={"max_steps": 2, "eval_share": 0})
    run = finished(engine, engine.train(engine.datasets.get(str(dataset_file)), limited, name="short"))
    with pytest.raises(UserError, match="limited to 2 steps"):
        engine.extend(run, 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "ftui", "runs", "tensorboard", "--port", str(port), "--home"]
    board = subprocess.Popen([*argv, str(engine.workspace.home)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline, tags = time.monotonic() + 90, {}
        while "train/loss" not in json.dumps(tags) and time.monotonic() < deadline:
            time.sleep(0.5)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/plugin/scalars/tags", timeout=5) as answer:
                    tags = json.load(answer)
            except OSError:
                assert board.poll() is None, board.stdout.read() if board.stdout else ""
        assert list(tags) == [f"short-{run.id[-4:]}"] and "train/loss" in tags[f"short-{run.id[-4:]}"]
    finally:
        board.terminate()
        board.wait(10)
    with socket.socket() as free:  # what ends the command ends TensorBoard
        free.bind(("127.0.0.1", port))
