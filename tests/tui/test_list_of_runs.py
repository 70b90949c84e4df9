"""The list of runs: compared, moved in the queue, stopped, deleted and brought back."""

from __future__ import annotations

import sys
from pathlib import Path

from engines.config.train import TrainConfig
from engines.contract import statefiles
from engines.llm import LLMEngine
from engines.running import history
from engines.running.runs import Run
from ftui.format import shortened
from ftui.widgets import curves
from ftui.widgets.list_table import ListTable
from tests.tui.conftest import JOB, ROOT, add_dataset, opened, start_run


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


async def test_at_80_columns_it_is_told_whole_how_long_each_took(engine: LLMEngine) -> None:
    run = engine.runs.create("evaluate", "sample-20261128-0447-longer", ["true"], config={})
    status = {"state": "stopped", "attempt": 1, "started_at": 1_700_000_000.0, "ended_at": 1_700_001_684.0}
    statefiles.write_json(run.folder / "status.json", status)
    async with opened(engine, (80, 24)) as ui:
        await ui.press("t")
        await ui.until(lambda: ui.shows("28 min 04 s"))
        await ui.pilot.resize_terminal(140, 40)
        await ui.until(lambda: ui.shows("28 min 04 s", "sample-20261128-0447-longer"))


async def test_what_is_repeated_is_said_to_wait_where_it_does(
    engine: LLMEngine, stand_in: Path, tmp_path: Path
) -> None:
    add_dataset(engine)
    config = TrainConfig(base_model="embedded", gradient_accumulation_steps=1, device="cpu")
    done = engine.train(engine.datasets.get("chats"), config, name="mine")
    engine.runs.wait(done, 30)
    end = tmp_path / "end"
    running = on_cpu(engine, "running", "--wait-for", str(end))
    async with opened(engine, (120, 40)) as ui:
        await ui.press("t")
        await ui.until(lambda: ui.shows("mine", "running"))
        await ui.press("j", "R")
        await ui.until(lambda: ui.shows("mine-again waits for its device", "◌ queued 1"))
    end.touch()
    engine.runs.wait(running, 30)


async def test_a_cell_that_grows_is_shown_whole_also_where_it_was_drawn_meanwhile(engine: LLMEngine) -> None:
    async with opened(engine) as ui:
        table = ListTable(("name", "took"))
        await ui.app.screen.mount(table)
        table.fill([("one", ("mine", "42 s"))])
        await ui.pilot.pause(0.2)
        table.fill([("one", ("mine", "12 min 04 s"))])
        assert "12 m" in table.render_line(1).text  # before the columns are measured
        await ui.until(lambda: "12 min 04 s" in table.render_line(1).text)


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
