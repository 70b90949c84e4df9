"""Several adapters made one: the exact sum, the methods of peft, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sample_adapters import strong_adapter, write_adapter

from engines.config.combine import CombineConfig
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.weights import tensor_files
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


def drawn(model: Path, folder: Path, seed: int, **config: Any) -> Path:
    """A real adapter with drawn weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    values = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **config}
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), LoraConfig(**values))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.3)
    adapted.save_pretrained(folder)
    return folder


def deltas(model: Path, folder: Path) -> dict[str, Any]:
    """What an adapter adds to each layer, as peft computes it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, folder)
    layers = [(name, layer) for name, layer in adapted.named_modules() if hasattr(layer, "get_delta_weight")]
    return {name: layer.get_delta_weight("default").detach() for name, layer in layers}


PLAIN: dict[str, Any] = {}
OTHERS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"v_proj": 3}, "alpha_pattern": {"layers.0.self_attn.v_proj": 7}},
    "one layer": {"layers_to_transform": [1]},
    "a pattern of names": {"target_modules": r".*\.(q|k)_proj"},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings": {"target_modules": ["embed_tokens"]},
}


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
@pytest.mark.parametrize("kind", OTHERS)
def test_cat_is_the_exact_sum_in_either_order(kind: str, first: bool, tiny_model: Path, tmp_path: Path) -> None:
    import torch

    parts = [
        drawn(tiny_model, tmp_path / "other" / "final", 1, **OTHERS[kind]),
        drawn(tiny_model, tmp_path / "plain" / "final", 2, **PLAIN),
    ][:: 1 if first else -1]
    weights = [0.7, -0.3]
    combine_adapters.combine(str(tiny_model), parts, tmp_path / "made", CombineConfig(weights=weights))
    wanted: dict[str, Any] = {}
    for part, weight in zip(parts, weights, strict=True):
        for name, added in deltas(tiny_model, part).items():
            wanted[name] = wanted.get(name, 0) + weight * added
    made = deltas(tiny_model, tmp_path / "made")
    assert made.keys() == wanted.keys()
    for name, added in wanted.items():
        assert torch.allclose(made[name], added, atol=1e-5), name
    tensors = tensor_files.read_header(tmp_path / "made" / "adapter_model.safetensors")
    assert not any("base_layer" in name for name in tensors)


@pytest.mark.parametrize("method", ["linear", "ties", "dare_linear"])
def test_the_other_methods_scale_alike_in_either_order(method: str, tiny_model: Path, tmp_path: Path) -> None:
    """An adapter with rsLoRA has the same effect as one without, whose alpha is √rank times as large."""
    import torch

    rs = drawn(tiny_model, tmp_path / "rs", 1, use_rslora=True)
    same = drawn(tiny_model, tmp_path / "same", 1, lora_alpha=16)
    plain = drawn(tiny_model, tmp_path / "plain", 2)
    config = CombineConfig(method=method, weights=[0.6, 0.4], density=0.6)  # type: ignore[arg-type]
    for number, parts in enumerate(([rs, plain], [same, plain], [plain, rs], [plain, same])):
        combine_adapters.combine(str(tiny_model), parts, tmp_path / str(number), config)
    for one, other in (("0", "1"), ("2", "3")):
        here, there = deltas(tiny_model, tmp_path / one), deltas(tiny_model, tmp_path / other)
        assert all(torch.allclose(here[name], there[name], atol=1e-5) for name in here) and here.keys() == there.keys()


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_weights_are_finite(weight: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        CombineConfig(weights=[weight, 1.0])


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
