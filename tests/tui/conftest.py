"""The app on a real workspace with a real engine. What takes torch is done by training_job.py."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from engines.contract import statefiles
from engines.llm import LLMEngine
from engines.running.runs import Run
from engines.tuning import sweep_space, trials
from engines.tuning.trials import Trial
from engines.workspace import Workspace
from ftui.app import FtuiApp
from ftui.screens.llm import LLMScreen

ROOT = Path(__file__).resolve().parent.parent.parent
JOB = Path(__file__).with_name("training_job.py")
SIZE = (120, 40)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FTUI_HOME", str(tmp_path / "ftui"))
    monkeypatch.setenv("FTUI_ASCII", "0")
    monkeypatch.delenv("NO_COLOR", raising=False)
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LLMEngine]:
    """An engine on an empty workspace. No run of it outlives the test."""
    found = LLMEngine(Workspace(tmp_path / "ftui"))
    yield found
    for run in found.runs.list():
        if run.status().active:
            found.stop(run, 0.1)
            found.runs.wait(run, 20)


@pytest.fixture
def stand_in(engine: LLMEngine, tmp_path: Path) -> Path:
    """Make training_job.py the interpreter of the training environment. Returns the file with its extra flags."""
    python, extra = tmp_path / "python", tmp_path / "flags"
    extra.write_text("--steps 8 --seconds 0.02")
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(JOB))} "$@" $(cat {extra})\n')
    python.chmod(0o755)
    engine.environments.choose("llm", python)
    return extra


def start_run(engine: LLMEngine, *flags: str, name: str = "chats-quick") -> Run:
    """A real run under a real supervisor."""
    argv = [sys.executable, str(JOB), "--checkpoints", "{run}/checkpoints", *flags]
    run = engine.runs.create("train", name, argv, config={}, env={"PYTHONPATH": str(ROOT)}, adapter=name)
    engine.runs.start(run)
    return run


def add_dataset(
    engine: LLMEngine, name: str = "chats", dialogs: int = 40, report: dict[str, Any] | None = None
) -> None:
    """A dataset with its report, as the preparation writes them."""
    rows = (
        {
            "messages": [
                {"role": "user", "content": f"Question {number}?"},
                {"role": "assistant", "content": f"Answer {number}."},
            ]
        }
        for number in range(1, dialogs + 1)
    )
    file = engine.datasets.path(name)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    figures = {
        "dialogs": dialogs, "turns": 2 * dialogs, "conversations": 12, "messages_read": 100, "messages_used": 80,
        "owner": {"name": "Sample Owner", "id": "user1", "found_by": "personal_information"},
        "dropped": {"sticker": 9, "unanswered": 5, "photo": 3, "poll": 2, "service": 1},
        "repaired": 1, "lost": 0, "shortened": 2,
    }  # fmt: skip
    statefiles.write_json(file.with_suffix(".report.json"), figures if report is None else report)
    os.utime(file, (1_700_000_000, 1_700_000_000))


def add_adapter(engine: LLMEngine, name: str, created_at: float = 1_700_000_000.0, **card: Any) -> Path:
    """A complete adapter, small."""
    folder = engine.adapters.folder / name
    (folder / "final").mkdir(parents=True)
    (folder / "final" / "adapter_model.safetensors").write_bytes(b"\0" * 4096)
    statefiles.write_json(folder / "final" / "adapter_config.json", {"r": 8})
    document = {
        "name": name,
        "base_model": "/models/smollm2-135m-instruct",
        "dataset": {"name": "chats_dataset.jsonl"},
        "created_at": created_at,
        "figures": {"loss": 2.345, "eval_loss": 2.567},
    }
    statefiles.write_json(folder / "card.json", {**document, **card})
    return folder


def add_sweep(engine: LLMEngine) -> None:
    """A finished sweep as its script leaves it, with figures that stay."""
    plan = sweep_space.make_plan(
        {"space": {"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}, "lora_rank": [4, 8, 16]}, "trials": 12}
    )
    run = engine.runs.create("sweep", "tuned", ["true"], config=plan.as_dict(), dataset="chats")
    done = [
        Trial(
            1,
            {"learning_rate": 1e-4, "lora_rank": 4},
            "done",
            "r1",
            "tuned-t01",
            2.41,
            [3.1, 2.8, 2.6, 2.5, 2.41],
            seconds=62,
        ),
        Trial(
            2,
            {"learning_rate": 1e-3, "lora_rank": 16},
            "done",
            "r2",
            "tuned-t02",
            2.18,
            [2.9, 2.5, 2.3, 2.2, 2.18],
            seconds=70,
        ),
        Trial(
            3, {"learning_rate": 1.2e-5, "lora_rank": 8}, "pruned", "r3", "tuned-t03", None, [3.6], True, 21, "worse"
        ),
        Trial(4, {"learning_rate": 9e-4, "lora_rank": 8}, "failed", "r4", "tuned-t04", cause="out of memory"),
        Trial(5, {"learning_rate": 6e-4, "lora_rank": 16}, "running", evaluations=[2.95]),
    ]
    trials.write(run.folder, done)
    statefiles.write_json(run.folder / "status.json", {"state": "stopped", "attempt": 1, "ended_at": 1_700_000_000.0})


class Driver:
    """The app, driven by keys, with what a test looks at."""

    def __init__(self, pilot: Pilot[None], app: FtuiApp):
        self.pilot = pilot
        self.app = app

    @property
    def screen(self) -> LLMScreen:
        """The language-model screen, whatever stands in front of it."""
        return next(screen for screen in self.app.screen_stack if isinstance(screen, LLMScreen))

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """As a terminal hands over what is pasted."""
        assert self.app.focused is not None
        self.app.focused.post_message(events.Paste(text))
        await self.pilot.pause()

    async def until(self, condition: Callable[[], object], seconds: float = 15.0) -> None:
        """Wait until `condition` holds, looking at it often."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"in vain after {seconds} s; on the screen:\n{self.text()}"
            await self.pilot.pause(0.02)

    async def ready(self) -> None:
        """The engine is loaded, the lists are read, the form stands."""
        await self.until(lambda: self.screen.lists is not None and self.screen.params is not None and self.app.device)
        await self.until(lambda: self.app.focused is not None)

    def text(self) -> str:
        """All that is on the terminal, line by line."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)

    def shows(self, *texts: str) -> bool:
        shown = self.text()
        return all(text in shown for text in texts)

    async def go_to(self, pane: str) -> None:
        while self.screen.pane != pane:
            await self.press("tab")


@asynccontextmanager
async def opened(engine: LLMEngine, size: tuple[int, int] = SIZE):  # type: ignore[no-untyped-def]
    """The app, ready."""
    app = FtuiApp(engine.workspace.home)
    async with app.run_test(size=size, notifications=True) as pilot:
        driver = Driver(pilot, app)
        await driver.ready()
        yield driver
