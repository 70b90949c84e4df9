"""What training a voice will cost and whether its parameters make sense for the clips, before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from engines.config.voice import SAFE_LEARNING_RATE, VoiceConfig
from engines.weights import tensor_files

FEW_STEPS = 20
LITTLE_SPEECH, ENOUGH_SPEECH = 3 * 60.0, 30 * 60.0  # seconds
MANY_EPOCHS = 10
ADAPTED = tuple(f"{name}_proj.weight" for name in ("q", "k", "v", "o", "gate", "up", "down"))  # by LoRA
TEXT_EMBEDDING = "talker.model.text_embedding.weight"
# Parameters, for a base that is not on this machine yet (3.6 and 1.7 GiB in bf16): talker, text embedding.
KNOWN = {"1.7B": (1.93e9, 0.311e9), "0.6B": (0.91e9, 0.311e9)}
GIB = 1 << 30


@dataclass(frozen=True)
class Cost:
    """Bytes. memory: parameters, gradients and optimizer, without activations; weights: the parameters alone of it;
    epoch: one exported voice; resume: the points to resume from that stand at the same time."""

    memory: float
    weights: float
    epoch: float
    resume: float
    trained: float  # parameters

    def disk(self, epochs: int) -> float:
        return self.epoch * epochs + self.resume


def steps_per_epoch(clips: int, config: VoiceConfig) -> int:
    """Optimizer steps; the last one of an epoch may have fewer clips."""
    return math.ceil(math.ceil(clips / config.batch_size) / config.gradient_accumulation_steps)


def cost(base: Path | str, config: VoiceConfig, precision: str) -> Cost | None:
    """What a training of the base in a folder, or of a known hub name, needs; None for an unknown one.

    precision: bf16 or fp32. AdamW keeps two numbers a trained parameter in its precision (in 8 bit: one byte
    each), LoRA is fp32 always: 16 bytes a parameter.
    """
    width = 2 if precision == "bf16" else 4
    tensors = tensor_files.read_model(Path(base)) if Path(base).is_dir() else {}
    if tensors:
        sizes = {name: float(math.prod(tensor.shape)) for name, tensor in tensors.items()}
        total, text = sum(sizes.values()), sizes.get(TEXT_EMBEDDING, 0.0)
        talker = sum(size for name, size in sizes.items() if name.startswith("talker."))
        edges = sum(sum(tensor.shape) for name, tensor in tensors.items() if name.endswith(ADAPTED))
        lora = float(config.lora_rank * edges)
    else:
        size_name = next((size for size in KNOWN if size in str(base)), None)
        if size_name is None:
            return None
        total, text = KNOWN[size_name]
        talker, lora = total, config.lora_rank * {"1.7B": 1.19e6, "0.6B": 0.7e6}[size_name]
    if config.method == "lora":
        return Cost(total * width + lora * 16, total * width, total * 2, lora * 12 * 2, lora)
    trained = talker - (text if config.freeze_text_embedding else 0.0)
    state = 2 if config.optimizer == "adamw8bit" else 2 * width
    memory = total * width + trained * (width + state)
    return Cost(memory, total * width, total * 2, trained * (width + state) * 2, trained)


def speech_warnings(seconds: float, clips: int, config: VoiceConfig) -> list[str]:
    """What is worth knowing of the parameters and the amount of speech."""
    found = []
    if seconds < ENOUGH_SPEECH:
        little = "; below 3 min expect a poor voice" if seconds < LITTLE_SPEECH else ""
        found.append(f"{seconds / 60:.1f} min of speech, 30 min are recommended{little}")
    if config.learning_rate > SAFE_LEARNING_RATE:
        found.append(
            f"learning_rate {config.learning_rate:g}: full trainings at 2e-5 have been reported to end in noise or "
            "speech without end; 2e-6 is what works"
        )
    if config.num_epochs > MANY_EPOCHS:
        found.append(f"{config.num_epochs} epochs: more than {MANY_EPOCHS} rarely made a voice better")
    steps = steps_per_epoch(clips, config) * config.num_epochs
    if steps < FEW_STEPS:
        better = max(1, clips * config.num_epochs // (FEW_STEPS * config.batch_size))
        hint = (
            f"; gradient_accumulation_steps {better} gives more" if better < config.gradient_accumulation_steps else ""
        )
        found.append(f"only {steps} optimizer steps{hint}")
    return found
