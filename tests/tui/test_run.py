"""The Run pane: a run is followed to its end, stopped, resumed, found again, left behind."""

from __future__ import annotations

from pathlib import Path

from engines.llm import LLMEngine
from engines.running.runs import Run
from tests.tui.conftest import Driver, add_dataset, opened, start_run


def state(run: Run) -> str:
    return run.status().state


async def test_a_run_that_somebody_started_is_followed_to_its_end(engine: LLMEngine) -> None:
    async with opened(engine) as ui:
        run = start_run(engine, "--steps", "30", "--seconds", "0.05")
        await ui.until(lambda: ui.shows("● running", "chats-quick", "step "))
        await ui.until(lambda: ui.shows("✓ done", "step 30/30", "2.00/2", "140 tokens/s", "elapsed", "eval loss"))
        await ui.until(lambda: ui.shows("━ loss", "◆ eval loss", "30 steps", "step 30 took"))
        assert state(run) == "done"


async def test_a_failure_says_cause_next_step_code_log_and_key(engine: LLMEngine) -> None:
    run = start_run(engine, "--fail-at", "3")
    engine.runs.wait(run)
    async with opened(engine, (120, 50)) as ui:
        await ui.until(lambda: ui.shows("✗ failed", "out of memory: tried to allocate 2 GB"))
        assert ui.shows("next: Lower the batch size.", "exit code 1", "Press r to resume")
        await ui.press("r")  # from the checkpoint at step 3
        await ui.until(lambda: ui.shows("✓ done", "attempt   2", "step 20/20"))


async def test_stop_saves_and_resume_goes_on(engine: LLMEngine) -> None:
    run = start_run(engine, "--steps", "60", "--seconds", "0.2")  # it must still run when the app is up
    async with opened(engine) as ui:
        await ui.until(lambda: ui.shows("● running", "step "))
        await ui.press("r")
        await ui.until(lambda: ui.shows("chats-quick is running"))  # why r does nothing
        await ui.press("x")
        await ui.until(lambda: ui.shows("■ stopped", "Press r to resume"))
        assert state(run) == "stopped"
        await ui.press("r")
        await ui.until(lambda: ui.shows("✓ done", "step 60/60", "attempt   2"), 40)
        await ui.press("x")
        await ui.until(lambda: ui.shows("chats-quick is not running"))


async def test_start_trains_and_the_new_adapter_appears(engine: LLMEngine, stand_in: Path) -> None:
    add_dataset(engine, dialogs=400)
    async with opened(engine) as ui:
        await ui.press("s")
        await ui.until(lambda: ui.screen.pane == "run" and ui.shows("✓ done"))
        adapter = engine.adapters.list()[0]
        await ui.until(lambda: ui.screen.adapter_panel.adapter is not None and ui.shows(adapter.name))


async def test_the_sample_answers_are_read(engine: LLMEngine) -> None:
    engine.runs.wait(start_run(engine, "--steps", "4", "--answers", name="talker"))
    async with opened(engine) as ui:
        await ui.go_to("run")
        await ui.until(lambda: ui.shows("✓ done", "talker"))
        await ui.press("a")
        await ui.until(lambda: ui.shows("Sample answers", "> Tea?", "step      2: cup 2 ~", "step      4: cup 4 ~"))


async def test_the_demo_prepares_the_sample_and_trains_on_it(engine: LLMEngine, stand_in: Path) -> None:
    async with opened(engine) as ui:
        await ui.press("D")
        await ui.until(lambda: engine.runs.list("train") and ui.shows("✓ done", "sample"))
        run = engine.runs.list("train")[0]
        assert run.spec["dataset"] == "sample" and run.spec["config"]["base_model"] == "embedded"
        await ui.until(lambda: ui.screen.facts().dataset == "sample" and "--preset demo" in ui.screen.jobs.command())


async def test_all_runs_are_listed_and_one_is_shown(engine: LLMEngine) -> None:
    first = start_run(engine, "--steps", "3", name="first")
    engine.runs.wait(first)
    second = start_run(engine, "--steps", "3", name="second")
    engine.runs.wait(second)
    async with opened(engine) as ui:
        await ui.until(lambda: ui.shows("✓ done", "second"))
        await ui.press("t")
        await ui.until(lambda: ui.shows("Runs", "kind", "first", "second"))
        await ui.press("j", "enter")
        await ui.until(lambda: ui.screen.run_panel.run is not None and ui.screen.run_panel.run.id == first.id)
        await ui.until(lambda: ui.shows("✓ done  first"))


async def quit_while_training(ui: Driver, *answer: str) -> None:
    await ui.until(lambda: ui.shows("● running"))
    await ui.press("q")
    await ui.until(lambda: ui.shows("Detach: leave, the training goes on", "Stop and save", "Cancel"))
    await ui.press(*answer)


async def test_quitting_during_a_run_detaches_by_default_and_the_run_goes_on(engine: LLMEngine, tmp_path: Path) -> None:
    end = tmp_path / "end"
    run = start_run(engine, "--wait-for", str(end), "--seconds", "0.05")
    async with opened(engine) as ui:
        await quit_while_training(ui, "c")
        assert ui.app.is_running
        await quit_while_training(ui, "enter")
        await ui.until(lambda: not ui.app.is_running)
    assert state(run) == "running"
    async with opened(engine) as ui:  # found again, with its whole history
        await ui.until(lambda: ui.shows("● running", "step 20/20"))
        follower = ui.screen.run_panel.follower
        assert follower is not None and follower.progress.losses[0][0] == 1
        end.touch()
        await ui.until(lambda: ui.shows("✓ done"))


async def test_quitting_can_stop_and_save(engine: LLMEngine, tmp_path: Path) -> None:
    run = start_run(engine, "--wait-for", str(tmp_path / "never"), "--seconds", "0.05")
    async with opened(engine) as ui:
        await quit_while_training(ui, "s")
        await ui.until(lambda: not ui.app.is_running)
    assert engine.runs.wait(run, 20).state == "stopped"
