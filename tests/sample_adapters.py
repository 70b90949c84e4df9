"""Adapters and base models made by hand: real files of the real formats, small."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

LAYER = "model.layers.0.self_attn.q_proj"


def write_tensors(path: Path, shapes: dict[str, tuple[int, ...]], fill: bytes = b"\0") -> Path:
    """A safetensors file of F32 tensors, every byte of which is `fill`."""
    entries: dict[str, Any] = {}
    offset = 0
    for name, shape in shapes.items():
        size = 4
        for number in shape:
            size *= number
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    head = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + fill * offset)
    return path


def write_base(folder: Path, width: int = 8) -> Path:
    """A base model of one layer, as far as its files tell."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    write_tensors(folder / "model.safetensors", {f"{LAYER}.weight": (width, width)})
    return folder


def write_adapter(folder: Path, base: str = "some/base", *, rank: int = 2, width: int = 8, **config: Any) -> Path:
    """An adapter as peft saves it, on one layer."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"peft_type": "LORA", "r": rank, "base_model_name_or_path": base, "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(document))
    layer = f"base_model.model.{LAYER}"
    shapes: dict[str, tuple[int, ...]] = {
        f"{layer}.lora_A.weight": (rank, width),
        f"{layer}.lora_B.weight": (width, rank),
    }
    if config.get("use_dora"):
        shapes[f"{layer}.lora_magnitude_vector"] = (width,)
    write_tensors(folder / "adapter_model.safetensors", shapes)
    return folder


def strong_adapter(model: Path, folder: Path, seed: int, rank: int = 4, **config: Any) -> Path:
    """A real adapter whose random weights change every answer of `model`, each seed in its own way.

    config: of peft, such as use_dora.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    adapted = get_peft_model(
        base, LoraConfig(**{"r": rank, "lora_alpha": 4 * rank, "target_modules": ["q_proj", "v_proj"], **config})
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name or "lora_embedding_B" in name:
                parameter.normal_(std=0.5)
            elif "modules_to_save" in name or "token_adapter" in name or name.endswith(".bias"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif "magnitude" in name:  # of DoRA
                parameter.mul_(20)
    adapted.save_pretrained(folder)
    return folder
