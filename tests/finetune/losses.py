"""Losses that are easy to tell apart."""

from __future__ import annotations

import time
from typing import Any


def always_seven(model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
    import torch

    return torch.tensor(7.0) + 0 * model(input_ids=inputs["input_ids"]).logits.sum()


def breaks(model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
    """The cross-entropy, until it is not a number any more, after six batches of training."""
    breaks.calls = getattr(breaks, "calls", 0) + model.training  # type: ignore[attr-defined]
    return _cross_entropy(model, inputs, num_items_in_batch) * (float("nan") if breaks.calls > 6 else 1)  # type: ignore[attr-defined]


def slow(model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
    time.sleep(0.25)
    return _cross_entropy(model, inputs, num_items_in_batch)


def _cross_entropy(model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
    import torch

    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    labels = inputs["labels"][:, 1:].flatten()
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels, ignore_index=-100, reduction="sum")
    return losses / ((labels != -100).sum() if num_items_in_batch is None else num_items_in_batch)
