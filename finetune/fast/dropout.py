"""Dropout that follows from a seed of its thread: packs computed side by side come out the same every time."""

from __future__ import annotations

import threading
from typing import Any

import torch

_thread = threading.local()


def seed_thread(seed: int) -> None:
    """Fix what every SeededDropout drops in this thread, until the next call."""
    _thread.seed = seed


class SeededDropout(torch.nn.Module):
    """`torch.nn.Dropout` with its choice drawn from the thread's seed and the layer's number.

    The same seed gives the same choice, also when checkpointing computes a layer again. One draw
    of 64 bits serves four elements, which costs a quarter of torch's own on a CPU; `p` is kept
    to 1 in 65,536.
    """

    def __init__(self, p: float, number: int):
        super().__init__()
        self.p, self.number = p, number
        self.dropped = round(p * (1 << 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.dropped:
            return x
        generator = torch.Generator().manual_seed(_thread.seed + self.number)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64)
        draws.random_(-(1 << 63), None, generator=generator)
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
        kept = (bits >= self.dropped - (1 << 15)).to(x.device)
        result: torch.Tensor = _Drop.apply(x, kept, (1 << 16) / ((1 << 16) - self.dropped))
        return result

    def extra_repr(self) -> str:
        return f"p={self.p}"


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kept: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return x * kept.to(x.dtype).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return gradient * kept.to(gradient.dtype).mul_(ctx.scale), None, None


def seed_dropouts(model: torch.nn.Module) -> int:
    """Put a SeededDropout wherever `model` has a Dropout that drops something; how many."""
    count = 0
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is torch.nn.Dropout and child.p > 0:
                setattr(parent, name, SeededDropout(child.p, count).train(child.training))
                count += 1
    return count


def other_dropouts(model: Any) -> bool:
    """Does the model drop anything by another way than a Dropout module, such as within its attention?"""
    settings = model.config.get_text_config().to_dict()
    return any(
        value for name, value in settings.items() if ("dropout" in name or "pdrop" in name) and isinstance(value, float)
    )
