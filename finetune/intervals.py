"""Figures of rows, and how sure they are: a bootstrap over conversations, paired between models.

Each kind of figure is a matrix with the statistics of each row, whose sums give the figures:
losses, n-gram counts, right answers. A resample is a set of weights of the conversations, the
same for every model, so a difference between two models is measured on equal ground.
Percentile intervals after Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13;
paired as in Koehn, Statistical Significance Tests for Machine Translation Evaluation (2004).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.quality.figures import BASE

BLOCK = 64  # resamples at once
LARGEST_LOSS = 700.0  # exp of more is no float
Sums = np.ndarray  # one row per resample, one column per statistic
Scores = dict[str, np.ndarray]  # one value per resample


@dataclass(frozen=True)
class Sample:
    """What was measured of one set: statistics of each row by model, and how their sums become figures."""

    statistics: dict[str, np.ndarray]
    score: Callable[[Sums], Scores]
    conversations: Sequence[str]

    def summarize(self, resamples: int, confidence: float, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """(figures by model, changes by adapter), each figure with value, low and high."""
        names, places = np.unique(np.asarray(self.conversations, dtype=object).astype(str), return_inverse=True)
        clustered = {}
        for who, rows in self.statistics.items():
            clustered[who] = np.zeros((len(names), rows.shape[1]))
            np.add.at(clustered[who], places, rows)
        values = {who: self.score(sums.sum(0, keepdims=True)) for who, sums in clustered.items()}
        drawn = self._draw(clustered, resamples, seed) if len(names) > 1 else {}
        figures = {
            who: {name: _interval(value[0], drawn.get(who, {}).get(name), confidence) for name, value in scores.items()}
            for who, scores in values.items()
        }
        changes = {
            who: {
                name: _interval(value[0] - values[BASE][name][0], _difference(drawn, who, name), confidence)
                for name, value in scores.items()
            }
            for who, scores in values.items()
            if who != BASE
        }
        return figures, changes

    def _draw(self, clustered: dict[str, np.ndarray], resamples: int, seed: int) -> dict[str, Scores]:
        """The figures of every model on the same resamples."""
        count = len(next(iter(clustered.values())))
        random = np.random.default_rng(seed)
        drawn: dict[str, list[Scores]] = {who: [] for who in clustered}
        for start in range(0, resamples, BLOCK):
            size = min(BLOCK, resamples - start)
            weights = random.multinomial(count, np.full(count, 1 / count), size=size).astype(float)
            for who, sums in clustered.items():
                drawn[who].append(self.score(weights @ sums))
        return {
            who: {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}
            for who, blocks in drawn.items()
        }


def _difference(drawn: dict[str, Scores], who: str, name: str) -> np.ndarray | None:
    return drawn[who][name] - drawn[BASE][name] if drawn else None


def _interval(value: Any, drawn: np.ndarray | None, confidence: float) -> dict[str, float | None]:
    if drawn is None:
        return {"value": float(value), "low": None, "high": None}
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(value), "low": float(low), "high": float(high)}


def score_losses(sums: Sums) -> Scores:
    """Of [negative log-likelihood, tokens, right tokens]."""
    tokens = np.maximum(sums[:, 1], 1)
    loss = sums[:, 0] / tokens
    return {
        "loss": loss,
        "perplexity": np.exp(np.minimum(loss, LARGEST_LOSS)),
        "token_accuracy": sums[:, 2] / tokens,
    }


def label_statistics(expected: Sequence[int], chosen: Sequence[int], labels: int) -> np.ndarray:
    """For each row and label: [expected and chosen, chosen, expected], all labels side by side."""
    marks = np.eye(labels)
    right, said = marks[list(expected)], marks[list(chosen)]
    return np.concatenate([right * said, said, right], axis=1)


def score_labels(sums: Sums) -> Scores:
    """Of `label_statistics`. A label that is neither expected nor chosen in a resample does not count in macro-F1."""
    hits, chosen, expected = np.split(sums, 3, axis=1)
    together = chosen + expected
    present = together > 0
    f1 = np.divide(2 * hits, together, out=np.zeros_like(hits), where=present)
    return {
        "accuracy": hits.sum(1) / np.maximum(expected.sum(1), 1),
        "macro_f1": f1.sum(1) / np.maximum(present.sum(1), 1),
    }
