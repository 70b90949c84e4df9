"""A real sweep of real trainings: pruned, stopped, killed with SIGKILL, gone on with, and tidied up."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.running.follow import LogFile
from engines.running.runs import Run
from engines.tuning import sweeps, trials
from engines.tuning.sweep_space import make_plan
from engines.tuning.trials import Trial

CONFIG = {
    "gradient_accumulation_steps": 2,
    "max_steps": 120,
    "precision": "fp32",
    "gradient_checkpointing": False,
    "device": "cpu",
}


def document(model: Path, **changes: Any) -> dict[str, Any]:
    return {"config": {**CONFIG, "base_model": str(model)}, "evaluations": 6, **changes}


@pytest.fixture
def talk(engine: LLMEngine) -> Any:
    write_dataset(engine.datasets.path("talk"), dialog_rows(40))
    return engine.datasets.get("talk")


def until(run: Run, condition: Callable[[list[Trial]], bool], seconds: float = 240) -> list[Trial]:
    deadline = time.monotonic() + seconds
    while not condition(found := trials.read(run.folder)):
        assert time.monotonic() < deadline and not run.status().ended, f"{found}\n{run.log.read_text()[-2000:]}"
        time.sleep(0.05)
    return found


def evaluated(number: int, times: int = 1) -> Callable[[list[Trial]], bool]:
    return lambda found: len(found) >= number and len(found[number - 1].evaluations) >= times


@pytest.mark.timeout(600)
def test_a_sweep_is_stopped_killed_and_finished(
    engine: LLMEngine, tiny_model: Path, talk: Any, ftui: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial 1 is stopped and resumed with the sweep, trial 2 is pruned, in trial 3 the sweep is killed."""
    space = {"learning_rate": [3e-3, 1e-9, 1e-2]}
    monkeypatch.chdir(tiny_model.parent.parent)  # the trials run elsewhere
    model = tiny_model.relative_to(Path.cwd())
    plan = make_plan(document(model, space=space, sampler="grid", trials=5, pruner_startup=1))
    run = sweeps.start(engine, talk, plan, name="tuned")
    until(run, evaluated(1))
    sweeps.stop(engine, run)
    assert engine.runs.wait(run, 120).state == "stopped"
    assert [trial.state for trial in trials.read(run.folder)] == ["running"]
    assert engine.runs.newest("train", active=True) is None  # its trial was stopped with it

    sweeps.resume(engine, run)
    until(run, evaluated(3, 2))  # a checkpoint follows each evaluation, so the first one is complete
    status = statefiles.read_json(run.folder / "status.json")
    os.kill(status["pid"], signal.SIGKILL)
    assert engine.runs.wait(run, 60).state == "failed"
    before = trials.read(run.folder)
    assert [trial.state for trial in before] == ["done", "pruned", "running"]
    sweeps.resume(engine, run)
    assert engine.runs.wait(run, 240).state == "done", run.log.read_text()[-3000:]

    first, second, third = trials.read(run.folder)
    assert "3 trials: the search space has no more combinations" in run.log.read_text()
    assert (first, second) == tuple(before[:2])  # not repeated
    assert third.state == "done" and third.objective is not None and first.objective is not None
    assert third.objective < first.objective
    runs = {number: engine.runs.get(trial.run) for number, trial in enumerate((first, second, third), 1)}
    assert len(engine.runs.list("train")) == 3
    assert [runs[number].status().attempt for number in (1, 2)] == [2, 1] and runs[3].status().attempt >= 2
    steps = [event["first_step"] for event in LogFile(runs[3].log).poll_all() if event["event"] == "train"]
    assert steps[0] == 0 and steps[-1] > 0  # it went on from its checkpoint
    for number, run_of_trial in runs.items():
        assert run_of_trial.spec["config"]["learning_rate"] == space["learning_rate"][number - 1]
        assert run_of_trial.spec["part_of"] == {"sweep": run.id, "trial": number}
    assert len(second.evaluations) < 6 and runs[2].status().state == "stopped"

    assert [adapter.name for adapter in engine.adapters.list()] == ["tuned-t03"]
    assert run.result()["adapter"] == "tuned-t03" and run.result()["values"] == {"learning_rate": 1e-2}
    assert engine.adapters.restore(engine.workspace.newest_trashed("adapter", "tuned-t01")).complete
    assert not (runs[1].folder / "checkpoints").exists() and (runs[3].folder / "checkpoints").exists()
    assert engine.last_config() is None  # a trial is nobody's last choice

    shown = json.loads(ftui("sweeps", "show", "tuned", "--json").stdout)
    assert shown["best"]["number"] == 3 and shown["trials"][0]["number"] == 3 and shown["eta_seconds"] is None
    text = ftui("sweeps", "show").stdout
    assert "★" in text and "✂ pruned" in text and "··●" in text
    assert "3/3" in ftui("sweeps", "list").stdout
    ftui("sweeps", "resume", "tuned", code=6)


def test_what_cannot_be_started_is_refused_at_once(engine: LLMEngine, tiny_model: Path, talk: Any) -> None:
    plan = make_plan(
        document(tiny_model, space={"gradient_accumulation_steps": [2, 400]})
        | {"config": {"base_model": str(tiny_model)}}
    )
    with pytest.raises(UserError, match="400"):
        sweeps.start(engine, talk, plan, name="tuned")
    (engine.adapters.folder / "tuned-t01").mkdir()
    good = make_plan(document(tiny_model, space={"lora_rank": [2, 4]}))
    with pytest.raises(UserError, match="already"):
        sweeps.start(engine, talk, good, name="tuned")
    with pytest.raises(UserError, match="no sweep yet"):
        sweeps.get(engine)
    assert engine.runs.list() == []
    engine.runs.create("sweep", "other", ["true"], config=good.as_dict())
    with pytest.raises(UserError, match="there is a sweep other already"):
        sweeps.start(engine, talk, good, name="other")


def test_the_command_line_shows_an_example_and_refuses_a_wrong_space(ftui: Any, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(ftui("sweeps", "example").stdout)
    shown = json.loads(
        ftui("llm", "sweep", str(tmp_path / "space.yaml"), "--trials", "3", "--preview", "--json").stdout
    )
    assert shown["trials"] == 3 and shown["space"]["lora_rank"]["choices"] == [4, 8, 16]
    (tmp_path / "small.yaml").write_text("{space: {lora_rank: [4, 8]}, sampler: random, trials: 5}")
    assert "2 trials, random" in (text := ftui("llm", "sweep", str(tmp_path / "small.yaml"), "--preview").stdout)
    assert "not 5: the search space has no more combinations" in text
    (tmp_path / "wrong.yaml").write_text("space: {learning_rat: [1.0e-3]}")
    assert "did you mean learning_rate" in ftui("llm", "sweep", str(tmp_path / "wrong.yaml"), code=2).stderr
    ftui("llm", "sweep", str(tmp_path / "missing.yaml"), code=4)
    assert json.loads(ftui("sweeps", "list", "--json").stdout) == []
