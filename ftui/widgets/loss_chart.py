"""Losses over steps, drawn with Braille dots: axes with figures, two series, linear or logarithmic.

The loss is a line; the loss on the held-out part is a row of ◆, so that the two differ
without colour. Each pixel column shows the mean of its points: 20,000 cost no more than 200.
"""

from __future__ import annotations

import math
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from ftui.format import count
from ftui.widgets.braille import Points, Scale, columns_of, line_cells, short

LABEL_WIDTH = 8
MARK = "◆"


class LossChart(Widget):
    """`show` gives it new points; it draws itself when they or its size changed."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"loss-chart--loss", "loss-chart--eval", "loss-chart--axis"}
    DEFAULT_CSS = """
    LossChart .loss-chart--loss { color: $text-primary; }
    LossChart .loss-chart--eval { color: $warning; text-style: bold; }
    LossChart .loss-chart--axis { color: $foreground 60%; }
    """

    log_scale: reactive[bool] = reactive(False)

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id)
        self._loss: Points = ()
        self._eval: Points = ()
        self._rows: list[Strip] = []
        self._drawn_for: object = None

    def show(self, loss: Points, evals: Points) -> None:
        if len(loss) != len(self._loss) or len(evals) != len(self._eval) or loss[-1:] != self._loss[-1:]:
            self._loss, self._eval = list(loss), list(evals)
            self._drawn_for = None
            self.refresh()

    @property
    def empty(self) -> bool:
        return not self._loss and not self._eval

    def render_line(self, y: int) -> Strip:
        key = (self.size, self.log_scale, self.app.theme, self.rich_style)
        if key != self._drawn_for:
            self._rows = self._draw()
            self._drawn_for = key
        return self._rows[y] if y < len(self._rows) else Strip.blank(self.size.width, self.rich_style)

    def _draw(self) -> list[Strip]:
        width, height = self.size.width - LABEL_WIDTH, self.size.height - 2
        loss, evals = self._usable(self._loss), self._usable(self._eval)
        if width < 8 or height < 2 or not (loss or evals):
            return []
        values = [value for _, value in [*loss, *evals]]
        scale = Scale(min(values), max(values), height * 4)
        steps = [step for step, _ in [*loss, *evals]]
        first, last = min(steps), max(steps)
        columns = columns_of(loss, first, last, width * 2)
        cells = line_cells(columns, scale, width, height)
        marks = {(scale.pixel(v) // 4, min(width - 1, x // 2)) for x, v in columns_of(evals, first, last, width * 2)}
        rows = [self._legend()]
        rows += [self._row(number, cells[number], marks, scale, height) for number in range(height)]
        return [*rows, self._step_axis(first, last, width)]

    def _usable(self, points: Points) -> list[tuple[int, float]]:
        """Finite values, as logarithms if that is the scale."""
        good = [(step, value) for step, value in points if math.isfinite(value)]
        if self.log_scale:
            good = [(step, math.log10(value)) for step, value in good if value > 0]
        return good

    def _row(self, number: int, cells: list[int], marks: set[tuple[int, int]], scale: Scale, height: int) -> Strip:
        labelled = number in (0, height // 2, height - 1)
        value = scale.value(number / max(1, height - 1))
        label = f"{short(10**value if self.log_scale else value):>{LABEL_WIDTH - 2}} ┤" if labelled else " " * 7 + "│"
        base = self.rich_style
        line, mark = self._style("loss"), self._style("eval")
        segments = [Segment(label, self._style("axis"))]
        for x, dots in enumerate(cells):
            if (number, x) in marks:
                segments.append(Segment(MARK, mark))
            else:
                segments.append(Segment(chr(0x2800 + dots), line) if dots else Segment(" ", base))
        return Strip(segments).simplify()

    def _legend(self) -> Strip:
        loss, evals = self._style("loss"), self._style("eval")
        segments = [Segment(" " * LABEL_WIDTH, self.rich_style), Segment("━ loss", loss)]
        if self._eval:
            segments.append(Segment(f"   {MARK} eval loss", evals))
        segments.append(Segment("   (logarithmic)" if self.log_scale else "", self._style("axis")))
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _step_axis(self, first: int, last: int, width: int) -> Strip:
        left, right = count(first), f"{count(last)} steps"
        middle = count((first + last) // 2) if last - first > 1 and width > 40 else ""
        line = f"{left}{middle:^{max(0, width - len(left) - len(right))}}{right}"
        return Strip([Segment(" " * LABEL_WIDTH + line, self._style("axis"))]).adjust_cell_length(
            self.size.width, self.rich_style
        )

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"loss-chart--{part}")
