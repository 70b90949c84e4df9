"""AdamW for weights that are kept in bf16 alone.

bf16 has 8 significant bits: a step smaller than 1/512 of a weight changes nothing when it is rounded to nearest,
and a learning rate of 2e-6 asks for no larger ones; the second moment stands still likewise. Rounded up or down by
chance, in proportion to the distance, every step counts on average (stochastic rounding; Gupta et al. 2015,
"Deep Learning with Limited Numerical Precision"). State: 4 bytes a parameter, as with bf16 moments elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


def round_by_chance(values: torch.Tensor) -> torch.Tensor:
    """fp32 to bf16, up or down with probabilities that make it right on average."""
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint_like(bits, 0, 1 << 16)
    rounded = (bits + noise) & ~0xFFFF  # the low 16 bits are what bf16 has not
    finite = torch.isfinite(values)
    return torch.where(finite, rounded.view(torch.float32), values).to(torch.bfloat16)


class Bf16AdamW(torch.optim.Optimizer):
    """Decoupled weight decay (Loshchilov and Hutter 2019), moments and weights in bf16, arithmetic in fp32."""

    def __init__(
        self,
        parameters: Iterable[torch.Tensor],
        lr: float,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step, tensor by tensor: what is in fp32 is as large as the largest tensor."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group)

    def _step(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
        state["step"] += 1
        count, (beta, beta_square) = float(state["step"]), group["betas"]
        gradient = parameter.grad.float()
        mean = state["mean"].float().lerp_(gradient, 1 - beta)
        square = state["square"].float().mul_(beta_square).addcmul_(gradient, gradient, value=1 - beta_square)
        size = (square / (1 - beta_square**count)).sqrt_().add_(group["eps"])
        weights = parameter.float().mul_(1 - group["lr"] * group["weight_decay"])
        weights.addcdiv_(mean, size, value=-group["lr"] / (1 - beta**count))
        for target, values in ((state["mean"], mean), (state["square"], square), (parameter, weights)):
            target.copy_(round_by_chance(values))
