"""The parameters of a voice: its samples, its training, and what each epoch is tried on. Saved as tts_config.json."""

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

DEFAULT_VOICE_MODEL = "Qwen/Qwen3-TTS-12Hz-1.7B-Base"
TINY_VOICE_MODEL = "tiny"  # tts/tiny_model.py makes it when it is missing: real architecture, random weights
TINY_FOLDER = "qwen3-tts-tiny-random"
SAFE_LEARNING_RATE = 5e-6  # above it a full training of the real models has been reported to end in noise


class VoiceConfig(JobConfig):
    """From recordings to a voice."""

    voice_name: Annotated[
        str, Field(title="Voice name", min_length=1, max_length=80, description="Folder and speaker name of the voice")
    ] = "my_voice"
    whisper_model: Annotated[
        str,
        Field(
            title="Whisper model",
            min_length=1,
            description="Writes transcripts and listens to each epoch: tiny, base, small, medium, large-v3, turbo, "
            "or a folder",
        ),
    ] = "large-v3"
    language: Annotated[
        str,
        Field(title="Language", pattern=r"^(auto|[a-z]{2,3})$", description="Of the speech: auto, or ru, en, de …"),
    ] = "auto"
    min_duration_sec: Annotated[
        float,
        Field(title="Shortest clip", ge=0, json_schema_extra=unit("s"), description="Shorter clips are left out"),
    ] = 1.0
    max_duration_sec: Annotated[
        float,
        Field(title="Longest clip", gt=0, json_schema_extra=unit("s"), description="Longer clips are left out"),
    ] = 30.0
    reference: Annotated[
        str,
        Field(
            title="Reference clip",
            description="File name of the clip that gives the voice its speaker; empty: the best one is chosen",
        ),
    ] = ""
    eval_share: Annotated[
        float,
        Field(title="Held-out share", ge=0, le=0.5, description="Share of the clips kept for evaluation"),
    ] = 0.1
    base_model: Annotated[
        str,
        Field(
            title="Base model",
            min_length=1,
            description="A Qwen3-TTS 12 Hz Base model: a folder, a hub name, or tiny (random weights, for trying out)",
        ),
    ] = DEFAULT_VOICE_MODEL
    method: Annotated[
        Literal["lora", "full"],
        Field(title="Method", description="lora: small matrices beside frozen weights; full: all weights"),
    ] = "lora"
    lora_rank: LoraRank = 16
    lora_alpha: LoraAlpha = 32
    lora_dropout: LoraDropout = 0.0
    freeze_text_embedding: Annotated[
        bool,
        Field(title="Freeze text embedding", description="Full training leaves the text embedding as it is: 2 GB less"),
    ] = True
    optimizer: Annotated[
        Literal["adamw", "adamw8bit"],
        Field(title="Optimizer", description="adamw8bit keeps its state in 8 bit (bitsandbytes, GPU)"),
    ] = "adamw"
    batch_size: Annotated[
        int, Field(title="Batch size", ge=1, json_schema_extra=unit("clips"), description="Clips in memory at once")
    ] = 2
    gradient_accumulation_steps: Annotated[
        int,
        Field(
            title="Accumulation",
            ge=1,
            json_schema_extra=unit("batches"),
            description="Batches per optimizer step; batch size × accumulation clips are learned from at once",
        ),
    ] = 4
    learning_rate: Annotated[
        float,
        Field(
            title="Learning rate",
            gt=0,
            le=1,
            description="Peak, after the warm-up. For a full training 2e-6 is what works",
        ),
    ] = 2e-5
    num_epochs: Annotated[
        int, Field(title="Epochs", ge=1, le=100, description="How often all clips are gone through; each can be heard")
    ] = 3
    warmup_ratio: WarmupRatio = 0.05
    schedule: Annotated[
        Literal["cosine", "linear", "constant"],
        Field(title="Schedule", description="How the learning rate goes on after the warm-up"),
    ] = "cosine"
    weight_decay: WeightDecay = 0.01
    max_grad_norm: Annotated[
        float, Field(title="Gradient clip", gt=0, description="Gradients longer than this are shortened to it")
    ] = 1.0
    sub_talker_weight: Annotated[
        float,
        Field(title="Sub-talker weight", ge=0, description="Share of the codebooks 2 to 16 in the loss"),
    ] = 0.3
    gradient_checkpointing: GradientCheckpointing = True
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        Field(title="Precision", description="auto: bf16 on a GPU that computes it, else fp32"),
    ] = "auto"
    attention: Annotated[
        Literal["auto", "flash", "sdpa", "eager"],
        Field(title="Attention", description="auto: flash-attn where it is installed, else sdpa"),
    ] = "auto"
    save_steps: Annotated[
        int,
        Field(
            title="Save every",
            ge=1,
            json_schema_extra=unit("steps"),
            description="How often a point to resume from is written; the end of an epoch always is one",
        ),
    ] = 200
    preview_sentences: Annotated[
        list[str],
        Field(
            title="Preview sentences",
            json_schema_extra={"separator": "|"},
            description="Spoken after each epoch and by zero-shot cloning; none: no preview",
        ),
    ] = [
        "Today the weather is fine, and we are going for a walk.",
        "How much does delivery cost, and how long does it take?",
    ]
    seed: Annotated[int, Field(title="Seed", ge=0, le=2**32 - 1, description="Order of clips, first LoRA weights")] = 42
    device: Device = "auto"
    output_dir: Annotated[
        str,
        Field(
            title="Output folder",
            description="Where the voice's epochs go; empty: qwen3-tts/finetuning/ in the workspace",
        ),
    ] = ""
