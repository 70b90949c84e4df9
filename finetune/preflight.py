"""What a training will be, before it starts: steps, tokens, what is learned, memory, disk; and what would make it fit.

    python -m finetune.preflight --dataset D_dataset.jsonl --model FOLDER --device cpu --free BYTES \
        [--config CONFIG.json] [--probe DIR]

Loads the tokenizer and the architecture, not the weights; some seconds. With --probe it loads the
weights too and runs the longest batch, in the folder DIR, to measure speed and memory.
"""

from __future__ import annotations

import argparse
import importlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engines.config.families import family_of
from engines.config.job import load
from engines.config.train import TrainConfig
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, write_result
from finetune import base_model, gauges, saving
from finetune.data_figures import describe_data, warnings_of
from finetune.prepared import check_named

USABLE = 0.92  # of the free memory
COMFORTABLE = 0.6
EVALUATION_FASTER = 3  # than training, which has a backward pass of twice the products


class Fitting:
    """The footprint of a training on one model with one dataset, under changing parameters.

    lengths: of the rows, in tokens; of many rows the longest are enough.
    """

    def __init__(self, model: str, device: str, lengths: list[int], config: TrainConfig):
        self.configuration = base_model.configuration(model)
        self.family = family_of(self.configuration.model_type)
        self.device = device
        self.lengths = lengths
        importlib.import_module("finetune.trainer")  # with all that a training holds in memory before its model
        self.runtime = gauges.rss()
        self._counted: dict[str, dict[str, int]] = {}
        self.parameters(config)

    def parameters(self, config: TrainConfig) -> dict[str, int]:
        from finetune import memory

        key = f"{config.method} {config.lora_rank} {config.target_modules} {config.use_dora}"
        if key not in self._counted:
            self._counted[key] = memory.count(self.configuration, config, self.family)
        return self._counted[key]

    def footprint(self, config: TrainConfig) -> Any:
        from finetune import memory

        plan = memory.plan(config, self.configuration, self.device, self.lengths)
        return memory.estimate(
            self.configuration, config, self.family, plan, runtime=self.runtime, parameters=self.parameters(config)
        )


def changes_to_fit(fitting: Fitting, config: TrainConfig, free: int) -> tuple[dict[str, Any], Any]:
    """Changes of parameters after which a training needs no more than the free memory, the least harmful first.

    Returns them with the footprint that they lead to, which may still be too large: then nothing helps.
    """
    changes: dict[str, Any] = {}
    footprint = fitting.footprint(config)
    for step in remedies(config, fitting):
        if footprint.total <= free * USABLE:
            break
        changed = config.model_copy(update={**changes, **step})
        smaller = fitting.footprint(changed)
        if smaller.total < footprint.total * 0.99:
            changes, footprint = {**changes, **step}, smaller
    return changes, footprint


def remedies(config: TrainConfig, fitting: Fitting) -> list[dict[str, Any]]:
    """What can be changed, in the order in which it costs time, exactness and data."""
    steps: list[dict[str, Any]] = []
    if not config.gradient_checkpointing:
        steps.append({"gradient_checkpointing": True})
    batch = config.batch_size
    while batch > 1:
        batch //= 2
        steps.append({"batch_size": batch, "gradient_accumulation_steps": -(-config.rows_per_step // batch)})
    if config.optimizer in ("auto", "adamw"):
        steps.append({"optimizer": "adamw_8bit"})
    if config.method == "full":
        steps.append({"method": "lora", "learning_rate": max(config.learning_rate, 1e-4)})
    if base_model.choose_quantization(config.quantization, fitting.device, config.base_model) == "none":
        steps.append({"quantization": "nf4"})
    length = min(config.max_seq_length, max(fitting.lengths))
    while length > 256:
        length = max(256, length // 2)
        steps.append({"max_seq_length": length})
    return steps


def faster(fitting: Fitting, config: TrainConfig, free: int) -> dict[str, Any]:
    """Changes that cost memory which is there, and save time; empty if there are none."""
    if not config.gradient_checkpointing:
        return {}
    change = {"gradient_checkpointing": False}
    return change if fitting.footprint(config.model_copy(update=change)).total <= free * COMFORTABLE else {}


def probe(arguments: argparse.Namespace, config: TrainConfig) -> dict[str, Any]:
    """Load the model and run the longest batch. Returns tokens_per_second, memory, pace as a training tells it."""
    from finetune import longest_batch, prepared

    began = time.monotonic()
    ready = prepared.prepare(arguments.dataset, arguments.model, config, arguments.probe)
    gauges.reset_peak()
    found = longest_batch.run(ready.trainer)
    speed, loaded = 1 / found.seconds_per_token, time.monotonic()
    for prompt in ready.trainer.reporter.prompts:
        ready.trainer.reporter.answer(prompt)
    return {
        "tokens_per_second": speed,
        "memory": found.memory,
        "pace": {
            "start_seconds": loaded - began,
            "save_seconds": 0.0,
            "answer_seconds": time.monotonic() - loaded,
            "evaluation_tokens_per_second": EVALUATION_FASTER * speed,
        },
    }


def preflight(arguments: argparse.Namespace) -> dict[str, Any]:
    config = load(TrainConfig, arguments.config).model_copy(update={"device": arguments.device})
    check_named(config)
    base_model.check_packages(base_model.configuration(arguments.model).model_type, arguments.model)
    emit("phase", name="read", text="reading the dataset")
    tokenizer = base_model.load_tokenizer(arguments.model, config.text_template)
    figures, lengths = describe_data(arguments.dataset, tokenizer, config)
    emit("phase", name="memory", text="measuring the architecture")
    fitting = Fitting(arguments.model, arguments.device, lengths, config)
    footprint = fitting.footprint(config)
    trained, files = fitting.parameters(config)["trained"], saving.tokenizer_bytes(tokenizer)
    changes, after = changes_to_fit(fitting, config, arguments.free)
    fits = footprint.total <= arguments.free * USABLE
    warnings = warnings_of(figures, config)
    if arguments.probe and not fits:
        warnings.append("it was not probed, for it does not fit: a machine without memory may stop other programs")
    return {
        **figures,
        "warnings": warnings,
        "memory": {**asdict(footprint), "total": footprint.total, "free": arguments.free},
        "fits": fits,
        "changes": changes,
        "memory_after_changes": after.total,
        "fits_after_changes": after.total <= arguments.free * USABLE,
        "faster": faster(fitting, config, arguments.free),
        "trained_parameters": trained,
        "parameters": fitting.parameters(config)["all"],
        "result_bytes": saving.result_bytes(trained, files),
        "disk_bytes": saving.space_needed(trained, config.keep_checkpoints, files),
        "probe": probe(arguments, config) if arguments.probe and fits else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Say what a training will be, before it starts.")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--free", type=int, required=True, help="bytes of the device's memory that can be had")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--probe", type=Path, help="also run the longest batch, in this folder")
    arguments = parser.parse_args()
    if arguments.free <= 0:
        raise UserError("usage", "--free must be positive", "Give the free memory in bytes.")
    write_result("done", **preflight(arguments))


if __name__ == "__main__":
    run_script(main)
