"""Looks at the figures of a training and says in words what is wrong. Knows no trainer."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

EXPLODES = 10  # times the usual gradient
USUAL_STEPS = 20
SLOWER = 1.5  # times the probe's time a token
SLOW_STEPS = 5
RISING = 2  # evaluations above the best one


@dataclass
class Watch:
    """Feed it every log of a run with `look`; each trouble is said once.

    seconds_per_token: of the probe, None if there was none.
    """

    total_steps: int
    seconds_per_token: float | None = None
    losses: list[tuple[int, float]] = field(default_factory=list)  # finite ones, of each step
    eval_losses: list[tuple[int, float]] = field(default_factory=list)
    _gradients: deque[float] = field(default_factory=lambda: deque(maxlen=USUAL_STEPS))
    _slow: int = 0
    _zero_since: int | None = None
    _said: set[str] = field(default_factory=set)

    def look(self, step: int, figures: dict[str, Any]) -> list[str]:
        """The warnings that the figures of `step` give rise to."""
        loss, eval_loss = figures.get("loss"), figures.get("eval_loss")
        if loss is not None and math.isfinite(loss):
            self.losses.append((step, loss))
        if eval_loss is not None and math.isfinite(eval_loss):
            self.eval_losses.append((step, eval_loss))
        found = [
            *self._not_a_number(step, loss, figures.get("grad_norm")),
            *self._exploding(step, figures.get("grad_norm")),
            *self._rate_of_zero(step, figures.get("learning_rate")),
            *self._slower(figures.get("tokens_per_second")),
            *(self._overfitting() if eval_loss is not None and self.eval_losses else ()),
        ]
        return [text for key, text in found if not (key in self._said or self._said.add(key))]  # type: ignore[func-returns-value]

    def _not_a_number(self, step: int, loss: float | None, gradient: float | None) -> list[tuple[str, str]]:
        for title, value in (("loss", loss), ("gradient", gradient)):
            if value is not None and not math.isfinite(value):
                text = (
                    f"the {title} is {value} at step {step}: what is learned from here on is worth nothing. "
                    "Stop, and try a lower learning rate, a longer warm-up, or precision bf16 or fp32"
                )
                return [("nan", text)]
        return []

    def _exploding(self, step: int, gradient: float | None) -> list[tuple[str, str]]:
        if gradient is None or not math.isfinite(gradient):
            return []
        usual = median(self._gradients) if len(self._gradients) >= USUAL_STEPS // 2 else None
        self._gradients.append(gradient)
        if usual and gradient > EXPLODES * usual:
            text = f"the gradient explodes: {gradient:.3g} at step {step}, {usual:.3g} before. A lower rate is steadier"
            return [("explodes", text)]
        return []

    def _rate_of_zero(self, step: int, rate: float | None) -> list[tuple[str, str]]:
        if rate is None:
            return []
        if rate != 0 or not 1 < step < self.total_steps:
            self._zero_since = None
        elif self._zero_since is None:
            self._zero_since = step  # a single one may be the end of a schedule that another one goes on from
        else:
            return [("zero", f"the learning rate is 0 since step {self._zero_since}: nothing more is learned")]
        return []

    def _slower(self, tokens_per_second: float | None) -> list[tuple[str, str]]:
        if not self.seconds_per_token or not tokens_per_second:
            return []
        probed = 1 / self.seconds_per_token
        self._slow = self._slow + 1 if tokens_per_second * SLOWER < probed else 0
        if self._slow < SLOW_STEPS:
            return []
        text = (
            f"slower than the probe: {tokens_per_second:.0f} tokens/s against {probed:.0f}. "
            "Something else may be using the device, or it is too hot"
        )
        return [("slow", text)]

    def _overfitting(self) -> list[tuple[str, str]]:
        best_step, best = min(self.eval_losses, key=lambda point: point[1])
        after = [value for step, value in self.eval_losses if step > best_step]
        before = [value for step, value in self.losses if step <= best_step][-USUAL_STEPS:]
        since = [value for step, value in self.losses if step > best_step][-USUAL_STEPS:]
        if len(after) < RISING or not before or not since or mean(since) >= mean(before):
            return []
        text = (
            f"overfitting since step {best_step}: the held-out loss rose from {best:.3f} to {after[-1]:.3f} while the "
            f"training loss fell from {mean(before):.3f} to {mean(since):.3f}. The best checkpoint is that of step "
            f"{best_step}"
        )
        return [(f"overfitting {best_step}", text)]


def evaluations_without_gain(log: list[dict[str, Any]]) -> int:
    """How many evaluations in a trainer's log have passed since the lowest held-out loss; NaN is higher than any."""
    measured = [entry["eval_loss"] for entry in log if "eval_loss" in entry]
    losses = [loss if math.isfinite(loss) else math.inf for loss in measured]
    return len(losses) - 1 - min(range(len(losses)), key=losses.__getitem__) if losses else 0
