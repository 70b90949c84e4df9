"""Conditions on an evaluation: what they mean, what is refused, and that silence never passes."""

from __future__ import annotations

from typing import Any

import pytest

from engines.config.evaluate import EvaluateConfig
from engines.config.job import build
from engines.contract.errors import UserError
from engines.quality import gate


def measured(value: float) -> dict[str, Any]:
    return {"value": value, "low": None, "high": None}


REPORT = {
    "adapters": ["one", "two"],
    "sets": [
        {
            "name": "held_out",
            "figures": {
                "base": {"perplexity": measured(100.0)},
                "one": {"perplexity": measured(10.0)},
                "two": {"perplexity": measured(14.0)},
            },
            "changes": {"one": {"perplexity": measured(-90.0)}, "two": {"perplexity": measured(-86.0)}},
        },
        {
            "name": "my.set",
            "figures": {"base": {"loss": measured(1.0)}, "one": {"loss": measured(float("nan"))}, "two": {}},
            "changes": {},
        },
        {"name": "tasks.arc", "figures": {"base": {"acc": measured(0.5)}}, "changes": {}},
    ],
}


@pytest.mark.parametrize(
    ("expression", "failing"),
    [
        ("perplexity > 12", ["two"]),
        ("perplexity>=10", ["one", "two"]),
        ("perplexity < 5", []),
        ("held_out.adapter.perplexity == 14", ["two"]),
        ("base.perplexity != 100", []),
        ("base.perplexity <= 1e2", ["base"]),
        ("change.perplexity > -88.5", ["two"]),
        ("my.set.base.loss > 0.5", ["base"]),
        ("tasks.arc.base.acc < 0.6", ["base"]),
        ("my.set.loss > 5", ["one", "two"]),  # no number, and not there at all
        ("chrf < 1", ["one", "two"]),  # was not measured
        ("general.loss > 5", ["one", "two"]),
    ],
)
def test_a_condition_fails_for_whom_it_holds(expression: str, failing: list[str]) -> None:
    assert [failure["who"] for failure in gate.check([expression], REPORT)] == failing


def test_what_was_not_measured_is_told_from_a_value() -> None:
    two, unknown = gate.check(["perplexity > 12", "base.chrf < 1"], REPORT)
    assert gate.describe(two) == "perplexity > 12: 14 (two)"
    assert gate.describe(unknown) == "base.chrf < 1: not measured (base)"


@pytest.mark.parametrize(
    "wrong",
    ["", "perplexity", "perplexity 12", "perplexity = 12", "perplexity > 12 or 1", "12 < perplexity", "loss > nan",
     "loss > inf", "loss > x", "nonsense > 1", "__import__('os').system('true') > 1", "loss > 1; loss < 2"],
)  # fmt: skip
def test_anything_else_is_refused_before_the_start(wrong: str) -> None:
    with pytest.raises(UserError) as refused:
        build(EvaluateConfig, {"fail_if": ["loss > 1", wrong]})
    assert "fail_if" in refused.value.cause
