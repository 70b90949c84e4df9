"""Trainings side by side: what was different, what came of it, and their curves in one picture."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from ftui.clean import clean_line
from ftui.format import UNKNOWN, duration, number, size
from ftui.widgets import curves

FORMS = {"seconds": duration, "memory": size, "loss": number, "eval_loss": number}
CURVE_WIDTH, CURVE_HEIGHT = 90, 9
CELL = 22


def draw(found: dict[str, Any]) -> Content:
    """What `engines.running.history.compare` tells."""
    names = [clean_line(name) for name in found["names"]]
    lines = [_row("", names, "bold"), _row("state", found["states"])]
    lines += [_row(name, map(_cell, values)) for name, values in found["parameters"].items()]
    if not found["parameters"]:
        lines.append(Content.styled("the same parameters, data and versions", "$foreground-muted"))
    lines.append(Content(""))
    for name, values in found["figures"].items():
        form = FORMS.get(name, _cell)
        lines.append(_row(name.replace("_", " "), [UNKNOWN if value is None else form(value) for value in values]))
    for title in ("losses", "eval_losses"):
        picture = curves.draw(list(zip(names, found[title], strict=True)), CURVE_WIDTH, CURVE_HEIGHT)
        if picture.plain:
            lines += [Content(""), Content.styled(title.replace("_", " "), "bold"), picture]
    return Content("\n").join(lines)


def _row(title: str, cells: Any, style: str = "") -> Content:
    text = "".join(f"{clean_line(str(cell))[: CELL - 1]:<{CELL}}" for cell in cells)
    return Content.assemble((f"{title[:21]:<22}", "$foreground-muted"), (text, style))


def _cell(value: Any) -> str:
    return UNKNOWN if value is None else str(value)
