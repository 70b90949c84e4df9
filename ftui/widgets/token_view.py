"""Rows as they will be trained: what is learned is bold and underlined, the context is dim; and lengths as bars."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from ftui.clean import clean, clean_line
from ftui.format import bar, count, size

LEARNED, CONTEXT = "bold underline $text-success", "$foreground-muted"

LEGEND = Content.assemble("Learned: ", ("like this", LEARNED), ", context: ", ("like this", CONTEXT))


def draw(found: dict[str, Any]) -> Content:
    """What `engines.data.looks.show_tokens` tells."""
    share = found["too_long"] / max(1, found["counted"])
    lines = [
        LEGEND,
        Content(
            f"{count(found['counted'])} rows, {count(found['tokens'])} tokens, the longest {count(found['longest'])}; "
            f"{share:.1%} are longer than {count(found['max_length'])} and would be cut"
        ),
        Content(""),
    ]
    lines += draw_rows(found["rows"], found["first"] + 1)
    lines += _bars(found["lengths"])
    return Content("\n").join(lines)


def draw_rows(rows: list[dict[str, Any]], first: int) -> list[Content]:
    """Rows of `finetune.show_tokens`, numbered from `first`."""
    lines = []
    for number, row in enumerate(rows, first):
        what = "left out: its first answer does not fit" if row["dropped"] else f"{count(row['learned'])} learned"
        cut = ", cut" if row["shortened"] else ""
        lines.append(Content.styled(f"─ dialog {count(number)} · {count(row['tokens'])} tokens, {what}{cut}", "bold"))
        runs = [(clean(run["text"]), LEARNED if run["learned"] else CONTEXT) for run in row["runs"]]
        lines += [Content.assemble(*runs), Content("")]
    return lines


def draw_counts(found: dict[str, Any]) -> Content:
    """What `engines.data.looks.count_tokens` tells."""
    share = found["too_long"] / max(1, found["rows"])
    lines = [
        Content(
            f"{count(found['rows'])} rows of {count(found['conversations'])} conversations with "
            f"{count(found['messages'])} messages, {size(found['bytes'])}"
        ),
        Content(
            f"{count(found['tokens'])} tokens, all counted, the longest row {count(found['longest'])}; "
            f"{share:.1%} are longer than {count(found['max_length'])}"
        ),
        Content(""),
    ]
    for name, figures in found["by_source"].items():
        lines.append(
            Content(f"{count(figures['tokens']):>12} tokens in {count(figures['rows'])} rows from {clean_line(name)}")
        )
    languages = ", ".join(f"{code} {count(number)}" for code, number in found["languages"].items())
    lines += [
        Content(""),
        Content(f"languages: {languages}"),
        Content(f"{count(found['duplicates'])} rows repeat one before"),
        Content(""),
        *_bars(found["lengths"]),
        Content(""),
    ]
    most = max(found["months"].values(), default=1)
    lines += [
        Content(f"{month}  {bar(dialogs, most)} {count(dialogs)} dialogs") for month, dialogs in found["months"].items()
    ]
    return Content("\n").join(lines)


def _bars(lengths: list[tuple[int, int]]) -> list[Content]:
    most = max((rows for _, rows in lengths), default=1)
    return [Content(f"to {count(bound):>6} tokens  {bar(rows, most)} {count(rows)}") for bound, rows in lengths]
