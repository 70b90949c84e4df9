"""The memory of a training, foretold: against what others published for GPUs, and what grows with what."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks import memory as benchmark
from engines.config.families import USUAL
from engines.config.train import TrainConfig
from engines.llm import LLMEngine
from finetune import memory

LLAMA_8B = {
    "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": False,
}  # fmt: skip
QWEN_7B = {
    "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False,
}  # fmt: skip
QWEN_14B = {
    "vocab_size": 152064, "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 48,
    "num_attention_heads": 40, "num_key_value_heads": 8, "tie_word_embeddings": False,
}  # fmt: skip
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# What is published: torchtune's table (peak memory that torch reserved, in GiB, packed rows of 2 × 2048), and
# LLaMA-Factory's (GB, whole device).
PUBLISHED = [
    ("llama 8B, QLoRA, 2 × 2048", LLAMA_8B, "nf4", 4096, 7.4 * 2**30, False),
    ("llama 8B, LoRA, 2 × 2048", LLAMA_8B, "none", 4096, 16.2 * 2**30, False),
    ("7B, QLoRA", QWEN_7B, "nf4", 1024, 6e9, True),
    ("14B, QLoRA", QWEN_14B, "nf4", 1024, 12e9, True),
    ("7B, LoRA", QWEN_7B, "none", 1024, 16e9, True),
]


def architecture(values: dict[str, Any]) -> Any:
    from transformers import LlamaConfig, Qwen2Config

    return (LlamaConfig if values is LLAMA_8B else Qwen2Config)(**values)


def footprint(values: dict[str, Any], config: TrainConfig, plan: memory.Plan) -> memory.Footprint:
    configuration = architecture(values)
    parameters = memory.count(configuration, config, USUAL)
    return memory.estimate(configuration, config, USUAL, plan, runtime=500 << 20, parameters=parameters)


@pytest.mark.parametrize(("values", "quantization", "tokens", "published", "whole_device"), [p[1:] for p in PUBLISHED],
                         ids=[p[0] for p in PUBLISHED])  # fmt: skip
def test_published_figures_of_gpus_are_met_within_a_quarter(
    values: dict[str, Any], quantization: str, tokens: int, published: float, whole_device: bool
) -> None:
    plan = memory.Plan("cuda:0", "bf16", quantization, tokens)
    found = footprint(values, TrainConfig(target_modules=SEVEN), plan)
    estimated = found.total - (0 if whole_device else found.runtime)
    print(f"{estimated / 1e9:.2f} GB, published {published / 1e9:.2f} GB")
    assert 0.75 < estimated / published < 1.25


def test_models_of_few_layers_are_measured_whole() -> None:
    """Those of some architectures say of each layer what it is, and cannot be made deeper."""
    from transformers import Gemma3TextConfig

    small = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2}
    plan, config = memory.Plan("cpu", "fp32", "none", 256), TrainConfig(gradient_checkpointing=False)
    found = []
    for layers in range(1, 8):
        architecture = Gemma3TextConfig(**small, num_hidden_layers=layers, num_key_value_heads=1, head_dim=32)
        found.append(memory.activations(architecture, config, USUAL, plan))
    growth = [after - before for before, after in pairwise(found)]
    assert min(growth) > 0 and max(growth) < 1.2 * min(growth), found


def test_each_part_follows_what_decides_it() -> None:
    plan = memory.Plan("cuda:0", "bf16", "none", 1024)
    plain = footprint(QWEN_7B, TrainConfig(), plan)
    assert footprint(QWEN_7B, TrainConfig(lora_rank=16), plan).adapter == 2 * plain.adapter
    assert footprint(QWEN_7B, TrainConfig(optimizer="adamw_8bit"), plan).optimizer == plain.optimizer // 4
    assert footprint(QWEN_7B, TrainConfig(gradient_checkpointing=False), plan).activations > 4 * plain.activations
    long = footprint(QWEN_7B, TrainConfig(), memory.Plan("cuda:0", "bf16", "none", 4096))
    assert 3 < long.activations / plain.activations < 5
    four_bit = footprint(QWEN_7B, TrainConfig(), memory.Plan("cuda:0", "bf16", "nf4", 1024))
    assert 0.3 < four_bit.weights / plain.weights < 0.45
    full = footprint(QWEN_7B, TrainConfig(method="full"), plan)
    assert full.weights + full.optimizer > 12 * 7e9


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("capped logits", {}),
        ("capped attention", {}),
        ("plain", {"loss": str(Path("examples/contrastive_loss.py").absolute()) + ":contrastive"}),
    ],
    ids=["in chunks", "rows padded", "a loss of one's own"],
)
def test_logits_that_are_held_whole_are_foretold(
    engine: LLMEngine, embedded_model: Path, tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    """Of 49,000 words, which is most of the memory of a small model: against the peak of a real training."""
    model = benchmark.make_random(kind, embedded_model, tmp_path / "model")
    dataset = tmp_path / "rows_dataset.jsonl"
    benchmark.write_rows(dataset, 60)
    values = {"batch_size": 4, "gradient_accumulation_steps": 1, "max_steps": 2, "base_model": str(model), **changes}
    config = TrainConfig(**{**benchmark.BASE, **values})
    foretold = engine.preflight(engine.datasets.get(str(dataset)), config)["memory"]
    taken = benchmark.trained(engine, dataset, config, tmp_path)
    whole = kind == "capped attention" or bool(changes)
    assert (foretold["activations"] > 4e8) == whole and bool(foretold["logits"]) != whole
    assert 0.8 < foretold["total"] / taken < 1.2, (foretold, taken)
