"""The parameters of a server that is started here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.config.fields import Device
from engines.config.job import JobConfig, only_for, unit


class ServeConfig(JobConfig):
    """How a server is started. It listens on 127.0.0.1 alone, whatever is set here."""

    kind: Annotated[
        Literal["light", "vllm", "llama-server"],
        Field(
            title="Server",
            description="light: transformers and peft, for trying things; vllm: for load, after `ftui setup vllm`; "
            "llama-server: llama.cpp's, small and fast without a GPU, after `ftui setup llama`",
        ),
    ] = "light"
    base_model: Annotated[
        str,
        Field(
            title="Base model",
            min_length=1,
            description="auto (the active adapter's, else embedded on a CPU), embedded, a folder or a hub name",
        ),
    ] = "auto"
    port: Annotated[
        int,
        Field(title="Port", ge=0, le=65535, description="On 127.0.0.1; 0: the first free one from 8000 on"),
    ] = 0
    device: Device = "auto"
    precision: Annotated[
        Literal["auto", "bf16", "fp16", "fp32"],
        Field(
            title="Precision",
            json_schema_extra=only_for("light", "vllm"),
            description="auto: what the device computes fast",
        ),
    ] = "auto"
    quantization: Annotated[
        Literal["auto", "nf4", "none"],
        Field(
            title="Quantization",
            json_schema_extra=only_for("light", "vllm"),
            description="nf4: the base model in 4 bit; auto: nf4 on a GPU, as in training, none on a CPU; "
            "vllm takes one that is quantised already as it is",
        ),
    ] = "auto"
    max_lora_rank: Annotated[
        int,
        Field(
            title="Highest rank",
            ge=0,
            le=512,
            json_schema_extra=only_for("vllm"),
            description="vllm: of any adapter, rounded up to one that it knows; 0: what the adapters of this base "
            "model need, at least 16",
        ),
    ] = 0
    max_loras: Annotated[
        int,
        Field(
            title="Adapters at once",
            ge=2,
            le=32,
            json_schema_extra={**unit("adapters"), **only_for("vllm")},
            description="vllm: in one batch; a switch needs two",
        ),
    ] = 2
    max_model_len: Annotated[
        int,
        Field(
            title="Context",
            ge=0,
            json_schema_extra={**unit("tokens"), **only_for("vllm", "llama-server")},
            description="vllm, llama-server: prompt and answer together; 0: 4096, or less if the model takes less",
        ),
    ] = 0
    gpu_memory_share: Annotated[
        float,
        Field(
            title="GPU memory",
            gt=0,
            le=1,
            json_schema_extra=only_for("vllm"),
            description="vllm: share of the GPU's memory that it takes",
        ),
    ] = 0.85
    kv_cache_gb: Annotated[
        int,
        Field(
            title="Cache on a CPU",
            ge=1,
            json_schema_extra={**unit("GB"), **only_for("vllm")},
            description="vllm without a GPU: memory for what it has computed of dialogs",
        ),
    ] = 1
    gguf_weights: Annotated[
        Literal["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m"],
        Field(
            title="GGUF weights",
            json_schema_extra=only_for("llama-server"),
            description="llama-server: how the base model is written for it, once",
        ),
    ] = "q8_0"
