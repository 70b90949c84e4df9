"""What a training says while it runs: figures, warnings, sample answers; and how it hears that it shall stop.

Importing this imports transformers.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import numpy
import torch
from transformers import TrainerCallback

from engines.contract.events import emit
from engines.contract.run_protocol import stop_requested
from finetune.gauges import Gauges
from finetune.watch import Watch, evaluations_without_gain

SHOWN_FIGURES = ("epoch", "loss", "learning_rate", "grad_norm", "eval_loss")
PROGRESS_SECONDS = 1.0  # between two words about the batches of one long step


class Reporter(TrainerCallback):
    """patience: evaluations without gain after which training ends, 0: never. answer: prompt to sample answer."""

    def __init__(
        self, watch: Watch, gauges: Gauges, *, patience: int = 0, prompts: list[str], answer: Callable[[str], str]
    ):
        self.watch = watch
        self.gauges = gauges
        self.patience = patience
        self.prompts = prompts
        self.answer = answer
        self.stopped_inside_step: Any = None  # the random state to save with, if a stop came between two batches
        self.ended_early = ""  # why there were no more steps, in words
        self.seconds_before = 0.0  # of training that a checkpoint brought along, in earlier attempts or another run
        self.step_seconds = self.evaluation_seconds = self.answer_seconds = 0.0  # of this attempt
        self.evaluations = self.saves = 0
        self._train_began = time.monotonic()
        self._random_state: Any = None
        self._training_seconds = 0.0
        self._began = self._told = 0.0
        self._batches = 0
        self._tokens_before = 0.0
        self._tokens = self._seconds = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._train_began = time.monotonic()

    def seconds(self) -> float:
        """How long has been trained for the weights as they are now, earlier attempts among it."""
        return round(self.seconds_before + self.attempt_seconds(), 1)

    def attempt_seconds(self) -> float:
        return time.monotonic() - self._train_began

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = self._told = time.monotonic()
        self._batches = 0
        self._random_state = random_state()

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After each batch of an accumulation but the last: the weights are still those of the last step."""
        self._batches += 1
        if stop_requested():
            self.stopped_inside_step = self._random_state
            control.should_save = control.should_training_stop = True
        else:
            self.tell(self._batches, args.gradient_accumulation_steps, "batches")

    def tell(self, done: int, total: int, unit: str) -> None:
        """How far a long step has come, now and then."""
        if time.monotonic() - self._told > PROGRESS_SECONDS:
            self._told = time.monotonic()
            emit("progress", done=done, total=total, unit=unit)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        seconds = time.monotonic() - self._began
        self._training_seconds += seconds
        self.step_seconds += seconds
        if stop_requested():
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if "train_runtime" in logs:
            return
        figures: dict[str, Any] = {key: logs[key] for key in SHOWN_FIGURES if key in logs}
        if "loss" in logs and "num_tokens" in logs and self._training_seconds:
            tokens, seconds = logs["num_tokens"] - self._tokens_before, self._training_seconds
            figures["tokens_per_second"] = tokens / seconds
            self._tokens, self._seconds = self._tokens + tokens, self._seconds + seconds
            self._tokens_before, self._training_seconds = logs["num_tokens"], 0.0
        warnings = self.watch.look(state.global_step, figures)
        emit("metrics", step=state.global_step, **figures, **(self.gauges.read() if "loss" in logs else {}))
        for text in warnings:
            emit("warning", text=text)

    def mean_speed(self) -> float | None:
        """Tokens per second of this attempt's training steps."""
        return round(self._tokens / self._seconds, 1) if self._seconds else None

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.saves += 1

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.evaluations += 1
        began = time.monotonic()
        for prompt in self.prompts:
            emit("sample", step=state.global_step, prompt=prompt, answer=self.answer(prompt))
        self.answer_seconds += time.monotonic() - began
        if self.patience and evaluations_without_gain(state.log_history) >= self.patience:
            control.should_save = control.should_training_stop = True
            if state.global_step < state.max_steps:
                where = f"at step {state.global_step} of {state.max_steps}"
                self.ended_early = f"{where}: the held-out loss did not fall in {self.patience} evaluations"
                emit("phase", name="early", text=f"ends early, {self.ended_early}")


def random_state() -> tuple[Any, ...]:
    """All that decides what is drawn next."""
    device = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    return random.getstate(), numpy.random.get_state(), torch.get_rng_state(), device


def restore_random_state(state: tuple[Any, ...]) -> None:
    random.setstate(state[0])
    numpy.random.set_state(state[1])
    torch.set_rng_state(state[2])
    if state[3] is not None:
        torch.cuda.set_rng_state_all(state[3])
