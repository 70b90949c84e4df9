"""What this machine does fastest, measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from finetune.fast.linear import PackedLinear


def bf16_products_are_fast() -> bool:
    """Does a packed bf16 product take less than two thirds of an fp32 one, on this processor?

    Measures the shortest of five products of 128 × 1024 with 1024 × 1024 each, in processor time of
    one thread; some milliseconds. Processors that only emulate bf16 take longer than fp32.
    """
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            x, plain = torch.ones(128, 1024), torch.nn.Linear(1024, 1024, bias=False)
            packed = PackedLinear(plain)
            return _shortest(packed, x.bfloat16()) < _shortest(plain, x) * 2 / 3
    finally:
        torch.set_num_threads(threads)


def _shortest(layer: torch.nn.Module, x: torch.Tensor) -> float:
    times = []
    for _ in range(6):
        began = time.thread_time()
        layer(x)
        times.append(time.thread_time() - began)
    return min(times[1:])


@dataclass(frozen=True)
class Way:
    """Threads that compute packs side by side, and how many processor threads each of them uses."""

    workers: int
    threads: int


class Pace:
    """How the cores are best shared out between packs, measured on the first steps of the training itself.

    Every way (one pack on all cores, two on half of them each, ... up to `side_by_side`) takes its
    turn for three optimizer steps. What is measured is the seconds per token; the first turn
    does not count, of the others the better one does. The fastest way is kept. Since packs and
    their sums are the same in every way, so are the losses: nothing of this is seen but the time.
    """

    ROUNDS = 3

    def __init__(self, side_by_side: int):
        cores = torch.get_num_threads()
        self.ways = [Way(count, cores // count) for count in range(1, side_by_side + 1) if cores % count == 0]
        self.seconds: dict[Way, list[float]] = {way: [] for way in self.ways}
        self.steps = 0
        self.way = self.ways[-1]

    @property
    def settled(self) -> bool:
        return self.steps >= self.ROUNDS * len(self.ways)

    @contextmanager
    def measured(self, tokens: int) -> Iterator[None]:
        """Around one step over `tokens` tokens."""
        if len(self.ways) == 1 or self.settled:
            yield
            return
        began = time.monotonic()
        yield
        self.seconds[self.way].append((time.monotonic() - began) / tokens)
        self.steps += 1
        self.way = self.ways[-1 - self.steps % len(self.ways)]
        if self.settled:
            self.way = min(self.ways, key=lambda way: min(self.seconds[way][1:]))
