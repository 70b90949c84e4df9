"""Several curves in one picture, each with its own colour and letter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_lowercase

from textual.content import Content

from ftui.format import count
from ftui.widgets.braille import BLANK, Points, Scale, columns_of, line_cells, short

STYLES = ("$text-primary", "$text-warning", "$text-success", "$text-error", "$text-accent", "$text-secondary")
LABEL_WIDTH = 9


def draw(curves: list[tuple[str, Points]], width: int, height: int) -> Content:
    """Curves (name, points) over the same steps and values; later ones lie over earlier ones. Empty without points."""
    finite = [(name, [point for point in points if math.isfinite(point[1])]) for name, points in curves]
    everything = [point for _, points in finite for point in points]
    if not everything:
        return Content("")
    values, steps = [value for _, value in everything], [step for step, _ in everything]
    scale, inner = Scale(min(values), max(values), height * 4), width - LABEL_WIDTH
    first, last = min(steps), max(steps)
    cells: list[list[tuple[int, str]]] = [[(0, "")] * inner for _ in range(height)]
    for number, (_, points) in enumerate(finite):
        style = _style(number)
        lit = line_cells(columns_of(points, first, last, inner * 2), scale, inner, height)
        for row, line in enumerate(lit):
            for column, found in enumerate(line):
                if found:
                    cells[row][column] = (found | cells[row][column][0], style)
    letters = _letters(finite, scale, first, last, inner)
    lines = [
        Content.assemble(
            *[(f"{_letter(number)} ━ {name}   ", _style(number)) for number, (name, _) in enumerate(finite)]
        )
    ]
    for row, drawn in enumerate(cells):
        label = short(scale.value(row / max(1, height - 1))) if row in (0, height // 2, height - 1) else ""
        lines.append(
            Content.assemble((f"{label:>{LABEL_WIDTH - 2}} │", "$foreground-muted"),
                             *[letters.get((row, column)) or (chr(BLANK + dots) if dots else " ", style)
                               for column, (dots, style) in enumerate(drawn)])
        )  # fmt: skip
    axis = f"{count(first)}{f'{count(last)} steps':>{inner - len(count(first))}}"
    return Content("\n").join([*lines, Content.styled(" " * LABEL_WIDTH + axis, "$foreground-muted")])


def _letters(
    curves: Sequence[tuple[str, Points]], scale: Scale, first: int, last: int, width: int
) -> dict[tuple[int, int], tuple[str, str]]:
    """(row, column) → letter and style: each curve's letter at its last point, for screens without colour."""
    found: dict[tuple[int, int], tuple[str, str]] = {}
    for number, (_, points) in enumerate(curves):
        if points:
            step, value = points[-1]
            column = (step - first) * (width * 2 - 1) // max(1, last - first) // 2
            place = scale.pixel(value) // 4, column
            while place in found and place[1] > 0:  # of curves that end together the letters stand side by side
                place = place[0], place[1] - 1
            found[place] = _letter(number), _style(number)
    return found


def _letter(number: int) -> str:
    return ascii_lowercase[number % len(ascii_lowercase)]


def _style(number: int) -> str:
    return STYLES[number % len(STYLES)]
