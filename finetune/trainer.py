"""TRL's SFTTrainer with events, a cooperative stop, and checkpoints that a full disk cannot spoil.

Importing this imports torch and TRL.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from engines.contract import checkpoints
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import stop_requested
from finetune import fast, rows
from finetune.fast.heap import tidy_between_layers
from finetune.fast.packs import Row, unpadded
from finetune.reporter import Reporter, restore_random_state
from finetune.tensorboard_files import TensorBoardFiles

Loss = Callable[[Any, dict[str, Any], Any], Any]


class Trainer(SFTTrainer):
    """parts: rows to train on and held-out ones. data: the dataset's fingerprint, for the checkpoints' marks.

    kept: how many of the best checkpoints stay beside the newest. loss: instead of the cross-entropy, see
    methods.custom_loss.
    """

    step: fast.Step | None = None  # set by speed_up; without it TRL computes
    waiting: list[Row] | None = None  # rows of the optimizer step that is about to be computed

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
    ):
        if adapter is not None and "lm_head" in (adapter.target_modules or ()):
            raise UserError("usage", "an adapter on lm_head cannot be trained", "Leave it out of target_modules.")
        self.data = data
        self.parts = parts
        self.kept = kept
        self.loss = loss
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
        self.reporter = reporter
        self.add_callback(reporter)
        self.add_callback(TensorBoardFiles(Path(arguments.output_dir).parent / "tensorboard"))
        if arguments.activation_checkpointing:  # from the probe on, not only from the first step
            self.model.activation_checkpointing_enable()

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """A share of less than one step is no warm-up: that step would have the rate 0, and a short run few others."""
        if self.args.warmup_steps * num_training_steps < 1:
            self.args.warmup_steps = 0
        return super().create_scheduler(num_training_steps, optimizer)

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

    # --- the fast way: all rows of an optimizer step at once ---

    def speed_up(self, precision: str) -> None:
        """Compute with `finetune.fast` if model and loss allow it. Call before `train`."""
        if self.loss is None:
            self.step = fast.prepare(
                self.model,
                _rows(self.parts[0], self.args.device),
                batch_size=self.args.per_device_train_batch_size,
                rows_per_step=self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps,
                precision=precision,
            )
        if self.args.device.type == "cpu":
            tidy_between_layers(self.model)
        self.model.train()

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.waiting = [row for batch in batches for row in unpadded(batch, self.args.device)]
        return batches, items

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """The first batch of an optimizer step computes all of them; the others have nothing left to do."""
        if self.step is None:
            return super().training_step(model, inputs, num_items_in_batch)
        batch, self.waiting = self.waiting, None
        if not batch:
            return torch.zeros((), device=self.args.device)
        if not model.training:
            model.train()
        self._total_train_tokens += sum(map(len, batch))
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return self.step.gradients(batch, max(1, int(num_items_in_batch)), self.accelerator.backward, self._between)

    def _between(self, done: int, total: int) -> bool:
        """After each pack of a step: say so, and whether to leave the rest, for the reporter will stop the training."""
        self.reporter.tell(done, total, "packs")
        return self.args.gradient_accumulation_steps > 1 and stop_requested()

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """With `step`: the mean loss per learned token of the held-out rows; else as TRL does."""
        began, answers = time.monotonic(), self.reporter.answer_seconds
        metrics = self._evaluated(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        self.reporter.evaluation_seconds += time.monotonic() - began - (self.reporter.answer_seconds - answers)
        return metrics

    def _evaluated(self, *args: Any, metric_key_prefix: str, **kwargs: Any) -> dict[str, float]:
        if self.step is None or args or kwargs.get("eval_dataset") is not None:
            return super().evaluate(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        self.model.eval()
        metrics = {f"{metric_key_prefix}_loss": self.step.mean_loss(_rows(self.parts[1], self.args.device))}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: transformers goes through all parameters for it at every batch, and nobody reads it."""
        return 0

    # --- checkpoints ---

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Go on with the learning rate of this schedule: the checkpoint's may be the end of a shorter one."""
        super()._load_optimizer_and_scheduler(checkpoint)
        schedule = self.lr_scheduler
        if checkpoint is None or not isinstance(schedule, torch.optim.lr_scheduler.LambdaLR):
            return
        begun = zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
        schedule._last_lr = [highest * share(schedule.last_epoch) for highest, share in begun]
        for group, rate in zip(self.optimizer.param_groups, schedule._last_lr, strict=True):
            group["lr"] = rate

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        folder = Path(self.args.output_dir) / f"checkpoint-{step}"
        if checkpoints.read_mark(folder) is not None:
            return  # a stop inside the next step: this one stands already
        if self.reporter.stopped_inside_step is not None:
            restore_random_state(self.reporter.stopped_inside_step)
        try:
            super()._save_checkpoint(model, trial)
            told = {"step": step, "data": self.data, "eval_loss": self.eval_loss_at(step)}
            checkpoints.mark_complete(folder, **told, seconds=self.reporter.seconds())
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


def _dataset(part: rows.Encoded) -> Dataset:
    return Dataset.from_dict({"input_ids": part.input_ids, "labels": part.labels})


def _rows(part: rows.Encoded, device: Any) -> list[Row]:
    return [
        Row(torch.tensor(ids, device=device), torch.tensor(labels, device=device))
        for ids, labels in zip(part.input_ids, part.labels, strict=True)
    ]
