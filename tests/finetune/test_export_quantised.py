"""AWQ, GPTQ and ONNX: written by the real packages, loaded again, compared. Opt-in: `make test-export`.

FTUI_AWQ and FTUI_ONNX name the interpreters of the environments (`ftui setup export-awq`, `export-onnx`).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from sample_adapters import strong_adapter, write_adapter

from engines.config.export import AwqConfig, OnnxConfig
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.weights.adapter_transfer import import_adapter
from engines.weights.exporting import export_awq, export_onnx
from ftui.cli import run

AWQ, ONNX = os.environ.get("FTUI_AWQ"), os.environ.get("FTUI_ONNX")
needs_awq = pytest.mark.skipif(not AWQ, reason="set FTUI_AWQ, or run make test-export")
needs_onnx = pytest.mark.skipif(not ONNX, reason="set FTUI_ONNX, or run make test-export")


@pytest.fixture
def adapted(engine: LLMEngine, tiny_model: Path, tmp_path: Path) -> LLMEngine:
    """A workspace with two adapters of a tiny model, and the environments for exports."""
    for seed, name in ((1, "one"), (2, "two")):
        made = strong_adapter(tiny_model, tmp_path / f"made-{name}", seed, rank=4 * seed)
        import_adapter(engine.adapters, engine.models, made, name=name, base_model=str(tiny_model))
    for kind, python in (("export-awq", AWQ), ("export-onnx", ONNX)):
        if python:
            engine.environments.choose(kind, Path(python))
    return engine


def export(engine: LLMEngine, capfd: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What `ftui llm export` says to a program."""
    code = run(["llm", "export", *words, "--json", "--home", str(engine.workspace.home)])
    told = json.loads(capfd.readouterr().out)
    assert code == 0, told
    return told["result"]  # type: ignore[no-any-return]


@needs_awq
@pytest.mark.model
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("method", "bits", "near"), [("awq", "4", 0.2), ("gptq", "4", 0.2), ("gptq", "8", 0.01)])
def test_a_quantised_model_is_loaded_again_and_compared(
    adapted: LLMEngine, dataset_file: Path, capfd: pytest.CaptureFixture[str], method: str, bits: str, near: float
) -> None:
    result = export(
        adapted, capfd, "awq", "one", "--method", method, "--bits", bits, "--dataset", str(dataset_file),
        "--samples", "8", "--max-length", "64",
    )  # fmt: skip
    folder = Path(result["folder"])
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "report.json"} <= names and "merged" not in names
    assert folder.name == f"one-{method}" and list(folder.parent.iterdir()) == [folder]  # nothing is left beside it
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    weights = settings["config_groups"]["group_0"]["weights"]
    assert (weights["num_bits"], weights["group_size"]) == (int(bits), 32)  # the largest that divides 32 and 64
    assert result["quantised_layers"] == 14 and result["samples"] == 8
    assert result["perplexity"] == pytest.approx(result["perplexity_merged"], rel=near)
    assert result["max_logit_difference"] > 0


@needs_awq
@pytest.mark.model
@pytest.mark.timeout(900)
def test_a_stopped_calibration_leaves_nothing(adapted: LLMEngine, dataset_file: Path) -> None:
    config = AwqConfig(method="awq", samples=48, max_length=64)
    started = export_awq(adapted, adapted.adapters.get("one"), config, dataset=adapted.datasets.get(str(dataset_file)))
    deadline = time.monotonic() + 300
    while b'"calibrate"' not in started.log.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    adapted.runs.request_stop(started, 200)
    status = adapted.runs.wait(started, timeout=250)
    assert status.state == "stopped", status
    assert not list(Path(started.spec["output"]).parent.iterdir())


def test_without_a_dataset_nothing_is_calibrated(engine: LLMEngine) -> None:
    write_adapter(engine.adapters.folder / "bot" / "final")
    with pytest.raises(UserError, match="calibrated on one"):
        export_awq(engine, engine.adapters.get("bot"))
    assert engine.runs.list() == []


@pytest.mark.parametrize(("to", "package"), [("awq", "llmcompressor"), ("onnx", "onnxruntime_genai")])
def test_without_its_environment_nothing_is_started(
    engine: LLMEngine, dataset_file: Path, capfd: pytest.CaptureFixture[str], to: str, package: str
) -> None:
    write_adapter(engine.adapters.folder / "bot" / "final", str(engine.models.embedded))
    more = ["--dataset", str(dataset_file)] if to == "awq" else []
    assert run(["llm", "export", to, "bot", *more, "--home", str(engine.workspace.home)]) == 5
    said = capfd.readouterr().err
    assert package in said and f"ftui setup export-{to}" in said
    assert engine.runs.list() == []


@needs_onnx
@pytest.mark.model
@pytest.mark.timeout(900)
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_several_adapters_share_one_graph_and_say_what_peft_says(
    adapted: LLMEngine, dataset_file: Path, capfd: pytest.CaptureFixture[str], precision: str
) -> None:
    result = export(adapted, capfd, "onnx", "one", "two", "--precision", precision)
    folder = Path(result["folder"])
    names = {file.name for file in folder.iterdir()}
    assert {"model.onnx", "genai_config.json", "one.onnx_adapter", "two.onnx_adapter", "report.json"} <= names
    assert not names & {"union", "built", "graph", "cache", ".olive-cache", "model_config.json"}
    assert list(folder.parent.iterdir()) == [folder]
    figures = [*result["adapters"].values(), result["base"]]
    assert len({found["perplexity"] for found in figures}) == 3  # they say different things
    for found in figures:
        if precision == "fp32":
            assert found["max_logit_difference"] < 1e-3 and found["same_choice"] == 1
        assert found["perplexity"] == pytest.approx(
            found["perplexity_exported"], rel=1e-3 if precision == "fp32" else 0.5
        )


def test_adapters_of_different_base_models_do_not_share_a_graph(engine: LLMEngine, tmp_path: Path) -> None:
    from sample_adapters import write_base

    engine.environments.choose("export-onnx", Path("/usr/bin/env"))
    for name, width in (("one", 8), ("two", 16)):
        base = write_base(tmp_path / f"base-{name}", width)
        write_adapter(tmp_path / f"made-{name}", str(base), width=width)
        import_adapter(engine.adapters, engine.models, tmp_path / f"made-{name}", name=name, base_model=str(base))
    with pytest.raises(UserError, match="trained on"):
        export_onnx(engine, engine.adapters.list(), OnnxConfig())
    assert engine.runs.list() == []
