"""Sweeps in the app: started by keys, watched, its trials' runs opened, the best one activated."""

from __future__ import annotations

import time
from pathlib import Path

from engines.llm import LLMEngine
from engines.running.runs import Run
from engines.tuning import sweep_space, sweeps, trials
from ftui.screens.start_sweep import StartSweepScreen
from ftui.screens.sweeps import SweepsScreen
from tests.tui.conftest import add_dataset, add_sweep, opened

SPACE = """
space: {learning_rate: [1.0e-3, 1.0e-4], lora_rank: {low: 2, high: 32, log: true}}
config: {gradient_accumulation_steps: 2, device: cpu}
trials: 2
"""


async def test_a_sweep_from_the_first_key_to_the_active_adapter(engine: LLMEngine, stand_in: Path) -> None:
    add_dataset(engine)
    sweeps.space_file(engine).write_text(SPACE)
    async with opened(engine) as ui:
        await ui.press("S")
        await ui.until(lambda: ui.shows("No sweep yet"))
        await ui.press("s")
        await ui.until(lambda: isinstance(ui.app.screen, StartSweepScreen))
        await ui.until(lambda: ui.shows("--name chats-sweep1", "2 trials of", "lora_rank: 2 to 32"))
        await ui.press("s")
        await ui.until(
            lambda: isinstance(ui.app.screen, SweepsScreen) and ui.shows("chats-sweep1", "2 of 2 trials", "★"), 60
        )
        (run,) = engine.runs.list("sweep")
        await ui.until(lambda: ui.shows("✓ done  2 of 2 trials (tpe)"), 30)
        found = trials.read(run.folder)
        assert [trial.state for trial in found] == ["done", "done"] and len(engine.adapters.list()) == 1
        await ui.until(lambda: ui.shows(f"lora_rank={found[0].values['lora_rank']}"))
        await ui.press("b")
        await ui.until(lambda: engine.adapters.active() == "chats-sweep1-t01")
        await ui.press("enter")
        await ui.until(lambda: ui.screen.run_panel.run is not None and ui.screen.run_panel.run.id == found[0].run)
        await ui.press("S", "x")
        await ui.until(lambda: ui.shows("No sweep runs here"))


async def test_stop_and_resume(engine: LLMEngine, stand_in: Path) -> None:
    add_dataset(engine)
    stand_in.write_text("--steps 400 --seconds 0.02")
    sweeps.space_file(engine).write_text(SPACE)
    async with opened(engine) as ui:
        await ui.press("S", "s")
        await ui.until(lambda: isinstance(ui.app.screen, StartSweepScreen))
        await ui.press("s")
        await ui.until(lambda: ui.shows("● running  0 of 2 trials", "● running"), 30)
        await ui.until(lambda: engine.runs.newest("train", active=True) is not None, 30)
        await ui.press("x")
        await ui.until(lambda: ui.shows("■ stopped"), 60)
        assert engine.runs.newest("train", active=True) is None
        await ui.press("r")
        await ui.until(lambda: engine.runs.newest("train", active=True) is not None, 30)
        (run,) = engine.runs.list("sweep")
        sweeps.stop(engine, run)
        engine.runs.wait(run, 60)


def test_a_trial_is_stopped_alone_or_with_its_sweep(engine: LLMEngine, stand_in: Path) -> None:
    add_dataset(engine)
    stand_in.write_text("--steps 4000 --seconds 0.02")
    sweeps.space_file(engine).write_text(SPACE)
    plan = sweep_space.make_plan(sweep_space.read(sweeps.space_file(engine)))
    sweep = sweeps.start(engine, engine.datasets.get("chats"), plan, name="two")

    def running(number: int) -> Run:
        for _ in range(400):
            run = engine.runs.newest("train", active=True)
            if run is not None and run.spec["part_of"]["trial"] == number and run.status().state == "running":
                return run
            time.sleep(0.05)
        raise AssertionError(sweep.log.read_text())

    engine.runs.request_stop(running(1), 5)  # `ftui runs stop`: this trial alone
    second = running(2)
    first = trials.read(sweep.folder)[0]
    assert (first.state, first.cause) == ("pruned", "somebody stopped it")
    engine.stop(second)  # `ftui llm stop`, x: the sweep
    assert engine.runs.wait(sweep, 60).state == "stopped" and engine.runs.wait(second, 60).state == "stopped"
    assert trials.read(sweep.folder)[1].state == "running"


def test_trials_that_fail_are_told_and_end_the_sweep(engine: LLMEngine, stand_in: Path) -> None:
    add_dataset(engine)
    stand_in.write_text("--steps 8 --seconds 0.01 --fail-at 2")
    sweeps.space_file(engine).write_text(SPACE)
    plan = sweep_space.make_plan(sweep_space.read(sweeps.space_file(engine)), {"trials": 5})
    sweep = sweeps.start(engine, engine.datasets.get("chats"), plan, name="bad")
    status = engine.runs.wait(sweep, 60)
    assert status.state == "failed" and "the first 3 trials failed" in status.cause and status.next_step
    assert [trial.state for trial in trials.read(sweep.folder)] == ["failed"] * 3
    assert all("out of memory" in trial.cause for trial in trials.read(sweep.folder))
    assert engine.adapters.list() == []


async def test_a_wrong_space_is_told_before_the_start(engine: LLMEngine, stand_in: Path) -> None:
    add_dataset(engine)
    sweeps.space_file(engine).write_text("space: {lora_rnk: [1]}")
    async with opened(engine) as ui:
        await ui.press("S", "s")
        await ui.until(lambda: ui.shows("did you mean lora_rank"))
        await ui.press("s")
        await ui.press("escape")
        assert engine.runs.list("sweep") == []


async def test_the_table_at_80_columns_and_at_120(engine: LLMEngine) -> None:
    add_dataset(engine)
    add_sweep(engine)
    for size in ((80, 24), (120, 40)):
        async with opened(engine, size) as ui:
            await ui.press("S")
            await ui.until(lambda: ui.shows("■ stopped  4 of 12 trials (tpe)", "best eval loss 2.1800 (trial 2)", "★"))
            lines = [line for line in ui.text().splitlines() if "●" in line or "✗" in line or "✂" in line]
            order = [number for line in lines for number in "12345" if f" {number}  " in line][:5]
            assert order[:2] == ["2", "1"], ui.text()
            await ui.press("j", "j", "j", "j")
            await ui.until(lambda: ui.shows("out of memory"))
