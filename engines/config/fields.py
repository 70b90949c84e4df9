"""Parameters that several jobs have in common: title, bounds and help, once. The default is each job's own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Device = Annotated[
    str, Field(title="Device", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
]
LoraRank = Annotated[int, Field(title="LoRA rank", ge=1, le=1024, description="Size of the adapter")]
LoraAlpha = Annotated[
    float, Field(title="LoRA alpha", gt=0, description="Strength of the adapter; scale is alpha / rank")
]
LoraDropout = Annotated[
    float, Field(title="LoRA dropout", ge=0, lt=1, description="Share of adapter inputs dropped in training")
]
WarmupRatio = Annotated[
    float, Field(title="Warm-up", ge=0, le=1, description="Share of the steps in which the learning rate rises")
]
WeightDecay = Annotated[float, Field(title="Weight decay", ge=0, le=1, description="AdamW weight decay")]
GradientCheckpointing = Annotated[
    bool, Field(title="Gradient checkpointing", description="Less memory for about a third more time")
]
