"""Training the embedded model, against TRL's SFTTrainer as it comes.

    python -m benchmarks.training [--steps 12] [--runs 3] [--rows mixed] [--model FOLDER]

Both do the job of benchmarks/one_training.py. Each run is a process of its own, run in turn; figures are medians
over runs. Ours is the script that `ftui llm train` starts, with the preset `demo`. Prints both loss curves; ends
with 1 where a goal is missed.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.one_training import (
    ROWS_PER_STEP,
    arguments_of,
    compared,
    interleaved,
    sample_config,
    sample_rows,
    with_model,
)
from benchmarks.terminal import report
from engines.config.train import TrainConfig

LEAST_SPEED = 3.0
LEAST_SPEED_PER_CPU = 2.5


def train_with_trl(model: str, folder: Path, config: TrainConfig, seen: Path | None = None) -> None:
    """TRL's SFTTrainer with its own defaults; what is set is what the job is, and use_cpu, which it needs here."""
    import transformers
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from engines.contract.events import emit

    class Printer(transformers.TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                emit("metrics", step=state.global_step, loss=logs["loss"])

    transformers.set_seed(config.seed)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=ROWS_PER_STEP,
            max_steps=config.max_steps,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup_ratio,
            weight_decay=config.weight_decay,
            seed=config.seed,
            data_seed=config.seed,
            logging_steps=1,
            use_cpu=True,
            report_to=[],
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_dict(json.loads((folder / "rows.json").read_text())),
        peft_config=LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=config.target_modules,
            task_type="CAUSAL_LM",
        ),
        callbacks=[Printer()],
    )
    trainer.train()


def compare(steps: int, runs: int, rows_are: str, folder: Path, model: Path) -> int:
    sample_rows(folder, model, sample_config(steps), rows_are)
    trl = [sys.executable, "-m", "benchmarks.training", "--trl", str(folder), "--model", str(model)]
    found = compared(*interleaved(folder, model, steps, runs, "TRL", [*trl, "--steps", str(steps)]))
    ours, theirs = found.peaks["ftui"], found.peaks["TRL"]
    return report(
        [
            ("tokens per second, against TRL", f"{found.wall:.2f} times", f"{LEAST_SPEED}", found.wall >= LEAST_SPEED),
            ("tokens per CPU second", f"{found.cpu:.2f} times", f"{LEAST_SPEED_PER_CPU}",
             found.cpu >= LEAST_SPEED_PER_CPU),
            ("peak memory", f"{ours:.2f} GB", f"{theirs:.2f} GB", ours <= theirs),
            found.row_of_losses(),
        ]
    )  # fmt: skip


def main() -> int:
    arguments = arguments_of(__doc__, "--trl").parse_args()
    if arguments.trl:
        train_with_trl(str(arguments.model), arguments.trl, sample_config(arguments.steps))
        return 0
    return with_model(arguments, partial(compare, arguments.steps, arguments.runs, arguments.rows))


if __name__ == "__main__":
    raise SystemExit(main())
