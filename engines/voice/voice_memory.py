"""The memory that a voice's training takes at its peak, by part, from the shapes of its base model.

A layer keeps, for each position, what its backward pass needs: counted with autograd's hooks on layers of the real
widths in fp32 (see `Layers.kept`); checkpointing keeps the hidden state alone and computes the others again, layer by
layer. `benchmarks/voice_memory.py` compares with real trainings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.config.voice import VoiceConfig
from engines.contract import statefiles

FRAMES_PER_SECOND = 12.5
CODEBOOKS = 16
LOGITS = 3072 + 15 * 2048  # of a frame: talker and sub-talker
LOGIT_COPIES = 4  # fp32: logits, their logarithms, the gradients of both
CHARACTERS_A_TOKEN = 3.0
PREFIX = 11  # positions of a row beside text and frames
RUNTIME = {"cuda": 450 << 20, "cpu": 600 << 20}  # CUDA's context and workspaces; interpreter and libraries
KEPT_MORE = {"bf16": 1.5, "fp32": 1.0}  # norms and rotary embeddings compute in fp32 and keep that


@dataclass(frozen=True)
class Layers:
    """Equal layers of a transformer. Widths: of the hidden state, the MLP, all query heads, all key heads."""

    count: int
    hidden: int
    intermediate: int
    queries: int
    keys: int

    def kept(self, method: str) -> int:
        """Numbers for each position and layer; weights that are trained need their inputs too."""
        hidden, heads = (6, 4) if method == "full" else (4, 3)
        return hidden * self.hidden + 4 * self.intermediate + heads * (self.queries + self.keys)


PREDICTOR = Layers(5, 1024, 3072, 2048, 1024)
KNOWN = {  # talker and code predictor of a base that is not on this machine yet
    "1.7B": (Layers(28, 2048, 6144, 2048, 1024), PREDICTOR),
    "0.6B": (Layers(28, 1024, 3072, 2048, 1024), PREDICTOR),
}


def shapes_of(base: Path | str) -> tuple[Layers, Layers] | None:
    """(talker, code predictor) of the base in a folder, or of a known hub name."""
    talker = statefiles.read_object(Path(base) / "config.json").get("talker_config")
    if isinstance(talker, dict):
        try:
            return _layers(talker), _layers(talker["code_predictor_config"])
        except (KeyError, TypeError, ValueError):
            return None
    return next((shapes for size, shapes in KNOWN.items() if size in str(base)), None)


def _layers(config: dict[str, Any]) -> Layers:
    head = int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
    return Layers(
        int(config["num_hidden_layers"]), int(config["hidden_size"]), int(config["intermediate_size"]),
        int(config["num_attention_heads"]) * head, int(config["num_key_value_heads"]) * head,
    )  # fmt: skip


def activations(
    shapes: tuple[Layers, Layers], config: VoiceConfig, precision: str, seconds: float, characters: float
) -> float:
    """Bytes, at the most, of a batch whose clips all have this length and this many characters."""
    width = (2 if precision == "bf16" else 4) * KEPT_MORE[precision]
    frames = config.batch_size * math.ceil(seconds * FRAMES_PER_SECOND)
    positions = frames + config.batch_size * (PREFIX + math.ceil(characters / CHARACTERS_A_TOKEN))
    talker, predictor = shapes
    rows = ((talker, positions), (predictor, frames * CODEBOOKS))
    if config.gradient_checkpointing:
        kept = sum(layers.count * layers.hidden * count for layers, count in rows)
        kept += max(layers.kept(config.method) * count for layers, count in rows)
    else:
        kept = sum(layers.count * layers.kept(config.method) * count for layers, count in rows)
    return kept * width + frames * LOGITS * LOGIT_COPIES * 4.0
