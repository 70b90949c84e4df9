"""A gate for scripts: `--fail-if "perplexity > 12"` on the report of an evaluation.

    [SET.][WHO.]FIGURE OP NUMBER

SET     held_out (default), general, the name of a set that was asked for with --also, or tasks.NAME
WHO     adapter (default: each one that was evaluated), base, or change (adapter minus base)
FIGURE  a name in figures.FIGURES; for tasks.NAME whatever the benchmark calls it
OP      < <= > >= == !=

What was not measured, or is no number, fails the gate: silence must not pass for success.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engines.quality.figures import BASE, FIGURES, HELD_OUT, TASK_PREFIX, Report, set_named

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
WHO = ("adapter", BASE, "change")
_FORM = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")


@dataclass(frozen=True)
class Condition:
    """One parsed expression."""

    expression: str
    set_name: str
    who: str
    figure: str
    compare: Callable[[float, float], bool]
    bound: float


def parse(expression: str) -> Condition:
    """Raises ValueError that says what is wrong with `expression`."""
    found = _FORM.fullmatch(expression)
    if found is None:
        raise ValueError(f"{expression!r} is not FIGURE OP NUMBER, such as perplexity > 12")
    path, sign, number = found.groups()
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"{number!r} in {expression!r} is not a number") from None
    if not math.isfinite(bound):
        raise ValueError(f"{number!r} in {expression!r} is not a finite number")
    where, _, figure = path.rpartition(".")
    set_name, _, who = where.rpartition(".")
    if who not in WHO:
        set_name, who = where, "adapter"
    if figure not in FIGURES and not set_name.startswith(TASK_PREFIX):
        raise ValueError(f"there is no figure {figure!r}; there are {', '.join(FIGURES)}")
    return Condition(expression, set_name or HELD_OUT, who, figure, OPERATORS[sign], bound)


def check(expressions: Sequence[str], report: Report) -> list[dict[str, Any]]:
    """The conditions that hold, which is to fail: expression, who, value (None: not measured)."""
    failures = []
    for condition in map(parse, expressions):
        for who, value in _values(condition, report):
            measured = isinstance(value, int | float) and not math.isnan(value)
            if not measured or condition.compare(value, condition.bound):
                failures.append({"expression": condition.expression, "who": who, "value": value if measured else None})
    return failures


def _values(condition: Condition, report: Report) -> Iterator[tuple[str, Any]]:
    """(who, value) of everything that a condition is about."""
    measured = set_named(report, condition.set_name)
    where = "changes" if condition.who == "change" else "figures"
    for who in [BASE] if condition.who == BASE else report.get("adapters", []):
        yield who, measured.get(where, {}).get(who, {}).get(condition.figure, {}).get("value")


def describe(failure: dict[str, Any]) -> str:
    """One line: `perplexity > 12: 38.1 (me-v2)`."""
    value = "not measured" if failure["value"] is None else f"{failure['value']:.6g}"
    return f"{failure['expression']}: {value} ({failure['who']})"
