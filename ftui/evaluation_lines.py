"""An evaluation's report as lines for a terminal: narrow enough for 80 columns, any number of adapters.

The same lines stand in the app and on the command line; each comes with what it is (heading,
figure, better, worse, muted, plain), from which the app makes a colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engines.quality import gate
from engines.quality.figures import BASE, GENERAL, HELD_OUT, Figure, Report, figure_of, verdict
from ftui.clean import clean_line

Line = tuple[str, str]  # what it is, text
TITLES = {HELD_OUT: "Held-out part", GENERAL: "General set: what was forgotten"}
MARKS = {"better": "✓ better", "worse": "✗ worse", "unclear": "~ no clear change"}
NAME_WIDTH = 22
SHOWN_EXAMPLES = 3


def lines(report: Report) -> Iterator[Line]:
    """The whole report."""
    for entry in report["sets"]:
        yield "heading", TITLES.get(entry["name"], clean_line(entry["name"]))
        yield "muted", _size(entry)
        for name in entry["figures"][BASE]:
            yield from _figure(entry, figure_of(name), report["adapters"])
        for example in entry["examples"][:SHOWN_EXAMPLES]:
            yield from _example(example)
        yield "plain", ""
    if report["answers"]:
        yield "heading", "Questions"
        for answer in report["answers"]:
            yield from _example(answer)
        yield "plain", ""
    yield "muted", f"[ ] {report['confidence']:.0%} confidence, by a bootstrap over conversations; change: against base"
    yield from _gate(report["gate"])


def _size(entry: dict[str, Any]) -> str:
    if entry["kind"] == "task":
        return f"lm-eval, {entry['rows'] or '?'} questions"
    part = f"{entry['rows']} of {entry['rows_in_all']} rows"
    labels = f", {len(entry['labels'])} labels" if entry["labels"] else ""
    return f"{part}, {entry['conversations']} conversations, {entry['tokens']} tokens counted{labels}"


def _figure(entry: dict[str, Any], figure: Figure, adapters: list[str]) -> Iterator[Line]:
    direction = "lower is better" if figure.lower_is_better else "higher is better"
    yield "figure", f"{figure.title} ({direction})"
    yield "plain", f"  {BASE:<{NAME_WIDTH}}{_value(entry['figures'][BASE][figure.name], figure)}"
    for adapter in adapters:
        change = entry["changes"][adapter][figure.name]
        found = verdict(figure, change)
        name = clean_line(adapter)
        name = name if len(name) < NAME_WIDTH else f"{name[: NAME_WIDTH - 2]}…"
        yield found, f"  {name:<{NAME_WIDTH}}{_value(entry['figures'][adapter][figure.name], figure)}"
        yield found, f"  {'  change':<{NAME_WIDTH}}{_value(change, figure, '+')}  {MARKS[found]}"


def _value(found: dict[str, Any], figure: Figure, sign: str = "") -> str:
    form = f"{sign}.{figure.digits}f"
    text = f"{found['value']:{sign}10.{figure.digits}f}"
    return text if found["low"] is None else f"{text}  [{found['low']:{form}}; {found['high']:{form}}]"


def _example(example: dict[str, Any]) -> Iterator[Line]:
    yield "plain", f"> {_shortened(example['prompt'])}"
    if "expected" in example:
        yield "muted", f"  expected: {_shortened(example['expected'])}"
    for who, answer in example["answers"].items():
        yield "plain", f"  {clean_line(who)}: {_shortened(answer)}"


def _shortened(text: str, limit: int = 240) -> str:
    line = " ".join(clean_line(text).split())
    return line if len(line) <= limit else line[:limit].rsplit(" ", 1)[0] + " …"


def _gate(found: dict[str, Any]) -> Iterator[Line]:
    if found["expressions"] and not found["failures"]:
        yield "better", f"✓ none of the conditions holds: {clean_line('; '.join(found['expressions']))}"
    for failure in found["failures"]:
        yield "worse", f"✗ failed: {clean_line(gate.describe(failure))}"
