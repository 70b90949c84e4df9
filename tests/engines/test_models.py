"""Base models: names lead to models or to a clear refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.running import devices


def test_auto_and_embedded(engine: LLMEngine) -> None:
    assert engine.models.resolve("auto", "cpu") == str(engine.models.embedded)
    assert engine.models.resolve("embedded", "cuda:0") == str(engine.models.embedded)
    assert engine.models.resolve("auto", "cuda:0") == "Qwen/Qwen2.5-7B-Instruct"
    assert engine.models.resolve("owner/name", "cpu") == "owner/name"


def test_folders_and_gguf_files(engine: LLMEngine, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match="no weights"):
        engine.models.resolve(str(tmp_path / "model"), "cpu")
    with pytest.raises(UserError, match="no weights"):
        engine.models.resolve("..", "cpu")  # no model of the workspace
    (tmp_path / "model" / "model.safetensors").write_bytes(b"x")
    assert engine.models.resolve(str(tmp_path / "model"), "cpu") == str(tmp_path / "model")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert engine.models.resolve(str(tmp_path / "m.gguf"), "cpu") == str(tmp_path / "m.gguf")
    with pytest.raises(UserError, match="not a model"):
        engine.models.resolve(__file__, "cpu")


def test_what_a_run_in_another_folder_is_told(
    engine: LLMEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (Path("owner/name"), Path("mine"), engine.models.folder / "mine", Path("here")):
        folder.mkdir(parents=True)
    assert engine.models.from_here("owner/name") == str(tmp_path / "owner" / "name")
    assert engine.models.from_here("here") == str(tmp_path / "here")
    for name in ("auto", "embedded", "owner/other", "mine", "/no/such"):
        assert engine.models.from_here(name) == name


@pytest.mark.parametrize("wanted", ["/no/such/folder", "./nothing", "justaname", "a/b/c"])
def test_what_cannot_be_a_model(engine: LLMEngine, wanted: str) -> None:
    with pytest.raises(UserError, match="there is no base model"):
        engine.models.resolve(wanted, "cpu")


@pytest.mark.skipif(bool(devices.gpus()), reason="this machine has a GPU, so asking for one is right")
def test_a_gpu_that_is_not_there() -> None:
    assert devices.resolve("auto") == "cpu"
    with pytest.raises(UserError) as raised:
        devices.resolve("cuda")
    assert raised.value.code == "not_ready" and "0 GPUs" in raised.value.cause


def test_gpus_are_read_from_the_driver_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, Example 3060, 12288, 11000'\necho '1, Example 3060, 12288, [N/A]'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (gpu,) = devices.gpus()
    assert (gpu.index, gpu.name, gpu.total_bytes) == (0, "Example 3060", 12288 << 20)
