"""Cross-entropy over a large vocabulary that never holds the logits of a whole row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from finetune.fast.linear import PackedLinear, packable
from finetune.rows import IGNORED

CHUNK_LOGITS = 1 << 23  # held at once: 32 MB in fp32 or a little more, a size that malloc gives back when it is freed

Product = Callable[[torch.Tensor], torch.Tensor]


def chunked_loss(
    hidden: torch.Tensor, targets: torch.Tensor, head: torch.nn.Module, cap: float | None = None
) -> torch.Tensor:
    """Sum of the negative log-likelihoods of the learned tokens, in nats; fp32, a scalar.

    hidden: [length, width], what the last layer gives; targets: [length], the token that follows
    each position, IGNORED where nothing is learned; head: from width to the vocabulary, any
    module; cap: of the logits, see `capped`. Only learned positions go through the head, a chunk
    at a time. A frozen head's gradient is made along with the loss; another's (trained, or with an
    adapter on it) by computing each chunk again.
    """
    learned = (targets != IGNORED).nonzero().squeeze(1)
    return loss_of_learned(hidden[learned], targets[learned], head, cap)


def capped(logits: torch.Tensor, cap: float | None) -> torch.Tensor:
    """Logits as some models give them, each between -cap and cap; None: as they are."""
    return logits if cap is None else torch.tanh(logits / cap) * cap


def loss_of_learned(
    states: torch.Tensor, targets: torch.Tensor, head: torch.nn.Module, cap: float | None = None
) -> torch.Tensor:
    """The same where every position is learned."""
    back = _backward_of(head)
    if back is not None:
        loss: torch.Tensor = _FrozenHeadLoss.apply(states, targets, head, back, cap)
        return loss
    total = states.float().sum() * 0.0  # a row without learned tokens has a gradient too: zero
    size = _chunk_size(head)
    for some, wanted in zip(states.split(size), targets.split(size), strict=True):
        total = total + checkpoint(_chunk_loss, some, wanted, head, cap, use_reentrant=False, preserve_rng_state=False)
    return total


def _chunk_loss(states: torch.Tensor, targets: torch.Tensor, head: torch.nn.Module, cap: float | None) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(capped(head(states).float(), cap), targets, reduction="sum")


def _backward_of(head: torch.nn.Module) -> Product | None:
    """From the gradient of a frozen head's output to that of its input; None for any other head."""
    if isinstance(head, PackedLinear):
        return head.back
    if packable(head):
        return lambda gradient: gradient.to(head.weight.dtype) @ head.weight
    return None


def _chunk_size(head: torch.nn.Module) -> int:
    return max(16, -(-CHUNK_LOGITS // int(getattr(head, "out_features", 1 << 17))))


class _FrozenHeadLoss(torch.autograd.Function):
    """Loss and gradient of the states in one go: of each chunk, softmax minus one at the target, times the head."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        targets: torch.Tensor,
        head: torch.nn.Module,
        back: Product,
        cap: float | None,
    ) -> torch.Tensor:
        size = _chunk_size(head)
        # Made before the chunks: what is kept among large blocks that come and go tears the heap to pieces.
        gradient = torch.zeros_like(states) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        for start in range(0, len(states), size):
            some, wanted = states[start : start + size], targets[start : start + size]
            logits, slope = head(some).float(), None
            if cap is not None:
                logits = logits.div_(cap).tanh_()
                slope = 1 - logits.square() if gradient is not None else None
                logits *= cap
            logits -= logits.amax(-1, keepdim=True)
            total -= logits.gather(1, wanted[:, None]).sum()
            sums = logits.exp_().sum(-1, keepdim=True)
            total += sums.log().sum()
            if gradient is not None:
                logits /= sums
                logits[torch.arange(len(wanted), device=wanted.device), wanted] -= 1.0
                if slope is not None:
                    logits *= slope
                gradient[start : start + size] = back(logits)
            del logits, slope
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        (states_gradient,) = ctx.saved_tensors
        return states_gradient * gradient, None, None, None, None
