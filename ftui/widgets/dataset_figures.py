"""The statistics of a dataset: what its preparation read, made, left out and mended."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from engines.data.datasets import Dataset
from ftui import problem_lines
from ftui.clean import clean, clean_line
from ftui.format import UNKNOWN, chats, count, size

LONGEST_PROBLEM = 54  # characters: one line of a small screen
REASONS = 3  # why messages were left out: so many are named


def statistics(dataset: Dataset) -> Content:
    """What the preparation counted."""
    report = dataset.report
    if not report:
        return Content.styled(f"{size(dataset.size)}; made elsewhere, so nothing was counted", "$foreground-muted")
    owner = report.get("owner") or {}
    lines = []
    if report.get("dialogs") != 0:  # texts are rows alone
        lines.append(_line("dialogs", f"{_number(report, 'dialogs')} with {_number(report, 'turns')} turns"))
    if "kinds" in report:
        return Content("\n").join([*lines, *_made_of_project(report)])
    lines += [
        _line("from", f"{_number(report, 'conversations')} conversations, {_number(report, 'messages_read')} messages"),
    ]
    figures = report.get("chats") or {}
    if figures.get("skipped"):
        lines.append(_line("chats", chats(figures, _title)))
    if owner.get("name"):
        lines.append(_line("owner", str(owner["name"])))
    lines.append(_line("left out", _dropped(report.get("dropped"))))
    lines += _refined(report)
    if report.get("joined") or any(report.get(key, UNKNOWN) for key in ("repaired", "lost", "shortened")):
        fixed = f"{_number(report, 'repaired')} repaired, {_number(report, 'lost')} lost, "
        joined = f", {_number(report, 'joined')} joined" if report.get("joined") else ""
        lines.append(_line("mended", f"{fixed}{_number(report, 'shortened')} shortened{joined}"))
    return Content("\n").join([*lines, *_problems(report)])


def _title(name: str) -> str:
    """What the form calls a parameter of preparations."""
    from engines.config.prepare import PrepareConfig  # pydantic is for those who have chats that were left out

    return str(PrepareConfig.model_fields[name].title)


def _problems(report: dict[str, Any]) -> list[Content]:
    """The first one, and how to see the others."""
    found = problem_lines.with_files(report)
    if not found:
        return []
    more = f" (e: {count(len(found) - 1)} more)" if len(found) > 1 else ""
    first = found[0] if len(found[0]) <= LONGEST_PROBLEM else f"{found[0][: LONGEST_PROBLEM - 1]}…"
    return [_line("problems", f"{first}{more}")]


def _made_of_project(report: dict[str, Any]) -> list[Content]:
    """Where the dialogs of a project come from."""
    kinds = {kind: figures.get("written") for kind, figures in report["kinds"].items()}
    files = report.get("files") or {}
    return [
        _line("made of", _dropped(kinds)),
        _line("files", f"{_number(files, 'read')} read of {_number(files, 'found')}"),
        _line("left out", _dropped(report.get("dropped"))),
        *_problems(report),
    ]


def _refined(report: dict[str, Any]) -> list[Content]:
    """What was asked for beyond the plain conversion: tokens, filters, redaction, a split."""
    rows, split = report.get("rows") or {}, report.get("split")
    lines = []
    if report.get("estimated_tokens"):
        lines.append(_line("rows", f"{_number(rows, 'written')}, about {_number(report, 'estimated_tokens')} tokens"))
    if rows.get("left_out"):
        lines.append(_line("filtered", _dropped(rows["left_out"])))
    if report.get("redacted"):
        lines.append(_line("redacted", _dropped(report["redacted"])))
    if split:
        lines.append(_line("split", f"{_number(split, 'train')} to train on, {_number(split, 'eval')} held out"))
    return lines


def _line(label: str, text: str) -> Content:
    return Content.assemble((f"{label:<9}", "$foreground-muted"), clean_line(clean(text)))


def _number(report: dict[str, Any], key: str) -> str:
    value = report.get(key)
    return count(value) if isinstance(value, int | float) else UNKNOWN


def _dropped(dropped: object) -> str:
    if not isinstance(dropped, dict):
        return "nothing"
    counted = [(reason, number) for reason, number in dropped.items() if isinstance(number, int) and number]
    counted.sort(key=lambda item: -item[1])
    words = [f"{count(number)} {str(reason).replace('_', ' ')}" for reason, number in counted[:REASONS]]
    rest = sum(number for _, number in counted[REASONS:])
    return ", ".join([*words, f"{count(rest)} others"] if rest else words) or "nothing"
