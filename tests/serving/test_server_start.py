"""The flags that servers are started with, and what is said of an adapter that one cannot take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sample_adapters import write_adapter, write_base

from engines.config.serve import ServeConfig
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.servers import server_start
from engines.servers.server import Server, ServerState
from engines.servers.server_fit import check_served
from engines.weights.adapter_transfer import import_adapter


@pytest.mark.parametrize(("needed", "started"), [(1, 1), (2, 8), (16, 16), (24, 32), (65, 128), (300, 320), (512, 512)])
def test_vllm_is_started_with_a_rank_that_it_knows(needed: int, started: int) -> None:
    assert server_start.vllm_rank(needed) == started


@pytest.mark.parametrize(("rank", "step"), [(24, "--max-lora-rank 32."), (600, "Merge it into its base model")])
def test_a_refusal_names_a_rank_that_vllm_takes(engine: LLMEngine, tmp_path: Path, rank: int, step: str) -> None:
    base = write_base(tmp_path / "base")
    made = write_adapter(tmp_path / "wide", rank=rank)
    adapter = import_adapter(engine.adapters, engine.models, made, base_model=str(base))
    run = engine.runs.create("serve", "vllm-8000", ["true"], max_lora_rank=16)
    state = ServerState(Server("vllm-8000", "vllm", "http://127.0.0.1:8000", run), "ready", str(base))
    with pytest.raises(UserError, match=f"has rank {rank}, vllm-8000 .* takes at most 16") as refused:
        check_served(adapter, state)
    assert step in refused.value.next_step


@pytest.mark.parametrize(
    ("wanted", "quantised", "added"),
    [("auto", False, True), ("auto", True, False), ("nf4", False, True), ("none", False, False)],
)
@pytest.mark.parametrize("from_hub", [False, True])
def test_a_base_that_is_quantised_already_is_taken_as_it_is(
    tmp_path: Path, wanted: str, quantised: bool, added: bool, from_hub: bool
) -> None:
    """By vLLM on a GPU. A model of the hub is known by its name, and its files lie in the cache."""
    base = write_base(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    more = {"quantization_config": {"quant_method": "awq"}} if quantised else {}
    (base / "config.json").write_text(json.dumps({**config, **more, "max_position_embeddings": 99}))
    argv, _ = server_start.command(
        server_start.Wish(
            ServeConfig(kind="vllm", quantization=wanted), tmp_path / "python",  # type: ignore[arg-type]
            "owner/base" if from_hub else str(base), "cuda:0", 8000, 16, None, files=base if from_hub else None,
        )
    )  # fmt: skip
    assert ("bitsandbytes" in argv) is added
    assert argv[argv.index("--max-model-len") + 1] == "99"
