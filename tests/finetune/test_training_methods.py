"""Real trainings: all weights, early stopping with the best checkpoint, samples, warnings, a stop inside a step."""

from __future__ import annotations

import math
import time
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.config.job import build
from engines.config.train import TrainConfig
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.running.follow import LogFile
from engines.running.progress import Progress
from engines.running.runs import Run
from finetune import base_model, embedded_model
from finetune.methods import custom_loss
from ftui.commands.train import watch
from ftui.console import Common
from ftui.widgets import run_figures

LOSSES = Path(__file__).parent / "losses.py"
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "contrastive_loss.py"
SETTINGS = {
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-2,
    "precision": "fp32",
    "gradient_checkpointing": False,
    "device": "cpu",
    "eval_share": 0.2,
    "sample_tokens": 0,
}
pytestmark = pytest.mark.timeout(280)


def config_for(model: Path, **values: Any) -> TrainConfig:
    return build(TrainConfig, {**SETTINGS, "base_model": str(model), **values})


def events_of(run: Run, kind: str) -> list[dict[str, Any]]:
    return [event for event in LogFile(run.log).poll_all() if event["event"] == kind]


def progress_of(run: Run) -> Progress:
    return Progress.of(LogFile(run.log).poll_all())


def finished(engine: LLMEngine, run: Run, state: str = "done") -> None:
    status = engine.runs.wait(run, timeout=200)
    assert status.state == state, f"{status}\n{run.log.read_text()[-3000:]}"


