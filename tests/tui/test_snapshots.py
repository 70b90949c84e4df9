"""Pictures of the app at three sizes, with fixed data and a fixed clock.

After a wanted change of looks: pytest tests/tui/test_snapshots.py --snapshot-update, then look at the pictures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot

from engines.contract import statefiles
from engines.llm import LLMEngine
from engines.tts import TTSEngine
from ftui.app import FtuiApp
from ftui.screens.llm import LLMScreen
from ftui.widgets import run_figures
from tests.tui.conftest import Driver, add_adapter, add_dataset, add_sweep
from tests.tui.test_voice import add_samples
from tests.tui.test_voice import go as open_voices

NOW = 1_700_001_000.0
NEXT = "Lower the batch size or the max length, then resume."
SIZES = [(80, 24), (120, 40), (200, 60)]
MACHINE = {
    "gpus": [], "cores": 8, "free_memory": 12_300_000_000, "free_disk": 80_000_000_000, "embedded_model": False,
    "environment": {"ready": False, "missing": ["torch"], "problem": "", "python_version": "3.12", "packages": {},
                    "kind": "llm"},
    "voice_environment": {"ready": True, "missing": [], "problem": "", "python_version": "3.12", "packages": {},
                          "kind": "tts"},
    "datasets": 0, "adapters": 0,
}  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown of the time and of the machine is always the same."""
    monkeypatch.setattr(run_figures, "time", SimpleNamespace(time=lambda: NOW))
    monkeypatch.setattr(FtuiApp, "_find_device", lambda app: "CPU, 8 cores")
    monkeypatch.setattr(LLMEngine, "doctor", lambda engine: MACHINE)


def past_run(engine: LLMEngine, state: str, steps: int, **status: Any) -> Path:
    """A run as its supervisor left it, with the events of a training in its log."""
    run = engine.runs.create("train", "chats-20231114-2230", ["true"], config={}, adapter="chats-20231114-2230")
    spec = statefiles.read_json(run.folder / "spec.json")
    statefiles.write_json(run.folder / "spec.json", {**spec, "created_at": NOW - 300})
    log: list[str | dict[str, Any]] = [
        {"event": "attempt", "attempt": 1, "time": NOW - 300},
        {"event": "phase", "name": "load", "text": "loading smollm2-135m-instruct on cpu, fp32", "time": NOW - 299},
        "warnings.warn(",
        {"event": "train", "total_steps": 60, "first_step": 0, "epochs": 2.0, "time": NOW - 290},
    ]
    for step in range(1, steps + 1):
        loss = 2.4 + 2.6 * math.exp(-step / 15) + 0.12 * math.sin(step * 2.1)
        event = {"event": "metrics", "step": step, "epoch": step / 30, "time": NOW - 290 + 5 * step}
        log.append({**event, "loss": loss, "learning_rate": 2e-4, "grad_norm": 0.9, "tokens_per_second": 141.0})
        if step % 10 == 0:
            log.append({**event, "eval_loss": loss + 0.2})
    (run.folder / "log").write_text("".join(f"{_line(item)}\n" for item in log))
    document = {"attempt": 1, "state": state, "started_at": NOW - 300, **status}
    statefiles.write_json(run.folder / "status.json", document)
    return run.folder


def _line(item: str | dict[str, Any]) -> str:
    return item if isinstance(item, str) else json.dumps(item)


def when(
    *keys: str, shown: Callable[[LLMScreen], object] = lambda screen: True, then: str = ""
) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Wait until all is loaded, then press `keys`, and wait until the terminal shows `then`."""

    async def prepare(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, FtuiApp)
        ui = Driver(pilot, pilot.app)
        await ui.ready()
        await ui.until(lambda: shown(ui.screen))
        await settled(ui)  # the check of the parameters, too
        for key in keys:
            await ui.press(key)
        await ui.until(lambda: ui.shows(then), seconds=60)
        await settled(ui)

    return prepare


async def settled(ui: Driver) -> None:
    """Wait until the screen has not changed for a second: on a busy machine drawing comes late."""
    before, same = None, 0
    while same < 5:
        await ui.pilot.pause(0.2)
        now = ui.app.screen._compositor.render_strips()  # with all colours
        same = same + 1 if now == before else 0
        before = now


def has_head(words: str) -> Callable[[LLMScreen], bool]:
    return lambda screen: words in str(screen.run_panel.head.content)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_first_run(snap_compare: Any, engine: LLMEngine, clock: None, size: tuple[int, int]) -> None:
    shown = when(shown=lambda screen: "open a chat" in str(screen.dataset_panel.statistics.content))
    assert snap_compare(FtuiApp(), terminal_size=size, run_before=shown)


@pytest.fixture
def full(engine: LLMEngine, stand_in: Path) -> LLMEngine:
    add_dataset(engine, dialogs=300)
    add_adapter(engine, "chats-20231113-0900")
    add_adapter(engine, "chats-20231114-2100", 1_700_000_500.0)
    engine.adapters.activate("chats-20231114-2100")
    return engine


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_training(snap_compare: Any, full: LLMEngine, clock: None, size: tuple[int, int]) -> None:
    folder = past_run(full, "running", 42)
    lock = statefiles.lock(folder / "supervisor.lock")  # a supervisor lives
    assert lock is not None
    keys = ("tab", "tab") if size == (80, 24) else ()
    assert snap_compare(FtuiApp(), terminal_size=size, run_before=when(*keys, shown=has_head("step 42/60")))


def test_failed(snap_compare: Any, full: LLMEngine, clock: None) -> None:
    cause = "out of memory: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    folder = past_run(full, "failed", 17, ended_at=NOW - 100, exit_code=1, cause=cause, next_step=NEXT)
    folder.rename(full.workspace.runs / "20231114-223000-train-0001")
    assert snap_compare(FtuiApp(), terminal_size=(120, 40), run_before=when("tab", "tab", shown=has_head("17/60")))


def test_help(snap_compare: Any, full: LLMEngine, clock: None) -> None:
    assert snap_compare(FtuiApp(), terminal_size=(80, 24), run_before=when("question_mark", then="esc closes"))


def test_adapters(snap_compare: Any, full: LLMEngine, clock: None) -> None:
    assert snap_compare(
        FtuiApp(), terminal_size=(80, 24), run_before=when("tab", "tab", "tab", "d", then="No, keep it")
    )


def test_merge(snap_compare: Any, full: LLMEngine, clock: None) -> None:
    add_dataset(full, "faq", dialogs=12)
    assert snap_compare(
        FtuiApp(), terminal_size=(80, 24), run_before=when("M", "j", "space", then="faq chats --name merged")
    )


def test_sweep(snap_compare: Any, full: LLMEngine, clock: None) -> None:
    add_sweep(full)
    assert snap_compare(FtuiApp(), terminal_size=(80, 24), run_before=when("S", then="adapter tuned-t02"))


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
def test_voice(snap_compare: Any, engine: LLMEngine, clock: None, size: tuple[int, int]) -> None:
    add_samples(TTSEngine(engine.workspace))

    async def look(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, FtuiApp)
        ui = Driver(pilot, pilot.app)
        await ui.ready()
        await open_voices(ui)
        await ui.press("j")
        await ui.until(lambda: ui.shows("Bxatl?", "▇"))
        await settled(ui)

    assert snap_compare(FtuiApp(), terminal_size=size, run_before=look)
