"""Several adapters made one: the exact sum, the methods of peft, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sample_adapters import strong_adapter, write_adapter

from engines.config.combine import CombineConfig
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.weights.adapter_transfer import import_adapter
from finetune import combine_adapters
from ftui.cli import run

pytestmark = pytest.mark.model


def delta(folder: Path) -> Any:
    """What an adapter adds to one layer."""
    from safetensors.torch import load_file

    from engines.contract import statefiles

    config = statefiles.read_object(folder / "adapter_config.json")
    tensors = load_file(folder / "adapter_model.safetensors")
    layer = "base_model.model.model.layers.1.self_attn.v_proj"
    return tensors[f"{layer}.lora_B.weight"] @ tensors[f"{layer}.lora_A.weight"] * config["lora_alpha"] / config["r"]


def test_cat_is_the_weighted_sum_and_is_an_adapter_like_others(
    engine: LLMEngine, tiny_model: Path, tmp_path: Path
) -> None:
    import torch

    for number, (name, rank) in enumerate([("one", 4), ("two", 2)]):
        made = strong_adapter(tiny_model, tmp_path / name, number, rank)
        import_adapter(engine.adapters, engine.models, made, name=name, base_model=str(tiny_model))
    words = ["llm", "combine", "one", "two", "--name", "both", "--weights", "0.7", "--weights", "-0.3"]
    assert run([*words, "--home", str(engine.workspace.home)]) == 0
    both = engine.adapters.get("both")
    assert both.complete and both.rank == 6 and both.base_model == str(tiny_model) and both.notes == "cat of one, two"
    wanted = 0.7 * delta(tmp_path / "one") - 0.3 * delta(tmp_path / "two")
    assert torch.allclose(delta(both.final), wanted, atol=1e-5)
    assert run([*words, "--home", str(engine.workspace.home)]) == 6  # the name is taken


@pytest.mark.parametrize("method", ["linear", "ties", "dare_linear"])
def test_the_methods_of_peft_keep_the_rank_and_repeat(method: str, tiny_model: Path, tmp_path: Path) -> None:
    import torch

    parts = [strong_adapter(tiny_model, tmp_path / str(seed), seed) for seed in (1, 2)]
    config = CombineConfig(method=method, weights=[0.5, 0.5], density=0.6)  # type: ignore[arg-type]
    for name in ("a", "b"):
        combine_adapters.combine(str(tiny_model), parts, tmp_path / name, config)
    made = delta(tmp_path / "a")
    assert torch.equal(made, delta(tmp_path / "b")) and made.abs().max() > 0
    assert not torch.allclose(made, delta(parts[0])) and not torch.allclose(made, delta(parts[1]))


def test_what_has_no_sum_is_refused(tmp_path: Path) -> None:
    plain, dora = write_adapter(tmp_path / "a" / "final"), write_adapter(tmp_path / "b" / "final", use_dora=True)
    wide = write_adapter(tmp_path / "c" / "final", rank=4)
    with pytest.raises(UserError, match="b has DoRA"):
        combine_adapters.check([plain, dora], CombineConfig())
    with pytest.raises(UserError, match="equal ranks, these are 2, 4"):
        combine_adapters.check([plain, wide], CombineConfig(method="ties"))
    with pytest.raises(UserError, match="3 weights for 2 adapters"):
        combine_adapters.check([plain, wide], CombineConfig(weights=[1, 1, 1]))
    assert combine_adapters.check([plain, wide], CombineConfig()) == [0.5, 0.5]
