"""Generated answers against expected ones: BLEU and chrF by sacrebleu, ROUGE by rouge-score.

Words of ROUGE are found in any script: rouge-score's own tokenizer drops everything but Latin letters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engines.contract.errors import UserError
from finetune.intervals import Scores, Sums

ROUGE = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}
_WORD = re.compile(r"\w+")


class _Words:
    """A tokenizer as rouge-score wants one."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.casefold())


class TextScores:
    """Makes the statistics of each answer, and the figures of their sums."""

    def __init__(self) -> None:
        """Raises UserError where a package is missing."""
        try:
            from rouge_score.rouge_scorer import RougeScorer
            from sacrebleu.metrics import BLEU, CHRF
        except ImportError as error:
            raise UserError(
                "not_ready",
                f"the training environment lacks what compares answers: {error}",
                "Run `ftui setup llm`, or set answers to 0.",
            ) from None

        # Short answers have no four words in a row; the effective order is sacrebleu's advice for them.
        self.counted: dict[str, Any] = {"bleu": BLEU(effective_order=True), "chrf": CHRF()}
        self.rouge = RougeScorer([*ROUGE], tokenizer=_Words())
        self.widths: list[int] = []

    def statistics(self, answers: Sequence[str], expected: Sequence[str]) -> np.ndarray:
        """One row per answer: BLEU's counts, chrF's counts, three ROUGE F-measures, and 1."""
        parts = [
            np.array(metric._extract_corpus_statistics(list(answers), [list(expected)]), dtype=float)
            for metric in self.counted.values()  # as sacrebleu's own significance tests take them
        ]
        self.widths = [part.shape[1] for part in parts]
        rouge = [
            [100 * found.fmeasure for found in self.rouge.score(right, said).values()]
            for said, right in zip(answers, expected, strict=True)
        ]
        return np.concatenate([*parts, np.array(rouge), np.ones((len(answers), 1))], axis=1)

    def score(self, sums: Sums) -> Scores:
        """Of the sums of `statistics`: every figure from 0 to 100."""
        scores: Scores = {}
        start = 0
        for (name, metric), width in zip(self.counted.items(), self.widths, strict=True):
            compute: Callable[[list[float]], Any] = metric._compute_score_from_stats
            scores[name] = np.array([compute(list(row[start : start + width])).score for row in sums])
            start += width
        for place, name in enumerate(ROUGE.values()):
            scores[name] = sums[:, start + place] / np.maximum(sums[:, -1], 1)
        return scores
