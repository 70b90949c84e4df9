"""The parameters of an export to GGUF."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.config.job import JobConfig


class ExportConfig(JobConfig):
    """What of an adapter is written for llama.cpp, Ollama and LM Studio."""

    weights: Annotated[
        Literal["q8_0", "f16", "bf16", "adapter"],
        Field(
            title="Weights",
            description="The merged model in 8 or 16 bit, or the adapter alone, to be used beside its base model",
        ),
    ] = "q8_0"
    check: Annotated[
        bool,
        Field(title="Check", description="Load the file and compare it with base and adapter, where memory allows"),
    ] = True
