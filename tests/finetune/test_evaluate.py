"""Evaluations of a tiny model and real adapters: the report, every parameter, the gate, stop, what is refused.

Two tests are real runs. The others do the same work in this process, because loading torch
takes most of a small evaluation's time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.config.evaluate import EvaluateConfig
from engines.config.job import build
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.quality import evaluation
from engines.quality.figures import BASE, FIGURES, GENERAL, HELD_OUT, set_named
from engines.running.runs import Run
from finetune import evaluate

QUICK = {"answers": 2, "max_new_tokens": 3, "resamples": 100, "precision": "fp32", "device": "cpu"}


def make_adapter(engine: LLMEngine, name: str, model: Path, dataset: Path, strength: float, eval_share: float) -> None:
    """A real adapter whose weights were drawn, not learned."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(len(name))
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    )
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=strength)
    folder = engine.adapters.folder / name
    adapted.save_pretrained(folder / "final")
    card = {
        "name": name, "base_model": str(model), "created_at": 1.0,
        "dataset": {"name": dataset.name, "path": str(dataset)},
        "config": {"eval_share": eval_share, "max_seq_length": 256, "quantization": "none"},
    }  # fmt: skip
    statefiles.write_json(folder / "card.json", card)


@pytest.fixture
def ready(engine: LLMEngine, tiny_model: Path, dataset_file: Path) -> LLMEngine:
    make_adapter(engine, "me.v1", tiny_model, dataset_file, 0.0, 0.2)
    make_adapter(engine, "me-v2", tiny_model, dataset_file, 2.0, 0.1)
    return engine


def run_one(engine: LLMEngine, **values: Any) -> Run:
    data = values.pop("dataset", None)
    config = build(EvaluateConfig, {**QUICK, **values})
    return evaluation.evaluate(engine, engine.adapters.get("me.v1"), config, dataset=data)


@pytest.fixture
def here(ready: LLMEngine, monkeypatch: pytest.MonkeyPatch) -> LLMEngine:
    """An engine whose runs are done in this process, with the very command line of the run."""

    def start(run: Run) -> None:
        monkeypatch.setattr(sys, "argv", run.spec["argv"][2:])
        monkeypatch.setenv("FTUI_RUN_DIR", str(run.folder))
        evaluate.main()

    monkeypatch.setattr(ready.runs, "start", start)
    return ready


