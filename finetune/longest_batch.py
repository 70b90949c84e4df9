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
    """What one forward and backward pass over the longest batch took. memory: the peak so far, in bytes."""

    tokens: int
    seconds: float
    memory: int

    @property
    def seconds_per_token(self) -> float:
        return self.seconds / self.tokens


def run(trainer: Any, *, fill: bool = True) -> Probe:
    """Pass the longest batch forwards and backwards twice; the second time counts. Changes nothing that is learned.

    Where the trainer computes packs of rows side by side, the longest rows fill all of them, once;
    without `fill` one of them, for a device where too much memory cannot be caught anyway.
    Raises UserError if it does not fit into the device's memory.
    """
    import torch

    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    chosen = order[: trainer.args.per_device_train_batch_size]
    most = trainer.step.most_tokens if fill and trainer.step else 0
    while len(chosen) < len(order) and sum(lengths[at] for at in chosen) < most:
        chosen.append(order[len(chosen)])
    drawn = random_state()
    trainer.model.train()
    try:
        for _ in range(1 if trainer.step else 2):
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


def _pass_through(trainer: Any, batch: dict[str, Any]) -> None:
    if trainer.step:
        trainer.step.gradients(unpadded(batch, trainer.args.device), 1.0, trainer.accelerator.backward)
        return
    inputs = trainer._prepare_inputs(batch)
    with trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(trainer.model, inputs)
    trainer.accelerator.backward(loss)
