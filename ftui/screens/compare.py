"""Trainings side by side: what was different, what came of it, and their curves in one picture."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from ftui.clean import clean_line
from ftui.format import UNKNOWN, duration, number, shortened, size
from ftui.widgets import curves

FORMS = {"seconds": duration, "memory": size, "loss": number, "eval_loss": number}
CURVE_HEIGHT = 9
TITLE, NARROWEST, WIDEST = 22, 10, 22  # characters of a line's title, and of a run's column


def draw(found: dict[str, Any], width: int) -> Content:
    """What `engines.running.history.compare` tells, in lines of `width` characters."""
    names = [clean_line(name) for name in found["names"]]
    cell = max(NARROWEST, min(WIDEST, (width - TITLE) // max(1, len(names))))

    def row(title: str, cells: Any, style: str = "") -> Content:
        text = "".join(f"{clean_line(str(one))[: cell - 1]:<{cell}}" for one in cells)
        return Content.assemble((f"{title[: TITLE - 1]:<{TITLE}}", "$foreground-muted"), (text, style))

    lines = [row("", [shortened(name, cell - 1) for name in names], "bold"), row("state", found["states"])]
    lines += [row(name, map(_cell, values)) for name, values in found["parameters"].items()]
    if not found["parameters"]:
        lines.append(Content.styled("the same parameters, data and versions", "$foreground-muted"))
    lines.append(Content(""))
    for name, values in found["figures"].items():
        form = FORMS.get(name, _cell)
        lines.append(row(name.replace("_", " "), [UNKNOWN if value is None else form(value) for value in values]))
    for title in ("losses", "eval_losses"):
        picture = curves.draw(list(zip(names, found[title], strict=True)), width, CURVE_HEIGHT)
        if picture.plain:
            lines += [Content(""), Content.styled(title.replace("_", " "), "bold"), picture]
    return Content("\n").join(lines)


def _cell(value: Any) -> str:
    return UNKNOWN if value is None else str(value)
