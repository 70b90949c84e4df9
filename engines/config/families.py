"""What some families of models need, as a table: nothing about a family stands anywhere else.

A model belongs to the family that its `model_type` names; most need nothing special.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Family:
    """Settings for the models of one architecture.

    sixteen_bit: modules, by name, that NF4 must leave alone and that get no adapter. towers: modules that
    stay frozen in fp32 and get no adapter. optimizer: what `auto` means. learning_rate, warmup_ratio:
    what is known to work, and taken where nobody says another, None if the usual ones do. auto_class:
    the class of transformers that holds all of the model, for loading and for merging. packages: what
    that class imports and our environments do not have by themselves.
    """

    sixteen_bit: tuple[str, ...] = ()
    towers: tuple[str, ...] = ()
    optimizer: str = "adamw"
    learning_rate: float | None = None
    warmup_ratio: float | None = None
    auto_class: str = "AutoModelForCausalLM"
    packages: tuple[str, ...] = ()

    @property
    def apart(self) -> list[str]:
        """Regular expressions, from the start of a module's name, of all that is neither quantised nor adapted."""
        return [rf"(.*\.)?{re.escape(name)}" for name in (*self.sixteen_bit, *self.towers)]

    @property
    def defaults(self) -> dict[str, float]:
        """Parameters of a training that have other defaults than a preset says."""
        values = {"learning_rate": self.learning_rate, "warmup_ratio": self.warmup_ratio}
        return {name: value for name, value in values.items() if value is not None}


USUAL = Family()

# Gemma-3n in 4 bit fails inside altup; at usual learning rates its loss becomes 0 and its gradient NaN;
# merged with a class that holds the text part alone it lacks per_layer_token_embd when it becomes GGUF.
GEMMA3N_TEXT = Family(
    sixteen_bit=("altup", "altup_projections", "altup_unembed_projections", "lm_head"),
    optimizer="paged_adamw_32bit",
    learning_rate=5e-6,
    warmup_ratio=0.1,
)
FAMILIES: dict[str, Family] = {
    "gemma3n": replace(
        GEMMA3N_TEXT,
        towers=("vision_tower", "audio_tower", "embed_vision", "embed_audio"),
        auto_class="Gemma3nForConditionalGeneration",
        packages=("timm", "torchvision"),  # of its vision tower
    ),
    "gemma3n_text": GEMMA3N_TEXT,
    "gemma3": Family(
        sixteen_bit=("lm_head",),
        towers=("vision_tower", "multi_modal_projector"),
        auto_class="Gemma3ForConditionalGeneration",
    ),
}


def family_of(model_type: str) -> Family:
    return FAMILIES.get(model_type, USUAL)


def model_type_of(source: str) -> str:
    """The `model_type` that the folder's config.json names; empty for what is not a folder on this machine."""
    try:
        return str(json.loads((Path(source) / "config.json").read_text(encoding="utf-8")).get("model_type", ""))
    except (OSError, ValueError, AttributeError):
        return ""
