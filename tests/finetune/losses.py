"""Losses that are easy to tell apart."""

from __future__ import annotations

from typing import Any


def always_seven(model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
    import torch

    return torch.tensor(7.0) + 0 * model(input_ids=inputs["input_ids"]).logits.sum()
