"""An evaluation's report as Markdown, its tables aligned so that they can be read as plain text too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engines.quality import gate
from engines.quality.figures import BASE, GENERAL, HELD_OUT, Report, figure_of, verdict

TITLES = {HELD_OUT: "Held-out part", GENERAL: "General set (forgetting)"}
MARKS = {"better": "better", "worse": "**worse**", "unclear": "no clear change"}


def markdown(report: Report) -> str:
    """The whole report."""
    adapters = report["adapters"]
    parts = [
        f"# {' and '.join(adapters)} against the base model",
        f"Base model: `{report['model']}`. In brackets: {report['confidence']:.0%} confidence intervals, by a "
        "bootstrap over conversations; a change is adapter minus base, paired.",
    ]
    failures = report["gate"]["failures"]
    if report["gate"]["expressions"]:
        parts.append("Gate: passed." if not failures else "Gate: **failed**.")
        parts += ["\n".join(f"- {_plain(gate.describe(failure))}" for failure in failures)] if failures else []
    for entry in report["sets"]:
        parts += [f"## {TITLES.get(entry['name'], entry['name'])}", _size(entry), _figures(entry, adapters)]
        parts += [_example(example) for example in entry["examples"]]
    if report["answers"]:
        parts.append("## Questions")
        parts += [_example(answer) for answer in report["answers"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _size(entry: dict[str, Any]) -> str:
    if entry["kind"] == "task":
        return f"lm-eval, {entry['rows'] or '?'} questions."
    part = f"{entry['rows']} of {entry['rows_in_all']} rows" if entry["rows"] < entry["rows_in_all"] else "all rows"
    kinds = f", {len(entry['labels'])} labels" if entry["labels"] else ""
    return f"{part} ({entry['rows']}), {entry['conversations']} conversations, {entry['tokens']} counted tokens{kinds}."


def _figures(entry: dict[str, Any], adapters: Sequence[str]) -> str:
    rows = [["figure", BASE]]
    for name in adapters:
        rows[0] += [name, f"change of {name}", ""]
    for name, base in entry["figures"][BASE].items():
        figure = figure_of(name)
        row = [figure.title, _value(base, figure.digits)]
        for adapter in adapters:
            change = entry["changes"][adapter][name]
            row += [
                _value(entry["figures"][adapter][name], figure.digits),
                _value(change, figure.digits, sign="+"),
                MARKS[verdict(figure, change)],
            ]
        rows.append(row)
    return _table([[_plain(cell) for cell in row] for row in rows])


def _value(found: dict[str, Any], digits: int, sign: str = "") -> str:
    text = f"{found['value']:{sign}.{digits}f}"
    if found["low"] is None:
        return text
    return f"{text} [{found['low']:{sign}.{digits}f}; {found['high']:{sign}.{digits}f}]"


def _table(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _example(example: dict[str, Any]) -> str:
    lines = [f"> {_one_line(example['prompt'])}", ""]
    if "expected" in example:
        lines.append(f"- expected: {_one_line(example['expected'])}")
    return "\n".join([*lines, *(f"- {_plain(who)}: {_one_line(text)}" for who, text in example["answers"].items())])


def _one_line(text: str, longest: int = 400) -> str:
    line = " ".join(text.split())
    return _plain(line if len(line) <= longest else f"{line[:longest]} …")


def _plain(text: str) -> str:
    """Text that a Markdown reader takes as text; `**` of our own verdicts stays."""
    return text if text in MARKS.values() else text.replace("|", "\\|").replace("<", "&lt;")
