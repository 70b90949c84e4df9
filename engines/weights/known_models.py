"""Base models worth a try: instruct models that can be trained here, small ones first."""

from __future__ import annotations

from dataclasses import dataclass

BYTES = 2  # of a weight in BF16, as all of them are published


@dataclass(frozen=True)
class KnownModel:
    """A model on the hub. parameters: their number, as published; gated: its terms must be accepted there first.

    model_type: where its family has needs of its own, see engines/config/families.py.
    """

    name: str
    parameters: float
    dtype: str = "BF16"
    gated: bool = False
    model_type: str = ""

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return int(self.parameters * BYTES)


KNOWN = (
    KnownModel("HuggingFaceTB/SmolLM2-360M-Instruct", 0.36e9),
    KnownModel("Qwen/Qwen2.5-0.5B-Instruct", 0.49e9),
    KnownModel("google/gemma-3-1b-it", 1.0e9, gated=True),
    KnownModel("meta-llama/Llama-3.2-1B-Instruct", 1.24e9, gated=True),
    KnownModel("Qwen/Qwen2.5-1.5B-Instruct", 1.54e9),
    KnownModel("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.71e9),
    KnownModel("Qwen/Qwen2.5-3B-Instruct", 3.09e9),
    KnownModel("meta-llama/Llama-3.2-3B-Instruct", 3.21e9, gated=True),
    KnownModel("Qwen/Qwen3-4B", 4.0e9),
    KnownModel("google/gemma-3n-E2B-it", 5.44e9, gated=True, model_type="gemma3n"),
    KnownModel("Qwen/Qwen2.5-7B-Instruct", 7.61e9),
    KnownModel("google/gemma-3n-E4B-it", 7.85e9, gated=True, model_type="gemma3n"),
    KnownModel("meta-llama/Llama-3.1-8B-Instruct", 8.03e9, gated=True),
    KnownModel("Qwen/Qwen3-8B", 8.2e9),
)
