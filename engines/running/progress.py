"""How far a run is: its events, one after another, become one state that a panel can show."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from engines.contract.events import Event, number

FIGURES = (
    "epoch", "loss", "eval_loss", "learning_rate", "grad_norm", "tokens_per_second",
    "memory", "utilization", "temperature",
)  # fmt: skip
WARM_UP_STEPS = 1  # the first step of an attempt is slower; it does not count for the ETA when there are more


@dataclass
class Progress:
    """The figures of a run so far. Numbers are None until they are measured."""

    attempt: int = 1
    phase: str = ""
    step: int = 0
    total_steps: int | None = None
    epoch: float | None = None
    epochs: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    memory: float | None = None
    utilization: float | None = None
    temperature: float | None = None
    done: float = 0
    total: float | None = None
    unit: str = ""
    seconds_per_step: float | None = None
    epoch_end_seconds: float | None = None  # of what follows an epoch's last step, where a script tells it
    started_at: float | None = None
    last_event_at: float | None = None
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    error_code: str = ""
    next_step: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    losses: list[tuple[int, float]] = field(default_factory=list)
    eval_losses: list[tuple[int, float]] = field(default_factory=list)
    samples: list[tuple[int, str, str]] = field(default_factory=list)  # step, prompt, answer
    _clock: list[tuple[int, float]] = field(default_factory=list)  # (step, time) of this attempt
    _ended: int = 0  # epochs whose end is done
    _begun: tuple[float, float] | None = None  # (done, time) when the counting of the phase began

    @classmethod
    def of(cls, events: Iterable[Event]) -> Progress:
        """The state after all of `events`, such as `LogFile(run.log).poll_all()`."""
        progress = cls()
        for event in events:
            progress.apply(event)
        return progress

    def apply(self, event: Event) -> None:
        """Take one event in, whatever it holds. Unknown kinds are passed over."""
        self.last_event_at = number(event, "time") or self.last_event_at
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def eta_seconds(self, now: float | None = None) -> float | None:
        """Seconds to the end, from the rate of this attempt alone; None until it is measured.

        Of a training to its last step and the ends of its epochs, else of the work that is counted.
        """
        now = time.time() if now is None else now
        if self.total_steps is None:
            return self._eta_of_work(now)
        if self.seconds_per_step is None or not self._clock:
            return None
        left = max(0.0, (self.total_steps - self.step) * self.seconds_per_step)
        if self.epoch_end_seconds and self.epochs:
            left += max(0.0, self.epochs - self._ended) * self.epoch_end_seconds
        return max(0.0, left - max(0.0, now - self._clock[-1][1]))

    def _eta_of_work(self, now: float) -> float | None:
        if self._begun is None or not self.total or self.last_event_at is None or self.done <= self._begun[0]:
            return None
        rate = (self.last_event_at - self._begun[1]) / (self.done - self._begun[0])
        return max(0.0, (self.total - self.done) * rate - max(0.0, now - self.last_event_at))

    @property
    def share(self) -> float | None:
        """Done, from 0 to 1, in steps and batches if it trains and else in the script's own unit."""
        if self.total_steps:
            begun = self.done / self.total if self.total and self.unit in ("batches", "packs") else 0
            return min(1.0, (self.step + begun) / self.total_steps)
        return min(1.0, self.done / self.total) if self.total else None

    def _on_attempt(self, event: Event) -> None:
        self.attempt = int(number(event, "attempt") or self.attempt + 1)
        self.started_at = number(event, "time")
        self._clock, self.seconds_per_step = [], None
        self.phase, self.done, self.total, self.unit, self._begun = "", 0, None, "", None
        self.error, self.error_code, self.next_step, self.warnings, self.result = "", "", "", [], {}

    def _on_phase(self, event: Event) -> None:
        self.phase = str(event.get("text", ""))
        self.done, self.total, self._begun = 0, None, None

    def _on_train(self, event: Event) -> None:
        total = number(event, "total_steps")
        self.total_steps = None if total is None else max(0, int(total))
        self.epochs = number(event, "epochs")
        self.phase = "training"
        first = max(0, int(number(event, "first_step") or 0))
        self.step = first
        # steps after the checkpoint are done again: their old figures make room
        self.losses = [point for point in self.losses if point[0] <= first]
        self.eval_losses = [point for point in self.eval_losses if point[0] <= first]
        self.samples = [sample for sample in self.samples if sample[0] <= first]
        self._clock, self.seconds_per_step = [(first, _time(event))], None
        self.epoch_end_seconds = number(event, "epoch_end_seconds")
        self._ended = int(first / self.total_steps * self.epochs + 1e-9) if self.total_steps and self.epochs else 0

    def _on_metrics(self, event: Event) -> None:
        step = number(event, "step")
        self.step = self.step if step is None else max(0, int(step))
        self.done, self.total = 0, None
        for name in FIGURES:
            if isinstance(event.get(name), int | float):
                setattr(self, name, event[name])  # nan and inf too: they must be seen
        for name, points in (("loss", self.losses), ("eval_loss", self.eval_losses)):
            value = number(event, name)
            if value is not None:
                points.append((self.step, float(value)))
        self._measure(_time(event))

    def _measure(self, now: float) -> None:
        if not self._clock or self.step > self._clock[-1][0]:
            self._clock.append((self.step, now))
        else:
            self._clock[-1] = (self._clock[-1][0], now)  # an evaluation took its time too
        first = self._clock[min(WARM_UP_STEPS, len(self._clock) - 2)] if len(self._clock) > 1 else None
        if first is not None and self.step > first[0] and now > first[1]:
            self.seconds_per_step = (now - first[1]) / (self.step - first[0])

    def _on_epoch_end(self, event: Event) -> None:
        """Its time is no time of steps."""
        seconds = number(event, "seconds") or 0.0
        self._ended = int(number(event, "epoch") or self._ended + 1)
        self.epoch_end_seconds = seconds
        end = _time(event)
        self._clock = [(step, at + seconds if at + seconds <= end else end) for step, at in self._clock]

    def _on_progress(self, event: Event) -> None:
        self.done, self.total = max(0, number(event, "done") or 0), max(0, number(event, "total") or 0) or None
        self.unit = str(event.get("unit", ""))
        if self._begun is None:
            self._begun = (self.done, _time(event))

    def _on_sample(self, event: Event) -> None:
        self.samples.append(
            (int(number(event, "step") or 0), str(event.get("prompt", "")), str(event.get("answer", "")))
        )

    def _on_warning(self, event: Event) -> None:
        self.warnings.append(str(event.get("text", "")))

    def _on_error(self, event: Event) -> None:
        self.error, self.error_code = str(event.get("cause", "")), str(event.get("code", ""))
        self.next_step = str(event.get("next_step", ""))

    def _on_result(self, event: Event) -> None:
        self.result = {key: value for key, value in event.items() if key not in ("event", "time")}


def _time(event: Event) -> float:
    moment = number(event, "time")
    return time.time() if moment is None else moment
