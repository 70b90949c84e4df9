"""TRL's SFTTrainer with events, a cooperative stop, and checkpoints that a full disk cannot spoil.

Importing this imports torch and TRL.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from engines import checkpoints
from engines.events import emit
from engines.run_protocol import stop_requested
from finetune import rows


class Trainer(SFTTrainer):
    """parts: rows to train on and held-out ones. data: the dataset's fingerprint, for the checkpoints' marks."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        arguments: Any,
        adapter: Any,
        parts: tuple[rows.Encoded, rows.Encoded],
        data: str,
    ):
        self.data = data
        super().__init__(
            model=model,
            args=arguments,
            processing_class=tokenizer,
            train_dataset=_dataset(parts[0]),
            eval_dataset=_dataset(parts[1]) if parts[1].input_ids else None,
            data_collator=DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id),
            peft_config=adapter,
        )
        self.remove_callback(PrinterCallback)  # the Reporter prints the same figures as events
        self.add_callback(Reporter())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            checkpoints.mark_complete(folder, step=self.state.global_step, data=self.data)
        except Exception as error:
            if not checkpoints.is_disk_full(error):
                raise
            shutil.rmtree(folder, ignore_errors=True)
            emit("warning", text=f"the disk is full: no checkpoint at step {self.state.global_step}; training goes on")
            return
        emit("checkpoint", step=self.state.global_step, path=str(folder))


class Reporter(TrainerCallback):
    """Prints the figures as events and reads the stop request."""

    training_seconds = 0.0
    began = 0.0
    tokens_before = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.training_seconds += time.monotonic() - self.began
        if stop_requested():
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if "train_runtime" in logs:
            return
        figures: dict[str, Any] = {
            key: logs[key] for key in ("epoch", "loss", "learning_rate", "grad_norm", "eval_loss") if key in logs
        }
        if "loss" in logs and "num_tokens" in logs and self.training_seconds:
            figures["tokens_per_second"] = (logs["num_tokens"] - self.tokens_before) / self.training_seconds
            self.tokens_before, self.training_seconds = logs["num_tokens"], 0.0
        emit("metrics", step=state.global_step, **figures)


def _dataset(part: rows.Encoded) -> Dataset:
    return Dataset.from_dict({"input_ids": part.input_ids, "labels": part.labels})
