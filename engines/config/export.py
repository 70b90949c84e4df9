"""The parameters of exports: GGUF, AWQ and GPTQ, ONNX."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.config.job import JobConfig, unit

Check = Annotated[
    bool,
    Field(title="Check", description="Load what was written and compare it with base and adapter, where memory allows"),
]


class GgufConfig(JobConfig):
    """What of an adapter is written for llama.cpp, Ollama and LM Studio."""

    weights: Annotated[
        Literal["q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "f16", "bf16", "adapter"],
        Field(
            title="Weights",
            description="The merged model in so many bits, or the adapter alone, to be used beside its base model",
        ),
    ] = "q8_0"
    check: Check = True

    @property
    def quantised_by_llama(self) -> bool:
        """Is it a type that llama.cpp's own quantizer has to write?"""
        return "_k" in self.weights


class AwqConfig(JobConfig):
    """How base and adapter become a model of 4 bit for vLLM."""

    method: Annotated[
        Literal["awq", "gptq"],
        Field(title="Method", description="awq scales what matters before rounding; gptq evens out what rounding did"),
    ] = "awq"
    bits: Annotated[
        Literal["4", "8"], Field(title="Bits", description="Of a weight; some more are spent on each group’s scale")
    ] = "4"
    group_size: Annotated[
        Literal["auto", "128", "64", "32"],
        Field(title="Group size", description="Weights that share a scale; auto: the largest that divides the layers"),
    ] = "auto"
    samples: Annotated[
        int,
        Field(title="Samples", ge=1, le=4096, description="Rows of the dataset's training part to calibrate on",
              json_schema_extra=unit("rows")),
    ] = 128  # fmt: skip
    max_length: Annotated[
        int,
        Field(title="Row length", ge=16, le=32768, description="Longer rows lose whole turns from their end",
              json_schema_extra=unit("tokens")),
    ] = 512  # fmt: skip
    check: Check = True


class OnnxConfig(JobConfig):
    """How a base model and its adapters are written for onnxruntime-genai."""

    precision: Annotated[
        Literal["fp32", "int4"],
        Field(title="Precision", description="Of the base; int4 is small, but rounded without looking at a dataset"),
    ] = "fp32"
    check: Check = True
