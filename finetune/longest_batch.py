"""The longest batch goes first: what does not fit fails in the first minute, and the speed is known."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from engines.contract.errors import UserError
from finetune.fast.packs import unpadded
from finetune.gauges import peak_memory
from finetune.reporter import random_state, restore_random_state


@dataclass(frozen=True)
class Probe:
    """What one forward and backward pass over the longest rows took. memory: the peak so far, in bytes."""

    tokens: int
    seconds: float
    memory: int

    @property
    def seconds_per_token(self) -> float:
        return self.seconds / self.tokens


def run(trainer: Any, *, quick: bool = False) -> Probe:
    """Pass the longest rows forwards and backwards twice; the second time counts. Changes nothing that is learned.

    Where the trainer computes packs of rows side by side, they fill all of them, as far as an optimizer
    step has so many rows; if `quick` a batch goes into each, and once: on a CPU each pass costs seconds.
    Raises UserError if it does not fit into the device's memory.
    """
    import torch

    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    chosen = longest_rows(trainer, lengths, quick=quick)
    drawn = random_state()
    trainer.model.train()
    try:
        for _ in range(1 if quick and trainer.step else 2):
            batch = trainer.data_collator([trainer.train_dataset[place] for place in chosen])
            began = time.monotonic()
            _pass_through(trainer, batch)
            seconds = time.monotonic() - began
            trainer.model.zero_grad()
    except torch.OutOfMemoryError as error:
        raise UserError(
            "not_ready",
            f"the longest rows ({len(chosen)}, up to {max(lengths)} tokens) do not fit into the memory: "
            f"{str(error)[:120]}",
            "Lower batch_size or max_seq_length, or turn on gradient_checkpointing; `ftui llm check` proposes changes.",
        ) from None
    finally:
        restore_random_state(drawn)
    return Probe(sum(lengths[place] for place in chosen), seconds, peak_memory(trainer.args.device.type))


def longest_rows(trainer: Any, lengths: list[int], *, quick: bool) -> list[int]:
    """The numbers of the rows that are tried: no more than are in memory at once in a training."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    batch, step = trainer.args.per_device_train_batch_size, trainer.step
    if step is None:
        return order[:batch]
    order = order[: batch * trainer.args.gradient_accumulation_steps]
    count = min(len(order), batch * step.side_by_side)
    while not quick and count < len(order) and sum(lengths[at] for at in order[:count]) < step.most_tokens:
        count += 1
    return order[:count]


def _pass_through(trainer: Any, batch: dict[str, Any]) -> None:
    if trainer.step:
        trainer.step.gradients(unpadded(batch, trainer.args.device), 1.0, trainer.accelerator.backward)
        return
    inputs = trainer._prepare_inputs(batch)
    with trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(trainer.model, inputs)
    trainer.accelerator.backward(loss)