def test_base_and_two_adapters_on_three_sets(ready: LLMEngine, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other.jsonl", dialog_rows(5))
    run = run_one(
        ready, against=["me-v2"], also=[str(other)], prompt=["Hello?"],
        fail_if=["other.base.loss > 1", "loss < 0", "change.loss > 100"],
    )  # fmt: skip
    assert ready.runs.wait(run, timeout=200).state == "done", run.log.read_text()[-3000:]
    report = evaluation.report(run)
    assert report["adapters"] == ["me.v1", "me-v2"]
    assert [(entry["name"], entry["rows"]) for entry in report["sets"]] == [(HELD_OUT, 4), (GENERAL, 62), ("other", 5)]
    for entry in report["sets"]:
        assert list(entry["figures"]) == [BASE, "me.v1", "me-v2"]
        assert set(entry["figures"][BASE]) == set(FIGURES) - {"accuracy", "macro_f1"}
        base, nothing, much = (entry["figures"][who]["loss"] for who in (BASE, "me.v1", "me-v2"))
        assert base["low"] < base["value"] < base["high"]
        assert nothing == base  # an adapter of zeros changes nothing
        assert much["value"] != base["value"]
        assert entry["changes"]["me.v1"]["perplexity"] == {"value": 0, "low": 0, "high": 0}
    assert set(report["answers"][0]["answers"]) == {BASE, "me.v1", "me-v2"}
    value = set_named(report, "other")["figures"][BASE]["loss"]["value"]
    assert report["gate"]["failures"] == [{"expression": "other.base.loss > 1", "who": BASE, "value": value}]
    text = (run.folder / "report.md").read_text()
    assert "## Held-out part" in text and "| Perplexity" in text and "Gate: **failed**" in text and "> Hello?" in text
    exported = evaluation.export(run, tmp_path / "out.json")
    assert json.loads(exported.read_text()) == report
    assert evaluation.export(run, tmp_path / "out.md").read_text() == text


def test_the_figures_are_the_same_whatever_the_batch(here: LLMEngine) -> None:
    reports = [evaluation.report(run_one(here, batch_size=size, answers=0)) for size in (1, 16)]
    values = [[entry["figures"]["me.v1"]["loss"]["value"] for entry in report["sets"]] for report in reports]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def label_rows(count: int) -> list[dict[str, Any]]:
    kinds = ("good", "bad", "neither")
    return [
        {"text": f"number {n} is {kinds[n % 3]}", "label": kinds[n % 3], "conversation": str(n)} for n in range(count)
    ]


def test_labels_are_weighed_not_generated(here: LLMEngine, tmp_path: Path) -> None:
    data = here.datasets.get(str(write_dataset(tmp_path / "kinds.jsonl", label_rows(60))))
    entry = set_named(evaluation.report(run_one(here, dataset=data, general=False, against=["me-v2"])), HELD_OUT)
    assert (entry["kind"], entry["labels"], entry["rows"]) == ("labels", ["bad", "good", "neither"], 12)
    figures = entry["figures"][BASE]
    assert set(figures) == {"loss", "perplexity", "token_accuracy", "accuracy", "macro_f1"}
    assert 0 <= figures["accuracy"]["low"] <= figures["accuracy"]["value"] <= figures["accuracy"]["high"] <= 1
    for example in entry["examples"]:  # where somebody was wrong
        assert set(example["answers"].values()) <= set(entry["labels"])
        assert any(said != example["expected"] for said in example["answers"].values())


def first(run: Run) -> dict[str, Any]:
    return set_named(evaluation.report(run), HELD_OUT)


# field: (changed value, what is looked at, what must be seen there)
OBEYED: dict[str, tuple[Any, Callable[[Run], Any], Any]] = {
    "against": (["me-v2"], lambda run: evaluation.report(run)["adapters"], ["me.v1", "me-v2"]),
    "general": (True, lambda run: [entry["name"] for entry in evaluation.report(run)["sets"]], [HELD_OUT, GENERAL]),
    "max_rows": (
        2,
        lambda run: [(entry["rows"], entry["rows_in_all"]) for entry in evaluation.report(run)["sets"]],
        [(2, 4), (2, 62)],
    ),
    "answers": (2, lambda run: len(first(run)["examples"]), 2),
    "prompt": (["Hi?"], lambda run: evaluation.report(run)["answers"][0]["prompt"], "Hi?"),
    "fail_if": (["loss > 0"], lambda run: len(evaluation.report(run)["gate"]["failures"]), 2),
}
SEEN_ELSEWHERE = {
    "also",  # test_base_and_two_adapters_on_three_sets
    "tasks", "tasks_folder", "tasks_limit",  # test_benchmarks
    "max_new_tokens", "batch_size",  # test_scoring; below: the same figures
    "resamples", "seed", "confidence", "precision", "quantization", "device",  # below
}  # fmt: skip


def test_every_parameter_is_obeyed(here: LLMEngine) -> None:
    """All of them at once; what they change is looked at one by one."""
    assert set(OBEYED) | SEEN_ELSEWHERE == set(EvaluateConfig.model_fields)
    run = run_one(here, **{name: value for name, (value, _, _) in OBEYED.items()})
    for name, (_, look, expected) in OBEYED.items():
        assert look(run) == expected, name
    plain = run_one(here, general=False, answers=0)
    report = evaluation.report(plain)
    assert [entry["name"] for entry in report["sets"]] == [HELD_OUT] and first(plain)["rows"] == 8
    assert "bleu" not in first(plain)["figures"][BASE] and not report["answers"] and not report["gate"]["failures"]


def test_precision_quantization_and_device_are_those_asked_for(
    tiny_model: Path, tmp_path: Path, dataset_file: Path, engine: LLMEngine
) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    wide = tmp_path / "wide"  # a width that 4 bit can be packed in
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), hidden_size=128, intermediate_size=128, num_hidden_layers=1,
                    num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=True)
    ).save_pretrained(wide)  # fmt: skip
    tokenizer.save_pretrained(wide)
    make_adapter(engine, "w", wide, dataset_file, 0.1, 0.1)
    folder = {"w": engine.adapters.get("w").path / "final"}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        systems = evaluate.load_systems(str(wide), folder, build(EvaluateConfig, {**QUICK, "precision": precision}))
        assert systems.model.get_base_model().model.embed_tokens.weight.dtype == dtype
    systems = evaluate.load_systems(str(wide), folder, build(EvaluateConfig, {**QUICK, "quantization": "nf4"}))
    layer = systems.model.get_base_model().model.layers[0].mlp.up_proj
    assert type(layer).__name__ == "Linear4bit" and layer.weight.quant_type == "nf4"
    with pytest.raises(UserError, match="GPUs"):
        evaluate.load_systems(str(wide), folder, build(EvaluateConfig, {**QUICK, "device": "cuda:7"}))


def test_the_bootstrap_is_repeatable_and_follows_its_parameters(here: LLMEngine) -> None:
    once, again, other, more, bolder = (
        first(run_one(here, general=False, answers=0, **values))["figures"][BASE]["loss"]
        for values in ({}, {}, {"seed": 1}, {"resamples": 500}, {"confidence": 0.6})
    )
    assert once == again
    assert other["value"] == once["value"] and other["low"] != once["low"] and more["low"] != once["low"]
    assert bolder["high"] - bolder["low"] < once["high"] - once["low"]


