"""The list of runs: compared, moved in the queue, stopped, deleted and brought back."""

from __future__ import annotations

import sys
from pathlib import Path

from engines.llm import LLMEngine
from engines.running import history
from engines.running.runs import Run
from ftui.screens.compare import shortened
from ftui.widgets import curves
from tests.tui.conftest import JOB, ROOT, opened, start_run


def on_cpu(engine: LLMEngine, name: str, *flags: str) -> Run:
    """A training that takes the device, or waits for it."""
    argv = [sys.executable, str(JOB), "--checkpoints", "{run}/checkpoints", *flags]
    run = engine.runs.create(
        "train", name, argv, device="cpu", config={}, env={"PYTHONPATH": str(ROOT)}, adapter=name
    )  # fmt: skip
    engine.runs.start(run)
    return run


async def test_two_trainings_are_compared(engine: LLMEngine) -> None:
    for name, steps in (("short", "6"), ("long", "20")):
        engine.runs.wait(start_run(engine, "--steps", steps, name=name))
    broken = start_run(engine, "--steps", "20", "--fail-at", "10", name="broken")
    engine.runs.wait(broken)
    figures = history.compare([engine.runs.get("broken"), engine.runs.get("long")])["figures"]
    assert figures["steps"][0] == 10 and figures["loss"][0] > 0 and figures["seconds"][0] > 0  # also without a result
    engine.runs.delete(broken)
    async with opened(engine, (120, 50)) as ui:
        await ui.press("t")
        await ui.until(lambda: ui.shows("short", "long", "space marks"))
        await ui.press("c")
        await ui.until(lambda: ui.shows("one run cannot be compared"))
        await ui.press("space", "j", "space")
        await ui.until(lambda: ui.text().count("▪") == 2)
        await ui.press("c")
        await ui.until(
            lambda: ui.shows("Trainings compared", "the same parameters", "a ━ long", "b ━ short", "20 steps")
        )
        await ui.press("escape", "escape")


async def test_the_queue_is_reordered_and_left(engine: LLMEngine, tmp_path: Path) -> None:
    end = tmp_path / "end"
    running = on_cpu(engine, "running", "--wait-for", str(end))
    waiting = [on_cpu(engine, name, "--steps", "3") for name in ("first", "second", "third")]
    assert engine.training_run().id == running.id  # the one that runs, not the newest that waits
    async with opened(engine, (120, 40)) as ui:
        await ui.until(lambda: ui.screen.run_panel.run is not None)
        assert ui.screen.run_panel.run.id == running.id
        await ui.press("t")
        await ui.until(lambda: ui.shows("◌ queued 1", "◌ queued 2", "◌ queued 3"))
        await ui.press("K")  # the newest is on top of the list: third
        await ui.until(lambda: [run.name for run in engine.runs.queue()] == ["first", "third", "second"])
        await ui.press("j", "x")  # second leaves
        await ui.until(lambda: waiting[1].status().state == "stopped")
        await ui.press("d")
        await ui.until(lambda: "second" not in [run.name for run in engine.runs.list()])
        await ui.press("escape", "u")
        await ui.until(lambda: "second" in [run.name for run in engine.runs.list()])
    end.touch()
    assert [engine.runs.wait(run, 30).state for run in (running, waiting[2], waiting[0])] == ["done"] * 3
    assert (waiting[0].status().started_at or 0) < (waiting[2].status().started_at or 0)


def test_names_that_end_differently_stay_different() -> None:
    names = [f"chats-20261123-230{minute}" for minute in range(3)]
    assert len({shortened(name, 12) for name in names}) == 3 and {len(shortened(name, 12)) for name in names} == {12}
    assert shortened("short", 12) == "short"


def test_curves_are_told_apart_without_colour() -> None:
    falling, flat, same = [(1, 3.0), (10, 1.0)], [(1, 3.0), (5, 3.0)], [(1, 2.0), (10, 1.0)]
    drawn = curves.draw([("one", falling), ("two", flat), ("three", same)], 40, 5).plain.splitlines()
    assert drawn[0].split("   ")[:3] == ["a ━ one", "b ━ two", "c ━ three"]
    assert drawn[5].endswith("ca") and "b" in drawn[1]  # where each one ends; two ends at one place side by side


async def test_the_keys_stay_in_sight_below_many_runs(engine: LLMEngine) -> None:
    for number in range(30):
        engine.runs.create("train", f"run-{number}", ["true"], config={})
    async with opened(engine, (80, 24)) as ui:
        await ui.press("t")
        await ui.until(lambda: ui.shows("run-29", "space marks, c compares", "R repeats, E extends"))
        await ui.press("G")
        await ui.until(lambda: ui.shows("run-0 ", "space marks, c compares"))
        await ui.press("escape", "B")
        await ui.until(lambda: ui.shows("Base models", "enter chooses", "f fetches"))
