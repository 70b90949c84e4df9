"""Curves as Braille dots: values to pixel rows, steps to pixel columns, lines through cells of two by four dots."""

from __future__ import annotations

from collections.abc import Sequence

Points = Sequence[tuple[int, float]]
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
BLANK = 0x2800


class Scale:
    """Values to pixel rows, the largest on top."""

    def __init__(self, low: float, high: float, pixels: int):
        margin = (high - low) * 0.02 or abs(high) * 0.05 or 1.0
        self.low, self.high, self.pixels = low - margin, high + margin, pixels

    def pixel(self, value: float) -> int:
        return round((self.high - value) / (self.high - self.low) * (self.pixels - 1))

    def value(self, share: float) -> float:
        return self.high - (self.high - self.low) * share


def columns_of(points: list[tuple[int, float]], first: int, last: int, pixels: int) -> list[tuple[int, float]]:
    """(pixel column, mean of its points), left to right."""
    span = max(1, last - first)
    sums: dict[int, tuple[float, int]] = {}
    for step, value in points:
        x = (step - first) * (pixels - 1) // span
        total, number = sums.get(x, (0.0, 0))
        sums[x] = (total + value, number + 1)
    return [(x, total / number) for x, (total, number) in sorted(sums.items())]


def line_cells(columns: list[tuple[int, float]], scale: Scale, width: int, height: int) -> list[list[int]]:
    """The dots of each cell of a line through the columns."""
    cells = [[0] * width for _ in range(height)]
    before: tuple[int, int] | None = None
    for x, value in columns:
        y = scale.pixel(value)
        left, start = before or (x, y)
        for here in range(left, x + 1):
            share = (here - left) / (x - left) if x > left else 1.0
            level = round(start + (y - start) * share)
            previous = round(start + (y - start) * max(0.0, (here - left - 1) / (x - left))) if x > left else level
            for row in range(min(level, previous), max(level, previous) + 1):
                cells[row // 4][here // 2] |= DOTS[row % 4][here % 2]
        before = (x, y)
    return cells


def short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}" if abs(value) < 1e5 else f"{value:.0e}"
