"""The list of base models: one is chosen for the training, one is fetched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.llm import LLMEngine
from engines.weights.known_models import KNOWN
from tests.tui.conftest import add_dataset, opened


def a_model(engine: LLMEngine, name: str) -> Path:
    """A folder that is a model as far as lists go."""
    folder = engine.models.folder / name
    folder.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "BF16", "shape": [1000, 2000], "data_offsets": [0, 4_000_000]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4_000_000))
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    return folder


async def test_a_model_is_chosen_from_those_that_are_here(engine: LLMEngine) -> None:
    add_dataset(engine)
    a_model(engine, "my-model")
    async with opened(engine) as ui:
        await ui.press("B")
        await ui.until(lambda: ui.shows("my-model", "2 M", "BF16", "Qwen/Qwen2.5-7B-Instruct", "15.2 GB"))
        assert ui.shows("google/gemma-3n-E2B-it", "needs HF_TOKEN, timm, torchvision")
        await ui.press("f")
        await ui.until(lambda: ui.shows("on this machine already"))
        await ui.press("enter")
        await ui.until(lambda: ui.shows("--base-model my-model"))


async def test_a_model_that_is_not_here_is_fetched_as_a_run(engine: LLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    add_dataset(engine)
    async with opened(engine) as ui:
        await ui.press("B")
        await ui.until(lambda: ui.shows(KNOWN[0].name))
        await ui.press("f")
        await ui.until(lambda: any(run.kind == "download" for run in engine.runs.list()))
        (run,) = (run for run in engine.runs.list() if run.kind == "download")
        assert KNOWN[0].name in run.spec["argv"]
        assert engine.runs.wait(run, 60).state == "failed"
        await ui.until(lambda: ui.shows("could not be fetched"))
