"""What an evaluation measures: the one list of its figures, for the script, the gate, the faces and the docs.

An evaluation's report is one JSON document:

    adapters   names, the one that is evaluated first
    sets       one object each: name, kind (dialogs, labels, task), rows, rows_in_all, conversations, tokens,
               figures   {who: {figure: {value, low, high}}}, who is base or an adapter's name
               changes   {adapter: {figure: {value, low, high}}}: adapter minus base, paired
               examples  [{prompt, expected, answers: {who: text}}]
    answers    [{prompt, answers: {who: text}}] to the questions of the user
    gate       {expressions, failures}; see gate.py

`low` and `high` bound the confidence interval; None where there are too few conversations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BASE = "base"
HELD_OUT = "held_out"
GENERAL = "general"
TASK_PREFIX = "tasks."

Report = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One thing that is measured. digits: behind the point when it is shown."""

    name: str
    title: str
    lower_is_better: bool
    digits: int
    meaning: str


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("loss", "Loss", True, 3, "negative log-likelihood of a learned token, in nats"),
        Figure("perplexity", "Perplexity", True, 2, "exp(loss): as if choosing among so many equally likely tokens"),
        Figure("token_accuracy", "Token accuracy", False, 3, "share of learned tokens that were the likeliest ones"),
        Figure("bleu", "BLEU", False, 1, "0 to 100, sacrebleu's corpus BLEU of the generated answers"),
        Figure("chrf", "chrF", False, 1, "0 to 100, sacrebleu's corpus chrF2; fairer than BLEU to short answers"),
        Figure("rouge_1", "ROUGE-1", False, 1, "0 to 100, mean F-measure of single words"),
        Figure("rouge_2", "ROUGE-2", False, 1, "0 to 100, mean F-measure of pairs of words"),
        Figure("rouge_l", "ROUGE-L", False, 1, "0 to 100, mean F-measure of the longest common sequence"),
        Figure("accuracy", "Accuracy", False, 3, "share of rows whose likeliest label is the right one"),
        Figure("macro_f1", "Macro-F1", False, 3, "mean over the labels of F1, each label counting the same"),
    )
}


def figure_of(name: str) -> Figure:
    """The figure `name`, also one of a foreign benchmark: there higher is taken for better."""
    return FIGURES.get(name) or Figure(name, name, False, 3, "of the benchmark")


def verdict(figure: Figure, change: dict[str, Any]) -> str:
    """better, worse, or unclear where the interval of the change holds zero or there is none."""
    low, high = change.get("low"), change.get("high")
    if low is None or high is None or low <= 0 <= high:
        return "unclear"
    return "better" if (high < 0) == figure.lower_is_better else "worse"


def set_named(report: Report, name: str) -> dict[str, Any]:
    """The figures of one set, empty if it was not evaluated."""
    return next((entry for entry in report.get("sets", ()) if entry["name"] == name), {})
