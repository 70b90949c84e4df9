"""The loss chart: axes, two series that differ without colour, any number of points."""

from __future__ import annotations

import math
import time

from textual.app import App, ComposeResult

from ftui.widgets.loss_chart import LossChart, Points


class Alone(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.chart = LossChart()

    def compose(self) -> ComposeResult:
        yield self.chart

    def rows(self) -> list[str]:
        return [self.chart.render_line(y).text.rstrip() for y in range(self.chart.size.height)]


async def drawn(loss: Points, evals: Points = (), log_scale: bool = False) -> list[str]:
    app = Alone()
    async with app.run_test(size=(60, 14)):
        app.chart.log_scale = log_scale
        app.chart.show(loss, evals)
        return app.rows()


async def test_axes_say_what_is_shown() -> None:
    rows = await drawn([(1, 4.0), (50, 3.0), (100, 2.0)], [(100, 2.5)])
    assert "━ loss" in rows[0] and "◆ eval loss" in rows[0]
    assert rows[1].strip().startswith("4.0") and rows[12].strip().startswith("1.96")
    assert rows[13].split() == ["1", "50", "100", "steps"]
    assert sum(row.count("◆") for row in rows[1:]) == 1
    assert any("⠁" <= sign <= "⣿" for row in rows for sign in row)


async def test_a_falling_loss_falls_on_the_screen() -> None:
    rows = await drawn([(step, 5 - step / 50) for step in range(1, 201)])
    left = next(y for y, row in enumerate(rows[1:-1]) if row[8:10].strip())
    right = next(y for y, row in enumerate(rows[1:-1]) if row[57:60].strip())
    assert left < right


async def test_odd_figures_do_no_harm() -> None:
    assert await drawn([]) and not "".join(await drawn([])).strip()
    assert "2.000" in " ".join(await drawn([(1, 2.0)])) or await drawn([(1, 2.0)])
    rows = await drawn([(1, math.nan), (2, math.inf), (3, 2.0), (4, 1.0)])
    assert "nan" not in "".join(rows) and "inf" not in "".join(rows)
    rows = await drawn([(1, 0.0), (2, 100.0), (3, 1.0)], log_scale=True)
    assert "(logarithmic)" in rows[0]


async def test_twenty_thousand_points_are_drawn_quickly() -> None:
    app = Alone()
    async with app.run_test(size=(120, 30)):
        points = [(step, 5 * math.exp(-step / 8000) + 0.1 * math.sin(step)) for step in range(20_000)]
        app.chart.show(points, [])
        best = math.inf
        for _ in range(3):
            app.chart._drawn_for = None
            began = time.perf_counter()
            app.chart.render_line(0)
            best = min(best, time.perf_counter() - began)
        assert best < 0.2
