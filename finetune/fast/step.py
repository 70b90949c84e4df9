"""Loss and gradients of one optimizer step over packs of rows, in several threads where that is faster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from finetune.fast.attention import NAME as PER_SEQUENCE
from finetune.fast.dropout import seed_thread
from finetune.fast.loss import chunked_loss
from finetune.fast.packs import Row, divide, lay_out
from finetune.fast.probe import Pace
from finetune.rows import IGNORED


class Step:
    """Computes rows with a causal language model that `finetune.fast.prepare` has made ready.

    limit: tokens of a pack, see `packs.divide`. autocast: the precision of products, or None where
    the layers see to it. side_by_side: how many packs may be in memory at once.
    """

    def __init__(self, model: Any, *, limit: int, autocast: torch.dtype | None, side_by_side: int = 1):
        self.model, self.limit, self.autocast, self.side_by_side = model, limit, autocast, side_by_side
        self.cap: float | None = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.pace = Pace(side_by_side)
        self.pool = ThreadPoolExecutor(side_by_side, "pack")

    @property
    def most_tokens(self) -> int:
        """In memory at once."""
        return self.side_by_side * self.limit

    def hidden(self, rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the last layer gives for rows laid end to end, [length, width], and the targets, [length]."""
        inputs, targets = lay_out(rows)
        if self.model.config._attn_implementation == PER_SEQUENCE:
            # Four dimensions tell a model that its mask is made already; the attention needs none.
            inputs["attention_mask"] = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=targets.device)
        return self.model.base_model(**inputs).last_hidden_state[0], targets

    def loss(self, rows: list[Row]) -> torch.Tensor:
        """Sum of the negative log-likelihoods of the learned tokens, in nats, by one forward pass."""
        with self.precision():
            return chunked_loss(*self.hidden(rows), self.model.get_output_embeddings(), self.cap)

    def gradients(
        self,
        rows: list[Row],
        items: float,
        backward: Callable[[torch.Tensor], Any],
        between: Callable[[int, int], bool] = lambda done, total: False,
    ) -> torch.Tensor:
        """Add the gradients of the loss to the parameters and return it: per learned token, `items` in the step.

        backward: called with the loss of each pack where packs are not computed side by side; else
        gradients are added in the order of the packs, and do not depend on which thread is first.
        between: called with (done, total) after each pack; True leaves the rest out.
        """
        seed = int(torch.randint(1 << 48, (1,)))

        alone = self.side_by_side == 1

        def compute(number: int, pack: list[Row]) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
            seed_thread(seed + (number << 16))
            loss = self.loss(pack) / items
            if not alone:
                return loss.detach(), torch.autograd.grad(loss, self.parameters, allow_unused=True)
            backward(loss)
            return loss.detach(), ()

        total = torch.zeros((), device=rows[0].ids.device)
        packs = self._packs(rows)
        with self.pace.measured(sum(map(len, rows))):
            for done, (loss, gradients) in enumerate(self._each(compute, packs), 1):
                total += loss
                for parameter, gradient in zip(self.parameters, gradients, strict=False):
                    if gradient is not None:
                        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
                if between(done, len(packs)):
                    break
        return total

    def mean_loss(self, rows: list[Row]) -> float:
        """Negative log-likelihood per learned token of all rows, in nats."""

        def compute(_: int, pack: list[Row]) -> float:
            with torch.no_grad():
                return float(self.loss(pack))

        learned = sum(int((row.labels[1:] != IGNORED).sum()) for row in rows)
        return sum(self._each(compute, self._packs(rows))) / max(1, learned)

    def precision(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(next(self.model.parameters()).device.type, self.autocast)

    def _packs(self, rows: list[Row]) -> list[list[Row]]:
        plan = divide([len(row) for row in rows], self.side_by_side, self.limit)
        return [[rows[at] for at in numbers] for numbers in plan]

    def _each(self, compute: Callable[[int, list[Row]], Any], packs: list[list[Row]]) -> Iterator[Any]:
        """The results of the packs, in order: the same whatever the way in which they are computed."""
        way = self.pace.way

        def with_threads(number: int, pack: list[Row]) -> Any:
            torch.set_num_threads(way.threads)
            return compute(number, pack)

        if way.workers == 1:
            yield from map(with_threads, range(len(packs)), packs)
            return
        waiting: deque[Future[Any]] = deque()
        for number, pack in enumerate(packs):
            if len(waiting) == way.workers:
                yield waiting.popleft().result()
            waiting.append(self.pool.submit(with_threads, number, pack))
        while waiting:
            yield waiting.popleft().result()
