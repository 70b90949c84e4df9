"""How likely a model finds rows: losses, right tokens, and the best of several labels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engines.contract.run_protocol import stop_requested
from finetune import rows

LOGITS_BYTES = 256 << 20  # of one batch, as float32
Row = tuple[list[int], list[int]]  # token ids, labels (rows.IGNORED where a token is not counted)


class Stopped(Exception):
    """Somebody asked this run to stop."""


def score_rows(model: Any, encoded: Sequence[Row], batch_size: int, advance: Callable[[int], None]) -> np.ndarray:
    """For each row: [negative log-likelihood in nats, counted tokens, tokens that were the likeliest]; float64.

    Rows of like length go together; logits are computed only where a token is counted. `advance`
    is told how many rows are done. Raises Stopped.
    """
    scores = np.zeros((len(encoded), 3))
    shortest_first = sorted(range(len(encoded)), key=lambda index: len(encoded[index][0]))
    for batch in _batches(shortest_first, encoded, batch_size, model.config.get_text_config().vocab_size):
        if stop_requested():
            raise Stopped
        scores[batch] = _score_batch(model, [encoded[index] for index in batch])
        advance(len(batch))
    return scores


def _batches(order: list[int], encoded: Sequence[Row], batch_size: int, vocabulary: int) -> list[list[int]]:
    """At most `batch_size` rows each, fewer where their logits would take more than LOGITS_BYTES."""
    batches: list[list[int]] = []
    counted = 0  # in the last batch
    for index in order:
        ids, labels = encoded[index]
        more = sum(label != rows.IGNORED for label in labels)
        size = len(batches[-1]) + 1 if batches else 1
        logits = size * min(len(ids), counted + more) * vocabulary * 4
        if batches and size <= batch_size and logits <= LOGITS_BYTES:
            batches[-1].append(index)
            counted += more
        else:
            batches.append([index])
            counted = more
    return batches


def _score_batch(model: Any, batch: list[Row]) -> np.ndarray:
    import torch

    longest = max(len(ids) for ids, _ in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full((len(batch), longest), rows.IGNORED, dtype=torch.long)
    attention = torch.zeros(len(batch), longest, dtype=torch.long)
    for number, (tokens, counted) in enumerate(batch):
        ids[number, : len(tokens)], attention[number, : len(tokens)] = torch.tensor(tokens), 1
        labels[number, : len(counted)] = torch.tensor(counted)
    following = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=rows.IGNORED)  # what each place should foretell
    places = (following != rows.IGNORED).any(0).nonzero().squeeze(1)
    if not len(places):
        return np.zeros((len(batch), 3))
    inputs = {"input_ids": ids.to(model.device), "attention_mask": attention.to(model.device), "use_cache": False}
    with torch.inference_mode():
        if _can_skip_logits(model):
            logits = model(**inputs, logits_to_keep=places.to(model.device)).logits
        else:
            logits = model(**inputs).logits[:, places.to(model.device)]
        target = following[:, places].to(model.device)
        losses = torch.nn.functional.cross_entropy(
            logits.float().transpose(1, 2), target, ignore_index=rows.IGNORED, reduction="none"
        )
        counted = target != rows.IGNORED
        right = (logits.argmax(-1) == target) & counted
        found = torch.stack([losses.double().sum(1), counted.sum(1).double(), right.sum(1).double()], dim=1)
    return found.cpu().numpy()


def _can_skip_logits(model: Any) -> bool:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters


def choose_labels(
    model: Any, tokenizer: Any, dialogs: Sequence[rows.Dialog], labels: Sequence[str], max_length: int,
    batch_size: int, advance: Callable[[int], None],
) -> list[int]:  # fmt: skip
    """The label that the model finds the likeliest answer to each dialog, as its place in `labels`.

    The answer is constrained: log-probability of the whole label with its end of turn, whatever
    the model would have said freely. `advance` is told how many answers were weighed. Raises Stopped.
    """
    candidates: list[Row] = []
    for dialog in dialogs:
        for label in labels:
            answered = [*dialog.messages[:-1], {"role": "assistant", "content": label}]
            encoded = rows.encode([rows.Dialog(answered, dialog.conversation)], tokenizer, max_length)
            fits = encoded.input_ids and not encoded.shortened
            candidates.append((encoded.input_ids[0], encoded.labels[0]) if fits else ([], []))
    scores = score_rows(model, candidates, batch_size, advance)
    losses = np.where(scores[:, 1] > 0, scores[:, 0], np.inf).reshape(len(dialogs), len(labels))
    return [int(best) for best in losses.argmin(1)]
