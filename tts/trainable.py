"""Which weights are trained, by which optimizer, at which learning rate."""

from __future__ import annotations

import math
import re
from typing import Any

from engines.config.voice import VoiceConfig
from engines.contract.errors import UserError

# The linear layers of the talker and of the code predictor inside it; their names end a parameter's module path.
LORA_TARGETS = r"talker\.(code_predictor\.)?model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
TEXT_EMBEDDING = "talker.model.text_embedding.weight"


def choose_weights(model: Any, config: VoiceConfig) -> dict[str, Any]:
    """Freeze what is not trained, add LoRA if asked for. Returns the trained parameters by name.

    LoRA's are fp32 whatever the model's precision is: they are few, and small steps would be rounded away.
    """
    model.requires_grad_(False)
    if config.method == "lora":
        from peft import LoraConfig, inject_adapter_in_model

        lora = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=LORA_TARGETS,
            bias="none",
        )
        inject_adapter_in_model(lora, model)
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.data = parameter.data.float()
                parameter.requires_grad_(True)
    else:
        model.talker.requires_grad_(True)
        if config.freeze_text_embedding:
            model.talker.model.text_embedding.requires_grad_(False)
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def checkpoint_gradients(model: Any, wanted: bool) -> None:
    """Compute the layers' activations again in the backward pass instead of keeping them."""
    for part in (model.talker.model, model.talker.code_predictor.model):
        if wanted:
            part.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:
            part.gradient_checkpointing_disable()


def make_optimizer(parameters: dict[str, Any], config: VoiceConfig) -> Any:
    """AdamW over the trained parameters. Raises UserError where the 8-bit one is not possible."""
    import torch

    values = list(parameters.values())
    options: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw8bit":
        if values[0].device.type != "cuda":
            raise UserError("not_ready", "the 8-bit optimizer needs a GPU", "Set optimizer to adamw.")
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(values, **options)
    if values[0].dtype == torch.bfloat16:
        from tts.bf16_adamw import Bf16AdamW

        return Bf16AdamW(values, **options)
    return torch.optim.AdamW(values, **options)


def rate_share(step: int, total: int, config: VoiceConfig) -> float:
    """The share of the learning rate at optimizer step `step` (0 is the first) of `total`."""
    warmup = math.ceil(total * config.warmup_ratio)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    rest = (step - warmup) / max(1, total - warmup)
    return 1.0 - rest if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * rest))


def is_target(module: str) -> bool:
    return re.fullmatch(LORA_TARGETS, module) is not None