def test_a_stop_ends_it_without_a_report(ready: LLMEngine, tmp_path: Path) -> None:
    large = ready.datasets.get(str(write_dataset(tmp_path / "large.jsonl", dialog_rows(6000))))
    config = build(EvaluateConfig, {**QUICK, "max_rows": 0, "batch_size": 1})
    run = evaluation.evaluate(ready, ready.adapters.get("me.v1"), config, dataset=large)
    while '"progress"' not in (run.log.read_text() if run.log.exists() else ""):
        assert not run.status().ended, run.log.read_text()[-2000:]
    ready.runs.request_stop(run, 60)
    assert ready.runs.wait(run, timeout=60).state == "stopped"
    with pytest.raises(UserError, match="no report"):
        evaluation.report(run)


@pytest.mark.parametrize(
    ("values", "code", "cause"),
    [
        ({"against": ["nobody"]}, "not_found", "nobody"),
        ({"also": ["nothing"]}, "not_found", "nothing"),
        ({"fail_if": ["generel.loss > 1"]}, "usage", "generel is not measured"),
        ({"general": False, "fail_if": ["general.loss > 1"]}, "usage", "general is not measured"),
        ({"also": ["talk", "talk"]}, "usage", "two sets called talk"),
    ],
)
def test_what_cannot_be_is_refused_before_the_start(
    ready: LLMEngine, values: dict[str, Any], code: str, cause: str
) -> None:
    write_dataset(ready.datasets.path("talk"), dialog_rows(5))
    with pytest.raises(UserError) as refused:
        evaluation.evaluate(ready, ready.adapters.get("me.v1"), build(EvaluateConfig, values))
    assert (refused.value.code, cause in refused.value.cause) == (code, True)
    assert ready.runs.list() == []


def test_a_report_that_cannot_be_written_is_refused_before_the_start(ready: LLMEngine, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for output, cause in ((tmp_path / "nowhere" / "r.md", "there is no folder"), (tmp_path / "folder", "is a folder")):
        argv = [sys.executable, "-m", "ftui", "llm", "evaluate", "me.v1", "--output", str(output)]
        done = subprocess.run(
            [*argv, "--home", str(ready.workspace.home)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2 and cause in done.stderr, done.stderr
    assert ready.runs.list() == []


def test_benchmarks_without_lm_eval_say_how_to_get_it(here: LLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # as if it were not installed, also where it is
    with pytest.raises(UserError) as missing:
        run_one(here, tasks=["arc_easy"])
    assert missing.value.code == "not_ready" and "pip install lm-eval" in missing.value.next_step


def test_a_package_that_is_missing_is_told_before_the_model_is_loaded(
    here: LLMEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    monkeypatch.setattr(evaluate, "load_systems", None)
    with pytest.raises(UserError, match="sacrebleu") as missing:
        run_one(here)
    assert missing.value.code == "not_ready" and "ftui setup llm" in missing.value.next_step


def test_benchmarks_of_ones_own_where_lm_eval_is_installed(here: LLMEngine, tmp_path: Path) -> None:
    """Needs `pip install lm-eval` in the environment of the tests, which `make test` does not do."""
    pytest.importorskip("lm_eval")
    rows = [{"question": f"Is {n} even?", "answer": int(n % 2)} for n in range(12)]
    (tmp_path / "even.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "even.yaml").write_text(f"""
task: ftui_even
dataset_path: json
dataset_kwargs: {{data_files: {{test: {tmp_path / "even.jsonl"}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["yes", "no"]
doc_to_target: answer
metric_list: [{{metric: acc}}]
""")
    run = run_one(
        here, tasks=["ftui_even"], tasks_folder=str(tmp_path), tasks_limit=8, against=["me-v2"], general=False,
        fail_if=["tasks.ftui_even.acc >= 0"],
    )  # fmt: skip
    entry = set_named(evaluation.report(run), "tasks.ftui_even")
    assert entry["rows"] == 8 and set(entry["figures"]) == {BASE, "me.v1", "me-v2"}
    accuracy = entry["figures"][BASE]["acc"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"] and accuracy["value"] in [n / 8 for n in range(9)]
    assert entry["figures"]["me.v1"]["acc"] == accuracy
    assert len(evaluation.report(run)["gate"]["failures"]) == 2


def test_the_text_template_of_the_training_is_used(here: LLMEngine) -> None:
    plain = first(run_one(here, general=False, answers=0))
    card = here.adapters.folder / "me.v1" / "card.json"
    told = json.loads(card.read_text())
    told["config"]["text_template"] = "### Question: {user} ### Answer: {assistant}"
    card.write_text(json.dumps(told))
    templated = first(run_one(here, general=False, answers=0))
    assert templated["figures"][BASE]["loss"] != plain["figures"][BASE]["loss"]
    with pytest.raises(UserError, match="different text templates"):
        run_one(here, against=["me-v2"])


def test_the_smallest_held_out_part_of_all_adapters_is_used(here: LLMEngine) -> None:
    """me-v2 held out less: what it was trained on must not be measured."""
    alone = first(run_one(here, general=False, answers=0))
    both = first(run_one(here, general=False, answers=0, against=["me-v2"]))
    assert (alone["rows"], both["rows"]) == (8, 4)
