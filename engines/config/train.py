"""The parameters of a training, and the presets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.config.fields import (
    Device,
    GradientCheckpointing,
    LoraAlpha,
    LoraDropout,
    LoraRank,
    WarmupRatio,
    WeightDecay,
)
from engines.config.job import JobConfig, unit
from engines.contract.errors import UserError

EMBEDDED_MODEL = "embedded"
EMBEDDED_FOLDER = "smollm2-135m-instruct"  # finetune/embedded_model.py makes it when it is missing
DEFAULT_GPU_MODEL = "Qwen/Qwen2.5-7B-Instruct"


class TrainConfig(JobConfig):
    """How an adapter is trained. The defaults are the preset Standard."""

    base_model: Annotated[
        str,
        Field(
            title="Base model",
            min_length=1,
            description="auto (Qwen2.5-7B-Instruct on a GPU, embedded on a CPU), a folder, a .gguf or a hub name",
        ),
    ] = "auto"
    method: Annotated[
        Literal["lora", "full"],
        Field(title="Method", description="lora: an adapter on a frozen base; full: all weights, for small models"),
    ] = "lora"
    lora_rank: LoraRank = 8
    lora_alpha: LoraAlpha = 16
    lora_dropout: LoraDropout = 0.05
    target_modules: Annotated[
        list[str],
        Field(title="Target modules", min_length=1, description="Layers that get an adapter, or all-linear"),
    ] = ["q_proj", "k_proj", "v_proj"]
    use_rslora: Annotated[bool, Field(title="rsLoRA", description="Scale by alpha / √rank, steadier at high ranks")] = (
        False
    )
    use_dora: Annotated[
        bool, Field(title="DoRA", description="Learn magnitude and direction apart; slower, few servers load it")
    ] = False
    batch_size: Annotated[
        int, Field(title="Batch size", ge=1, json_schema_extra=unit("rows"), description="Rows in memory at once")
    ] = 1
    gradient_accumulation_steps: Annotated[
        int,
        Field(
            title="Accumulation",
            ge=1,
            json_schema_extra=unit("batches"),
            description="Batches per optimizer step; batch size × accumulation rows are learned from at once",
        ),
    ] = 64
    learning_rate: Annotated[float, Field(title="Learning rate", gt=0, le=1, description="Peak, after the warm-up")] = (
        2e-4
    )
    num_epochs: Annotated[
        float, Field(title="Epochs", gt=0, le=1000, description="How often the whole dataset is gone through")
    ] = 1
    max_steps: Annotated[
        int,
        Field(
            title="Step limit",
            ge=0,
            json_schema_extra=unit("steps"),
            description="End after this many optimizer steps; 0: the epochs decide",
        ),
    ] = 0
    max_seq_length: Annotated[
        int,
        Field(
            title="Max length",
            ge=16,
            json_schema_extra=unit("tokens"),
            description="Longer dialogs lose whole turns at their end, counted and reported",
        ),
    ] = 768
    warmup_ratio: WarmupRatio = 0.03
    weight_decay: WeightDecay = 0.01
    lr_schedule: Annotated[
        Literal["linear", "cosine", "constant"],
        Field(title="Schedule", description="How the learning rate goes on after the warm-up"),
    ] = "linear"
    optimizer: Annotated[
        Literal["auto", "adamw", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"],
        Field(title="Optimizer", description="auto: what the model's family needs, else adamw; 8bit: less memory"),
    ] = "auto"
    max_grad_norm: Annotated[
        float, Field(title="Gradient clip", ge=0, description="Longest gradient that is followed; 0: no limit")
    ] = 1.0
    text_template: Annotated[
        str,
        Field(
            title="Text template",
            max_length=4000,
            description="Instead of the chat template, e.g. ### Question: {user} ### Answer: {assistant}; "
            "merged models, the light server and the chat keep to it",
        ),
    ] = ""
    loss: Annotated[
        str,
        Field(
            title="Loss",
            pattern=r"^$|^[\w./~-]+:\w+$",
            description="package.module:function or FILE.py:function; empty: cross-entropy of the answers",
        ),
    ] = ""
    gradient_checkpointing: GradientCheckpointing = True
    precision: Annotated[
        Literal["auto", "bf16", "fp16", "fp32"],
        Field(
            title="Precision",
            description="auto: bf16 where the device computes it fast, else fp16 on a GPU, fp32 on a CPU",
        ),
    ] = "auto"
    quantization: Annotated[
        Literal["auto", "nf4", "none"],
        Field(
            title="Quantization",
            description="nf4: the base model in 4 bit (QLoRA), of lora alone; auto: nf4 on a GPU, none on a CPU",
        ),
    ] = "auto"
    logging_steps: Annotated[
        int,
        Field(title="Log every", ge=1, json_schema_extra=unit("steps"), description="How often figures are reported"),
    ] = 1
    save_steps: Annotated[
        int,
        Field(
            title="Save and evaluate every",
            ge=1,
            json_schema_extra=unit("steps"),
            description="How often a checkpoint is written and the held-out part is evaluated",
        ),
    ] = 200
    keep_checkpoints: Annotated[
        int,
        Field(
            title="Checkpoints kept",
            ge=1,
            le=100,
            description="The best by the held-out loss, with optimizer; the newest one is always kept too",
        ),
    ] = 2
    use_best: Annotated[
        bool,
        Field(title="Take the best", description="The result is the checkpoint of the lowest held-out loss"),
    ] = True
    early_stopping: Annotated[
        int,
        Field(
            title="Early stopping",
            ge=0,
            json_schema_extra=unit("evaluations"),
            description="End after so many evaluations without a lower held-out loss; 0: never",
        ),
    ] = 0
    sample_prompts: Annotated[
        list[str],
        Field(title="Sample prompts", description="Answered at each evaluation; empty: two held-out questions"),
    ] = []
    sample_tokens: Annotated[
        int,
        Field(
            title="Sample length",
            ge=0,
            le=2048,
            json_schema_extra=unit("tokens"),
            description="Longest sample answer; 0: no samples",
        ),
    ] = 32
    report_to: Annotated[
        Literal["none", "wandb", "trackio"],
        Field(title="Report to", description="Also send figures to a service of yours; TensorBoard files are local"),
    ] = "none"
    eval_share: Annotated[
        float,
        Field(
            title="Held-out share",
            ge=0,
            le=0.5,
            description="Share of the conversations kept for evaluation, the same ones in every run",
        ),
    ] = 0.1
    seed: Annotated[
        int, Field(title="Seed", ge=0, le=2**32 - 1, description="Order of rows, dropout, first weights")
    ] = 42
    device: Device = "auto"

    @property
    def rows_per_step(self) -> int:
        """Rows from which the weights are changed once."""
        return self.batch_size * self.gradient_accumulation_steps


def check_together(config: TrainConfig) -> None:
    """Raises UserError for parameters of which one makes nothing of the other."""
    if config.method == "full" and config.quantization == "nf4":
        raise UserError(
            "usage",
            "weights in 4 bit cannot be trained: method full does not go with quantization nf4",
            "Set quantization to none, or method to lora.",
        )


PRESETS: dict[str, TrainConfig] = {
    "quick": TrainConfig(lora_rank=4, lora_alpha=8, gradient_accumulation_steps=32, num_epochs=1, max_seq_length=512),
    "standard": TrainConfig(),
    "thorough": TrainConfig(
        lora_rank=16, lora_alpha=32, gradient_accumulation_steps=128, num_epochs=2, max_seq_length=1024
    ),
    "demo": TrainConfig(
        base_model=EMBEDDED_MODEL,
        gradient_accumulation_steps=4,
        learning_rate=1e-3,
        num_epochs=1.5,
        max_seq_length=512,
        gradient_checkpointing=False,
        save_steps=25,
        device="cpu",
    ),
}


def preset(name: str) -> TrainConfig:
    """A copy of the preset `name`. Raises UserError for an unknown one."""
    try:
        return PRESETS[name.lower()].model_copy(deep=True)
    except KeyError:
        raise UserError("usage", f"there is no preset {name!r}", f"Presets: {', '.join(PRESETS)}.") from None
