"""Figures and their intervals, against other ways to compute them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.intervals import Sample, label_statistics, score_labels, score_losses
from finetune.text_scores import TextScores

RANDOM = np.random.default_rng(5)


def test_the_interval_of_a_mean_is_the_one_of_the_normal_law() -> None:
    """Equal rows of one token each: the loss is a mean, and its interval is known."""
    losses = RANDOM.normal(3.0, 0.5, 400)
    statistics = np.column_stack([losses, np.ones(400), np.zeros(400)])
    names = [str(number) for number in range(400)]
    figures, changes = Sample({"base": statistics}, score_losses, names).summarize(4000, 0.95, 1)
    found = figures["base"]["loss"]
    half = 1.96 * losses.std() / math.sqrt(400)
    assert found["value"] == pytest.approx(losses.mean())
    assert found["low"] == pytest.approx(losses.mean() - half, abs=0.006)
    assert found["high"] == pytest.approx(losses.mean() + half, abs=0.006)
    assert figures["base"]["perplexity"]["value"] == pytest.approx(math.exp(losses.mean()))
    assert changes == {}


def test_a_paired_change_is_much_surer_than_the_figures() -> None:
    """An adapter that is better by the same amount everywhere: the rows' own spread must not count."""
    losses = RANDOM.normal(3.0, 1.0, 60)
    base = np.column_stack([losses, np.ones(60), np.zeros(60)])
    better = np.column_stack([losses - 0.1, np.ones(60), np.zeros(60)])
    names = [str(number) for number in range(60)]
    figures, changes = Sample({"base": base, "a": better}, score_losses, names).summarize(1000, 0.95, 1)
    assert figures["a"]["loss"]["high"] > figures["base"]["loss"]["low"]  # the figures overlap
    change = changes["a"]["loss"]
    assert change["value"] == pytest.approx(-0.1) and change["low"] == pytest.approx(-0.1)
    assert change["high"] == pytest.approx(-0.1)


def test_rows_of_one_conversation_are_drawn_together() -> None:
    """Ten copies of each row in its conversation tell no more than the row alone."""
    losses = RANDOM.normal(3.0, 0.5, 30)
    row = np.column_stack([losses, np.ones(30), np.zeros(30)])
    names = [str(number) for number in range(30)]
    alone, _ = Sample({"base": row}, score_losses, names).summarize(1000, 0.95, 7)
    copied, _ = Sample({"base": np.repeat(row, 10, axis=0)}, score_losses, list(np.repeat(names, 10))).summarize(
        1000, 0.95, 7
    )
    for bound in ("value", "low", "high"):
        assert copied["base"]["loss"][bound] == pytest.approx(alone["base"]["loss"][bound])


def test_one_conversation_gives_no_interval() -> None:
    figures, changes = Sample({"base": np.ones((3, 3)), "a": np.ones((3, 3))}, score_losses, ["x"] * 3).summarize(
        100, 0.9, 1
    )
    assert figures["base"]["loss"] == {"value": 1.0, "low": None, "high": None}
    assert changes["a"]["loss"]["low"] is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_macro_f1_is_the_mean_of_the_f1_of_each_label(pairs: list[tuple[int, int]]) -> None:
    expected, chosen = [right for right, _ in pairs], [said for _, said in pairs]
    scores = score_labels(label_statistics(expected, chosen, 4).sum(0, keepdims=True))
    each = []
    for label in sorted({*expected, *chosen}):
        hits = sum(right == said == label for right, said in pairs)
        precision = hits / max(1, chosen.count(label))
        recall = hits / max(1, expected.count(label))
        each.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    assert scores["macro_f1"][0] == pytest.approx(sum(each) / len(each))
    assert scores["accuracy"][0] == pytest.approx(sum(right == said for right, said in pairs) / len(pairs))


def test_bleu_and_chrf_are_those_of_sacrebleu_and_rouge_reads_russian() -> None:
    answers = ["the cat sat on a mat", "привет, как дела сегодня", "no", ""]
    expected = ["the cat sat on the mat", "привет, как твои дела", "yes", "something"]
    scores = TextScores()
    found = scores.score(scores.statistics(answers, expected).sum(0, keepdims=True))
    assert found["bleu"][0] == pytest.approx(
        sacrebleu.BLEU(effective_order=True).corpus_score(answers, [expected]).score
    )
    assert found["chrf"][0] == pytest.approx(sacrebleu.corpus_chrf(answers, [expected]).score)
    russian = scores.statistics(answers[1:2], expected[1:2])
    assert scores.score(russian)["rouge_1"][0] == pytest.approx(75.0)  # three of four words on either side
    same = scores.statistics(expected, expected).sum(0, keepdims=True)
    assert {name: round(value[0], 6) for name, value in scores.score(same).items() if name != "rouge_2"} == {
        "bleu": 100, "chrf": 100, "rouge_1": 100, "rouge_l": 100,
    }  # fmt: skip
