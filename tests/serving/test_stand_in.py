"""The adapter that stands in for the base model at vLLM without a GPU, and the flags that it comes with."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_adapters import write_base, write_tensors

from engines.config.serve import ServeConfig
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.servers import server_start, stand_in
from engines.weights import adapter_check


def test_it_is_an_adapter_of_its_base_and_made_once(engine: LLMEngine, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    made = stand_in.path_of(engine.workspace, base)
    shape = adapter_check.check_folder(made)
    adapter_check.check_fit(shape, base)
    assert shape.rank == 1 and len(shape.layers) == 1
    weights = made / "adapter_model.safetensors"
    written = weights.stat().st_mtime_ns
    assert stand_in.path_of(engine.workspace, base) == made and weights.stat().st_mtime_ns == written
    assert engine.adapters.list() == []
    write_tensors(base / "model.safetensors", {"model.strange.weight": (8, 8)})
    with pytest.raises(UserError, match="no layer that is known"):
        stand_in.path_of(engine.workspace, base)


@pytest.mark.model
def test_it_changes_nothing(engine: LLMEngine, tiny_model: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    asked = torch.arange(20).reshape(2, 10)
    with torch.no_grad():
        before = base(input_ids=asked).logits
        with_it = PeftModel.from_pretrained(base, stand_in.path_of(engine.workspace, tiny_model))
        assert torch.equal(with_it(input_ids=asked).logits, before)


def test_vllm_gets_a_place_more_for_it(tmp_path: Path) -> None:
    config = ServeConfig(kind="vllm", max_loras=2)
    python, zeros = tmp_path / "python", tmp_path / "zeros"
    wish = server_start.Wish(config, python, "m", "cpu", 8000, 16, ("a@1", tmp_path / "a"), stand_in=zeros)
    argv, _ = server_start.command(wish)
    assert argv[argv.index("--max-loras") + 1] == "3"
    assert argv[argv.index("--served-model-name") + 1] == "base-alone"
    assert argv[-3:] == ["--lora-modules", f"base={zeros}", f"a@1={tmp_path / 'a'}"]
    argv, _ = server_start.command(server_start.Wish(config, python, "m", "cuda:1", 8000, 16, None))
    assert argv[argv.index("--served-model-name") + 1] == "base" and "--lora-modules" not in argv


def test_llama_server_keeps_no_prompts_and_says_which_paths_it_cannot_read(tmp_path: Path) -> None:
    places = server_start.Llama(tmp_path / "tools", tmp_path / "programs", tmp_path / "cache")
    config = ServeConfig(kind="llama-server", max_model_len=512)
    adapter = ("a@1", tmp_path / "versions" / "a")
    wish = server_start.Wish(config, tmp_path / "python", "m", "cpu", 8000, 16, adapter, places)
    argv, _ = server_start.command(wish)
    flags = argv[argv.index("--") :]
    assert {"--no-cache-prompt", "--cache-ram", "0"} <= set(flags) and flags[flags.index("--ctx-size") + 1] == "2048"
    bad = server_start.Wish(config, tmp_path / "python", "m", "cpu", 8000, 16, ("a@1", Path("/a,b/c")), places)
    with pytest.raises(UserError, match="cannot read adapters in /a,b/c"):
        server_start.command(bad)
