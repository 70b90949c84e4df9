"""The pre-flight says what the training then is; and its changes make it fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset

from engines import preflight as engine_preflight
from engines.config.job import build
from engines.config.train import TrainConfig
from engines.contract.errors import UserError
from engines.expected_time import expected_seconds
from engines.llm import LLMEngine
from engines.running import devices
from engines.running.follow import LogFile
from engines.setup import gguf_tools
from finetune import base_model, data_figures, preflight, prepared, rows
from ftui.commands import train
from ftui.console import Common
from ftui.preflight import facts


@pytest.fixture
def config(tiny_model: Path) -> TrainConfig:
    values = {
        "base_model": str(tiny_model), "gradient_accumulation_steps": 2, "num_epochs": 2, "max_seq_length": 120,
        "gradient_checkpointing": False, "device": "cpu", "eval_share": 0.2, "sample_tokens": 0,
    }  # fmt: skip
    return build(TrainConfig, values)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    lines = dialog_rows(40)
    lines[3]["messages"] = lines[3]["messages"] * 6  # one that is too long
    return write_dataset(tmp_path / "mixed_dataset.jsonl", lines)


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.skipif(not os.environ.get("FTUI_GGUF_TOOLS"), reason="set FTUI_GGUF_TOOLS, or run make test-export")
def test_whether_the_base_can_become_gguf_is_said_before(
    engine: LLMEngine, config: TrainConfig, mixed: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """By the real converters: of a model that they know, of an unknown tokenizer, of an unknown architecture."""
    dataset = engine.datasets.get(str(mixed))
    tools = gguf_tools.folder(engine.workspace)
    tools.parent.mkdir(parents=True)
    tools.symlink_to(os.environ["FTUI_GGUF_TOOLS"])
    found = engine.preflight(dataset, config)
    assert found["gguf"] == {"converts": True, "why": ""}
    assert ("GGUF", "llama.cpp's converters know this base model: the result can be exported") in facts(found)
    strange = tmp_path / "strange"
    shutil.copytree(tiny_model, strange)
    tokenizer = json.loads((strange / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    (strange / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = engine.preflight(dataset, config.model_copy(update={"base_model": str(strange)}))
    assert not found["gguf"]["converts"] and "pre-tokenizer was not recognized" in found["gguf"]["why"]
    assert found["fits"] and any("can NOT be exported" in text for _, text in facts(found))
    unknown = json.loads((strange / "config.json").read_text())
    (strange / "config.json").write_text(json.dumps({**unknown, "architectures": ["StrangeForCausalLM"]}))
    found = engine.preflight(dataset, config.model_copy(update={"base_model": str(strange)}))
    assert found["gguf"]["why"].endswith("Model StrangeForCausalLM is not supported")


@pytest.mark.timeout(200)
def test_what_is_said_before_is_what_happens(engine: LLMEngine, config: TrainConfig, mixed: Path) -> None:
    dataset = engine.datasets.get(str(mixed))
    phases: list[str] = []
    found = engine.preflight(dataset, config, on_phase=phases.append)
    assert phases == ["reading the dataset", "measuring the architecture"]
    assert found["seconds"] is None and found["fits"] and found["changes"] == {} and found["gguf"] is None
    assert found["shortened"] == 1 and any("lose turns" in text for text in found["warnings"])
    assert found["end_of_turn"] == {"token": "<|im_end|>", "learned": 32, "rows": 32}
    assert any(run["learned"] for run in found["mask"][0]["runs"])
    run = engine.train(dataset, config, name="flown")
    assert engine.runs.wait(run, timeout=150).state == "done", run.log.read_text()[-2000:]
    told = next(event for event in LogFile(run.log).poll_all() if event["event"] == "train")
    assert told["total_steps"] == found["steps"] == 2 * found["steps_per_epoch"]
    for name in ("rows", "eval_rows", "tokens_per_epoch", "learned_tokens_per_epoch"):
        assert told[name] == found[name]
    final, checkpoints = engine.adapters.get("flown").path / "final", [*(run.folder / "checkpoints").iterdir()]
    assert found["result_bytes"] == pytest.approx(bytes_in(final), rel=0.02)
    most = bytes_in(checkpoints[0]) * (config.keep_checkpoints + 2) + bytes_in(final)
    assert most < found["disk_bytes"] < 1.05 * most + (8 << 20)
    again = engine.preflight(dataset, config)
    taken = run.status().seconds()
    assert taken and again["seconds"] == pytest.approx(taken, rel=0.25)  # with start, evaluations, answers, checkpoints
    assert again["seconds"] > 1.5 * found["tokens"] / run.result()["tokens_per_second"]
    assert run.id in again["seconds_from"]
    for change in ({"lora_rank": 4}, {"gradient_accumulation_steps": 4}):  # a run of another shape tells nothing
        assert engine.preflight(dataset, config.model_copy(update=change))["seconds"] is None
    model = engine.models.resolve(config.base_model, "cpu")
    assert expected_seconds(engine.runs, found, model, config)[0] == again["seconds"]  # type: ignore[index]
    longer = {**found, "tokens_per_epoch": 2.1 * found["tokens_per_epoch"]}
    assert expected_seconds(engine.runs, longer, model, config) is None


def test_changes_make_it_fit(config: TrainConfig, tiny_model: Path, mixed: Path) -> None:
    """A model of random weights with long rows, a memory that is too small, and then one in which nothing helps."""
    large = config.model_copy(update={"batch_size": 8, "max_seq_length": 4096, "gradient_checkpointing": False})
    fitting = preflight.Fitting(str(tiny_model), "cpu", [2048] * 64, large)
    need = fitting.footprint(large)
    changes, after = preflight.changes_to_fit(fitting, large, need.total * 2)
    assert changes == {} and after == need
    checkpointed = large.model_copy(update={"gradient_checkpointing": True})
    assert preflight.faster(fitting, checkpointed, need.total * 2) == {"gradient_checkpointing": False}
    assert preflight.faster(fitting, checkpointed, need.total) == preflight.faster(fitting, large, 1 << 50) == {}
    free = int((need.total - need.activations * 0.7) / preflight.USABLE)
    changes, after = preflight.changes_to_fit(fitting, large, free)
    assert changes and after.total <= free * preflight.USABLE
    changed = large.model_copy(update=changes)
    assert changed.rows_per_step == large.rows_per_step  # as many rows are learned from at once
    assert fitting.footprint(changed) == after
    changes, after = preflight.changes_to_fit(fitting, large, 1 << 20)
    assert after.total > 1 << 20


def test_of_a_large_dataset_a_sample_is_tokenized_and_its_longest_rows(
    config: TrainConfig, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = dialog_rows(400)
    lines[333]["messages"] = lines[333]["messages"] * 2  # is not among every fourth, but decides the memory
    dataset, tokenizer = (
        write_dataset(tmp_path / "large_dataset.jsonl", lines),
        base_model.load_tokenizer(str(tiny_model)),
    )
    exact, all_lengths = data_figures.describe_data(dataset, tokenizer, config)
    monkeypatch.setattr(data_figures, "MOST_DIALOGS", 100)
    monkeypatch.setattr(data_figures, "LONGEST", 10)
    found, lengths = data_figures.describe_data(dataset, tokenizer, config)
    assert exact["sampled"] == 0 and 100 < found["sampled"] < 200
    assert len(lengths) < len(all_lengths) / 2 and found["longest"] == exact["longest"] == max(lengths)
    assert {name: found[name] for name in ("rows", "eval_rows", "steps", "dialogs")} == {
        name: exact[name] for name in ("rows", "eval_rows", "steps", "dialogs")
    }
    for name in ("tokens_per_epoch", "learned_tokens_per_epoch", "tokens", "eval_tokens"):
        assert found[name] == pytest.approx(exact[name], rel=0.05)


def test_an_end_of_turn_that_is_not_learned_is_seen(config: TrainConfig, tiny_model: Path) -> None:
    tokenizer = base_model.load_tokenizer(str(tiny_model))
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    ids = tokenizer("some words")["input_ids"]
    good = rows.Encoded([[*ids, end]], [[*ids, end]])
    bad = rows.Encoded([[*ids, end]], [[*ids, rows.IGNORED]])
    assert data_figures.end_of_turn(good, tokenizer)["learned"] == 1
    figures = {"rows": 40, "shortened": 0, "dropped": 0, "dialogs": 40, "end_of_turn": None}
    figures["end_of_turn"] = data_figures.end_of_turn(bad, tokenizer)
    assert any("may not stop talking" in text for text in data_figures.warnings_of(figures, config))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"target_modules": ["q_proj", "nowhere"]}, "no layers called nowhere"),
        ({"target_modules": [""]}, "no layers called ''"),
        ({"method": "full", "quantization": "nf4"}, "method full does not go with quantization nf4"),
        ({"loss": "nowhere:nothing"}, "nowhere:nothing cannot be loaded"),
        ({"loss": "textwrap:dedent"}, r"textwrap:dedent takes \(text\)"),
    ],
)
def test_what_the_training_would_refuse_is_refused_before(
    engine: LLMEngine, config: TrainConfig, mixed: Path, changes: dict[str, Any], cause: str
) -> None:
    dataset = engine.datasets.get(str(mixed))
    with pytest.raises(UserError, match=cause) as caught:
        engine.preflight(dataset, config.model_copy(update=changes))
    if "target_modules" in changes:
        assert "all-linear" in caught.value.next_step and "v_proj" in caught.value.next_step


def test_the_command_refuses_what_does_not_fit(
    engine: LLMEngine,
    config: TrainConfig,
    mixed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "config.json"
    file.write_text(config.model_dump_json())

    def check(*words: str) -> tuple[int, Any]:
        argv = [sys.executable, "-m", "ftui", "llm", "check", str(mixed), "--config", str(file), "--json", *words]
        home = ["--home", str(engine.workspace.home)]
        done = subprocess.run([*argv, *home], capture_output=True, text=True, timeout=100, env={**os.environ})
        return done.returncode, json.loads(done.stdout or done.stderr)

    code, found = check()
    assert code == 0 and found["fits"] and found["memory"]["free"] > 1 << 28
    code, found = check("--gradient-accumulation-steps", "500")
    assert code == 2 and "one optimizer step takes" in str(found)
    assert train.check(str(mixed), config_file=file, common=Common(home=engine.workspace.home)) == 0
    told = capsys.readouterr().out
    assert "memory  " in told and "— row 3:" in told and "<|im_end|>»" in told
    monkeypatch.setattr(devices, "free_disk", lambda _: 1 << 20)
    assert train.check(str(mixed), config_file=file, common=Common(home=engine.workspace.home)) == 1
    assert "does NOT fit. Free some space" in capsys.readouterr().out
    monkeypatch.setattr(devices, "free_memory", lambda: 1 << 20)
    refused = engine.preflight(engine.datasets.get(str(mixed)), config, probe=True)
    assert refused["probe"] is None and any("not probed" in text for text in refused["warnings"])
    assert not refused["fits"] and not refused["fits_after_changes"]


def test_what_nobody_said_is_what_the_family_wants(engine: LLMEngine, capsys: pytest.CaptureFixture[str]) -> None:
    gemma = {"base_model": "google/gemma-3n-E2B-it"}
    found = train.chosen_config(engine, "quick", None, TrainConfig(**gemma), quiet=False)
    assert (found.learning_rate, found.warmup_ratio, found.lora_rank) == (5e-6, 0.1, 4)
    assert "needs it: --learning-rate 5e-06 --warmup-ratio 0.1" in capsys.readouterr().err
    family = engine.models.family(found.base_model)
    assert not engine_preflight.advice(found, family, "cuda")
    said = train.chosen_config(engine, None, None, TrainConfig(**gemma, learning_rate=2e-4), quiet=True)
    assert (said.learning_rate, said.warmup_ratio) == (2e-4, 0.1)
    assert any("becomes NaN" in text for text in engine_preflight.advice(said, family, "cuda"))
    assert train.chosen_config(engine, None, None, TrainConfig(), quiet=True) == TrainConfig()


def test_a_batch_larger_than_the_data_names_the_way_out(config: TrainConfig) -> None:
    from engines.contract.estimate import check_steps

    with pytest.raises(UserError, match="one batch takes 64") as caught:
        check_steps(40, config.model_copy(update={"batch_size": 64}))
    assert "batch_size to 1" in caught.value.next_step


def test_a_number_of_steps_is_told_in_epochs(config: TrainConfig) -> None:
    limited = config.model_copy(update={"gradient_accumulation_steps": 4, "max_steps": 30})
    assert prepared.epochs_of(149, limited) == 0.81  # as the trainer counts: 120 of 149 rows
    assert prepared.epochs_of(149, limited.model_copy(update={"max_steps": 38 + 1})) == 1.03  # an epoch's last is short
    assert prepared.epochs_of(149, limited.model_copy(update={"max_steps": 0})) == 2