def test_all_weights_make_a_model_that_can_be_a_base(
    engine: LLMEngine, tiny_model: Path, dataset_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file

    dataset = engine.datasets.get(str(dataset_file))
    config = config_for(tiny_model, method="full", learning_rate=1e-3, max_steps=4, save_steps=2)
    with pytest.raises(UserError, match="does not go with quantization nf4"):
        engine.train(dataset, config.model_copy(update={"quantization": "nf4"}), name="whole")
    run = engine.train(dataset, config, name="whole")
    finished(engine, run)
    assert run.result()["model"] == "whole" and not engine.adapters.list()
    assert watch(engine, run, Common(home=engine.workspace.home)) == 0
    told = capsys.readouterr().out
    assert "model:     whole" in told and "--base-model whole" in told and "adapter" not in told
    model = next(model for model in engine.models.list() if model.name == "whole")
    before = load_file(tiny_model / "model.safetensors")
    after = load_file(model.path / "model.safetensors")
    assert after.keys() == before.keys()
    changed = [name for name in before if not before[name].float().equal(after[name].float())]
    assert len(changed) == len(before)
    assert engine.models.resolve("whole", "cpu") == str(model.path)
    with pytest.raises(UserError, match="already"):
        engine.train(dataset, config, name="whole")


@pytest.mark.model
def test_a_gguf_file_is_a_base_model(engine: LLMEngine, dataset_file: Path) -> None:
    """The one of the embedded model's package, as it is."""
    file = embedded_model.find_gguf()
    values = {"base_model": str(file), "max_steps": 1, "max_seq_length": 64, "precision": "auto", "save_steps": 1}
    run = engine.train(engine.datasets.get(str(dataset_file)), build(TrainConfig, {**SETTINGS, **values}), name="own")
    finished(engine, run)
    assert engine.adapters.get("own").complete and engine.adapters.get("own").base_model == str(file)
    with pytest.raises(UserError, match="cannot be loaded in 4 bit"):
        base_model.load_model(str(file), "cpu", "fp32", "nf4")


def test_early_stopping_takes_the_best_checkpoint_and_says_so(
    engine: LLMEngine, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random answers can be learned by heart and never foretold: the held-out loss must rise."""
    import random

    words = [f"word{place}" for place in range(20)]
    chance = random.Random(3)
    rows = dialog_rows(30)
    for row in rows:
        for turn in row["messages"]:
            turn["content"] = " ".join(chance.choices(words, k=5))
    dataset = engine.datasets.get(str(write_dataset(tmp_path / "noise_dataset.jsonl", rows)))
    config = config_for(
        tiny_model, target_modules=["all-linear"], lora_rank=32, learning_rate=3e-2, num_epochs=200, save_steps=4,
        early_stopping=3, sample_tokens=4, sample_prompts=["Which word?"], keep_checkpoints=1,
    )  # fmt: skip
    run = engine.train(dataset, config, name="noisy")
    finished(engine, run)
    assert watch(engine, run, Common(home=engine.workspace.home)) == 0
    told = f"at step {run.result()['steps']} of {progress_of(run).total_steps}: the held-out loss did not fall in 3"
    assert f"ended:     early, {told} evaluations" in capsys.readouterr().out
    assert [event["text"] for event in events_of(run, "phase") if event["name"] == "early"] == [
        f"ends early, {told} evaluations"
    ]
    progress = progress_of(run)
    assert "ended early, at step" in run_figures.head(run, run.status(), progress, 80).plain
    best_step, best = min(progress.eval_losses, key=lambda point: point[1])
    result = run.result()
    assert result["steps"] < (progress.total_steps or 0) and result["steps"] > best_step
    assert result["loss"] == dict(progress.losses)[best_step]  # of the weights that were taken
    assert result["taken_step"] == best_step and result["eval_loss"] == pytest.approx(best)
    assert any("overfitting" in text and f"step {best_step}" in text for text in progress.warnings), progress.warnings
    assert [step for step, prompt, _ in progress.samples if prompt == "Which word?"] == [
        step for step, _ in progress.eval_losses
    ]
    kept = sorted(folder.name for folder in (run.folder / "checkpoints").glob("checkpoint-*"))
    assert kept == sorted({f"checkpoint-{best_step}", f"checkpoint-{result['steps']}"})
    assert all((run.folder / "checkpoints" / name / "optimizer.pt").is_file() for name in kept)
    assert list((run.folder / "tensorboard").glob("events.out.*"))


def test_the_longest_batch_goes_first_and_figures_of_the_machine_come(
    engine: LLMEngine, tiny_model: Path, tmp_path: Path
) -> None:
    rows = dialog_rows(20)
    rows[7]["messages"] = rows[7]["messages"] * 5
    dataset = engine.datasets.get(str(write_dataset(tmp_path / "long_dataset.jsonl", rows)))
    run = engine.train(dataset, config_for(tiny_model, eval_share=0, max_steps=3), name="probed")
    finished(engine, run)
    probe, first = events_of(run, "probe")[0], events_of(run, "train")[0]
    tokens = [event["time"] for event in events_of(run, "metrics")]
    assert probe["time"] <= first["time"] <= tokens[0]
    assert probe["tokens"] > 2 * first["tokens_per_epoch"] / first["rows"] and probe["memory"] > 1 << 27
    metrics = events_of(run, "metrics")[0]
    assert metrics["memory"] > 1 << 27 and 0 <= metrics["utilization"] <= 1


def test_no_more_rows_are_tried_than_a_step_has(tiny_model: Path, tmp_path: Path) -> None:
    """And on a CPU, in a training, a batch in each of the packs that are computed side by side."""
    from finetune import longest_batch, prepared

    dataset = write_dataset(tmp_path / "rows_dataset.jsonl", dialog_rows(40))

    def tried(batch: int, accumulation: int, quick: bool) -> list[int]:
        config = config_for(
            tiny_model, batch_size=batch, gradient_accumulation_steps=accumulation, eval_share=0, device="cpu"
        )
        trainer = prepared.prepare(dataset, str(tiny_model), config, tmp_path / f"{batch}-{accumulation}").trainer
        packs.append(trainer.step.side_by_side)
        return longest_batch.longest_rows(trainer, [9] * 40, quick=quick)

    packs: list[int] = []
    assert len(tried(4, 1, quick=False)) == 4
    assert len(tried(1, 2, quick=False)) == 2
    assert len(tried(1, 40, quick=False)) == min(40, math.ceil(packs[-1] * 256 / 9))
    assert len(tried(2, 8, quick=True)) == 2 * packs[-1]


def test_a_loss_that_breaks_is_seen_and_leaves_no_adapter(
    engine: LLMEngine, tiny_model: Path, dataset_file: Path
) -> None:
    dataset = engine.datasets.get(str(dataset_file))
    run = engine.train(dataset, config_for(tiny_model, loss=f"{LOSSES}:breaks", max_steps=6), name="broken")
    finished(engine, run, "failed")
    progress = progress_of(run)
    assert [text for text in progress.warnings if "loss is nan at step" in text]
    assert len([event for event in events_of(run, "metrics") if event.get("loss") != event.get("loss")]) >= 2
    assert "not a number" in run.status().cause and "learning_rate" in run.log.read_text()
    assert not engine.adapters.list() and not any(engine.adapters.folder.iterdir())


def test_of_a_training_that_breaks_the_checkpoint_before_is_taken(
    engine: LLMEngine, tiny_model: Path, dataset_file: Path
) -> None:
    from safetensors.torch import load_file

    dataset = engine.datasets.get(str(dataset_file))
    values = {"loss": f"{LOSSES}:breaks", "max_steps": 6, "save_steps": 1, "keep_checkpoints": 1}
    run = engine.train(dataset, config_for(tiny_model, **values), name="saved")
    finished(engine, run)
    assert 1 <= run.result()["taken_step"] <= 3 and 0 < run.result()["eval_loss"] < 20
    weights = load_file(engine.adapters.get("saved").path / "final" / "adapter_model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert not [text for text in progress_of(run).warnings if "overfitting" in text]


def test_a_loss_that_is_not_there_is_one_line(engine: LLMEngine, tiny_model: Path, dataset_file: Path) -> None:
    dataset = engine.datasets.get(str(dataset_file))
    run = engine.train(dataset, config_for(tiny_model, loss="nowhere:nothing", max_steps=6), name="nothing")
    finished(engine, run, "failed")
    assert "nowhere:nothing cannot be loaded" in run.status().cause


def test_a_fault_in_a_loss_is_told_with_its_line(
    engine: LLMEngine, tiny_model: Path, dataset_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def mine(model, inputs, items):\n    return inputs['nothing']\n")
    dataset = engine.datasets.get(str(dataset_file))
    run = engine.train(dataset, config_for(tiny_model, loss=f"{file}:mine", max_steps=1), name="faulty")
    finished(engine, run, "failed")
    assert run.status().cause == f"the loss {file}:mine failed in line 2: KeyError: 'nothing'"
    assert "Traceback" in run.log.read_text()
    with pytest.raises(ZeroDivisionError, match="out of memory"):  # no fault of the loss
        file.write_text("def mine(model, inputs, items):\n    raise ZeroDivisionError('CUDA out of memory')\n")
        custom_loss(f"{file}:mine")(None, {}, 1)


def test_a_stop_inside_a_long_step_comes_at_once_and_resumes_exactly(
    engine: LLMEngine, tiny_model: Path, dataset_file: Path
) -> None:
    """Each batch takes a quarter of a second, a step 16 of them; the stop does not wait for the step's end."""
    dataset = engine.datasets.get(str(dataset_file))
    slow = config_for(
        tiny_model, loss=f"{LOSSES}:slow", gradient_accumulation_steps=16, max_steps=4, lora_dropout=0.3, eval_share=0
    )
    run = engine.train(dataset, slow, name="slow")
    deadline = time.monotonic() + 120
    while not (progress_of(run).step >= 1 and progress_of(run).done >= 3):
        assert time.monotonic() < deadline and not run.status().ended, run.log.read_text()[-2000:]
        time.sleep(0.1)
    asked = time.time()
    engine.stop(run)
    finished(engine, run, "stopped")
    stopped_at = run.result()["step"]
    said = events_of(run, "result")[0]["time"]
    assert stopped_at >= 1 and said - asked < 16 * 0.25
    engine.resume(run)
    finished(engine, run)
    whole = engine.train(dataset, slow, name="whole")
    finished(engine, whole)
    assert progress_of(run).losses == progress_of(whole).losses
    adapter = "final/adapter_model.safetensors"
    slow_bytes = (engine.adapters.get("slow").path / adapter).read_bytes()
    assert slow_bytes == (engine.adapters.get("whole").path / adapter).read_bytes()


def test_the_worked_example_of_a_loss_trains(
    engine: LLMEngine, tiny_model: Path, dataset_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLE.parent.parent)  # the training runs in another folder, and the file is named from this one
    dataset = engine.datasets.get(str(dataset_file))
    config = config_for(
        tiny_model, loss="examples/contrastive_loss.py:contrastive", batch_size=8, gradient_accumulation_steps=1,
        num_epochs=8, target_modules=["all-linear"],
    )  # fmt: skip
    run = engine.train(dataset, config, name="contrastive")
    finished(engine, run)
    losses = [loss for _, loss in progress_of(run).losses]
    assert len(losses) == 32 and mean(losses[-5:]) < mean(losses[:5]) - 0.25


def test_its_contrastive_part_is_least_where_answers_are_like_their_own_questions() -> None:
    import torch

    example = custom_loss(f"{EXAMPLE}:info_nce")
    learned = torch.tensor([[False, False, True, True]] * 3)
    mask = torch.ones(3, 4, dtype=torch.long)
    states = torch.zeros(3, 4, 8)
    for row in range(3):
        states[row, 1, row] = states[row, 3, row] = 1.0  # the question ends at token 1, the answer at token 3
    fitting = example(states, learned, mask)
    states[:, 3] = states[:, 3].roll(1, dims=0)
    crossed = example(states, learned, mask)
    assert fitting < 0.01 and crossed > 5
