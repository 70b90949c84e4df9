"""The log pane: all lines, in order, without holding them; frozen when somebody reads; search."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from engines.running.follow import LogFile
from ftui.widgets.log_view import LogView


class Alone(App[None]):
    """The pane without the rest."""

    def __init__(self, path: Path):
        super().__init__()
        self.view = LogView()
        self.file = LogFile(path)
        self.animation_level = "none"

    def compose(self) -> ComposeResult:
        yield self.view

    def on_mount(self) -> None:
        self.view.styles.height = "100%"
        self.view.show(self.file)
        self.view.focus()

    def poll(self) -> None:
        self.file.poll_all()
        self.view.grew()

    def lines(self) -> list[str]:
        return [self.view.render_line(y).text.rstrip() for y in range(self.view.size.height)]


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await pilot.pause(0.02)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(1, 101)))
    return path


async def test_it_follows_until_one_scrolls_up_and_again_after_the_end_key(log: Path) -> None:
    app = Alone(log)
    async with app.run_test(size=(40, 10)) as pilot:
        app.poll()
        await until(pilot, lambda: app.lines()[-1] == "line 100" and app.view.has_focus)
        await pilot.press("up")
        await until(pilot, lambda: not app.view.following and app.lines()[-1] == "line 99")
        with log.open("a") as file:
            file.write("".join(f"line {number}\n" for number in range(101, 233)))
        app.poll()
        await pilot.pause()
        assert app.lines()[-1] == "line 99" and app.view.position == "▼ 132 new · G follows"
        app.view.action_scroll_end()
        await until(pilot, lambda: app.lines()[-1] == "line 232" and app.view.position == "")
        app.view.action_scroll_home()
        await until(pilot, lambda: app.lines()[0] == "line 1")


async def test_every_line_of_a_large_log_can_be_reached(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(200_000)))
    app = Alone(path)
    async with app.run_test(size=(40, 10)) as pilot:
        app.poll()
        for top in (0, 77_777, 123_456, 199_990):
            app.view.scroll_to(y=top, animate=False, force=True)
            await pilot.pause()
            assert app.lines() == [f"line {number}" for number in range(top, top + 10)]


async def test_search_goes_on_and_back_and_round(log: Path) -> None:
    app = Alone(log)
    async with app.run_test(size=(40, 10)) as pilot:
        app.poll()
        app.view.action_scroll_home()
        await pilot.pause()
        app.view.search("LINE 5")  # whatever its case
        await until(pilot, lambda: app.view.found == 4)
        app.view.search("line 5", again=True)
        await until(pilot, lambda: app.view.found == 49 and "line 50" in app.lines())
        app.view.search("line 5", again=True, backwards=True)
        await until(pilot, lambda: app.view.found == 4)
        app.view.search("line 5", again=True, backwards=True)
        await until(pilot, lambda: app.view.found == 58)
        app.view.search("not there")
        await until(pilot, lambda: app.view.found is None)


async def test_a_match_is_marked_without_colour(log: Path) -> None:
    app = Alone(log)
    async with app.run_test(size=(40, 10)) as pilot:
        app.poll()
        app.view.search("line 95", backwards=True)
        await until(pilot, lambda: app.view.found == 94)
        strip = app.view.render_line(app.lines().index("line 95"))
        assert [segment.text for segment in strip if segment.style and segment.style.reverse] == ["line 95"]


async def test_a_replaced_log_and_a_progress_bar(log: Path) -> None:
    app = Alone(log)
    async with app.run_test(size=(40, 10)) as pilot:
        app.poll()
        log.unlink()
        log.write_bytes(b"another\n10%|#  |\r99%|## |\rstill going")
        app.poll()
        await until(pilot, lambda: app.lines()[:2] == ["another", "still going"])


def test_find_reads_events_as_they_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "log"
    metrics, progress = '{"event": "metrics", "step": 3, "loss": 1.5}', '{"event": "progress", "done": 1}'
    path.write_text(f"first\n{metrics}\n{progress}\nlast Ünïcode\n")
    log = LogFile(path)
    log.poll_all()
    assert log.find("step 3  loss 1.5", 0) == 1
    assert log.find("üNÏCODE", 0) == 2 and log.find("first", 2, backwards=True) == 0
    assert log.find("progress", 0) is None
