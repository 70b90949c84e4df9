"""How long a training will take: by a probe of it, or by an earlier run that was like it."""

from __future__ import annotations

import math
from typing import Any

from engines.config.train import TrainConfig
from engines.running.runs import Run, Runs

# Two trainings with the same values of these take about the same time per token.
SAME_SHAPE = (
    "method", "lora_rank", "target_modules", "use_dora", "batch_size", "gradient_checkpointing", "precision",
    "quantization", "optimizer", "loss", "device",
)  # fmt: skip
ALIKE = 2.0  # times as many tokens a row, and a step, at the most


def expected_seconds(runs: Runs, found: dict[str, Any], model: str, config: TrainConfig) -> tuple[float, str] | None:
    """(seconds from start to end, where they are known from): the probe, else the newest run of the same shape.

    found: of finetune/preflight.py.
    """
    if found.get("probe"):
        return seconds_of(found["probe"], found, config), "a probe of the longest batch"
    for run in runs.list("train"):
        if is_like(run, found, model, config):
            return seconds_of(run.result(), found, config), f"run {run.id}"
    return None


def seconds_of(measured: dict[str, Any], found: dict[str, Any], config: TrainConfig) -> float:
    """Of the start, all steps, and what is done after every `save_steps` of them: evaluation, answers, checkpoint."""
    pace = measured["pace"]
    each = pace["save_seconds"] + (pace["answer_seconds"] if config.sample_tokens else 0)
    if found["eval_tokens"] and pace["evaluation_tokens_per_second"]:
        each += found["eval_tokens"] / pace["evaluation_tokens_per_second"]
    times = math.ceil(found["steps"] / config.save_steps)
    return float(pace["start_seconds"] + found["tokens"] / measured["tokens_per_second"] + times * each)


def is_like(run: Run, found: dict[str, Any], model: str, config: TrainConfig) -> bool:
    """Was it of the same model and parameters, with rows and steps of about as many tokens?"""
    result, other = run.result(), run.spec.get("config", {})
    if not result.get("tokens_per_second") or "pace" not in result or run.spec.get("base_model") != model:
        return False
    if any(other.get(name) != value for name, value in config.model_dump().items() if name in SAME_SHAPE):
        return False
    here, there = found["tokens_per_epoch"] / found["rows"], result["pace"]["row_tokens"]
    larger = config.rows_per_step / (other["batch_size"] * other["gradient_accumulation_steps"])
    return all(1 / ALIKE < ratio < ALIKE for ratio in (here / there, here / there * larger))
