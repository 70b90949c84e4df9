"""TRL's SFTTrainer with events, a cooperative stop, and checkpoints that a full disk cannot spoil.

Importing this imports torch and TRL.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from engines import checkpoints
from engines.events import emit
from finetune import rows
from finetune.reporter import Reporter, restore_random_state

Loss = Callable[[Any, dict[str, Any], Any], Any]


class Trainer(SFTTrainer):
    """parts: rows to train on and held-out ones. data: the dataset's fingerprint, for the checkpoints' marks.

    kept: how many of the best checkpoints stay beside the newest. loss: instead of the cross-entropy, see
    methods.custom_loss. token_types: the model wants `token_type_ids`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        arguments: Any,
        adapter: Any,
        parts: tuple[rows.Encoded, rows.Encoded],
        data: str,
        reporter: Reporter,
        *,
        kept: int,
        loss: Loss | None = None,
        token_types: bool = False,
    ):
        self.data = data
        self.kept = kept
        self.loss = loss
        super().__init__(
            model=model,
            args=arguments,
            processing_class=tokenizer,
            train_dataset=_dataset(parts[0]),
            eval_dataset=_dataset(parts[1]) if parts[1].input_ids else None,
            data_collator=(CollatorWithTokenTypes if token_types else DataCollatorForLanguageModeling)(
                pad_token_id=tokenizer.pad_token_id
            ),
            peft_config=adapter,
        )
        self.remove_callback(PrinterCallback)  # the Reporter prints the same figures as events
        self.reporter = reporter
        self.add_callback(reporter)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if self.loss is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        mode = "train" if self.model.training else "eval"
        if mode == "train":
            self._total_train_tokens += int(inputs["attention_mask"].sum())
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
        return self.loss(model, inputs, num_items_in_batch)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        folder = Path(self.args.output_dir) / f"checkpoint-{step}"
        if checkpoints.read_mark(folder) is not None:
            return  # a stop inside the next step: this one stands already
        if self.reporter.stopped_inside_step is not None:
            restore_random_state(self.reporter.stopped_inside_step)
        try:
            super()._save_checkpoint(model, trial)
            checkpoints.mark_complete(folder, step=step, data=self.data, eval_loss=self.eval_loss_at(step))
            checkpoints.keep_best(folder.parent, self.kept)
        except Exception as error:
            if not checkpoints.is_disk_full(error):
                raise
            shutil.rmtree(folder, ignore_errors=True)
            emit("warning", text=f"the disk is full: no checkpoint at step {step}; training goes on")
            return
        emit("checkpoint", step=step, path=str(folder))

    def eval_loss_at(self, step: int) -> float | None:
        """The held-out loss that was measured after `step`."""
        entries = (entry for entry in self.state.log_history if entry.get("step") == step)
        return next((entry["eval_loss"] for entry in entries if "eval_loss" in entry), None)


class CollatorWithTokenTypes(DataCollatorForLanguageModeling):
    """Adds `token_type_ids`: all text, no image."""

    def torch_call(self, examples: list[Any]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        batch["token_type_ids"] = batch["input_ids"].new_zeros(batch["input_ids"].shape)
        return batch


def _dataset(part: rows.Encoded) -> Dataset:
    return Dataset.from_dict({"input_ids": part.input_ids, "labels": part.labels})
