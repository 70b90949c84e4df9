"""`v` tells what a training will be and `f` makes it fit: the real pre-flight, of a tiny model with long rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.config.train import TrainConfig
from engines.contract import statefiles
from engines.llm import LLMEngine
from engines.running import devices
from finetune.preflight import USABLE
from tests.tui.conftest import opened


@pytest.fixture
def config(engine: LLMEngine, tiny_model: Path) -> TrainConfig:
    """What the form shows: eight long rows at once, of which each would fit alone."""
    rows = dialog_rows(40)
    for row in rows:
        row["messages"] = row["messages"] * 12
    write_dataset(engine.datasets.path("long"), rows)
    config = TrainConfig(
        base_model=str(tiny_model), batch_size=8, gradient_accumulation_steps=1, gradient_checkpointing=False,
        precision="fp32", device="cpu",
    )  # fmt: skip
    statefiles.write_json(engine.workspace.training_config, config.model_dump())
    return config


async def test_v_tells_what_will_be_and_f_makes_it_fit(
    engine: LLMEngine, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda: 1 << 20)
    found: dict[str, Any] = engine.preflight(engine.datasets.get("long"), config)
    between = (found["memory"]["total"] + found["memory_after_changes"]) / 2
    monkeypatch.setattr(devices, "free_memory", lambda: int(between / USABLE))
    async with opened(engine, (120, 60)) as ui:
        await ui.until(lambda: ui.screen.facts().dataset == "long")
        await ui.press("f")  # a key of the box alone
        await ui.press("v")
        await ui.until(lambda: ui.shows("Before the training", "36 rows to train on", "f make it fit"), 60)
        assert ui.shows("does NOT fit", "is learned in 36 of 36 rows", "Learned: like this")
        await ui.press("v")  # closes it, and changes nothing
        await ui.until(lambda: not ui.shows("Before the training"))
        assert ui.screen.params is not None and ui.screen.params.form.config == config
        await ui.press("v")
        await ui.until(lambda: ui.shows("f make it fit"), 60)
        await ui.press("f")
        await ui.until(lambda: ui.shows("Changed, so that it fits: ") and ui.screen.pane == "params")
        changed = ui.screen.params.form.config
        assert changed is not None and changed != config
        assert changed.batch_size * changed.gradient_accumulation_steps == 8  # rows a step
        await ui.press("v")
        await ui.until(lambda: ui.shows("Before the training", "p probe speed and memory"), 60)
        assert not ui.shows("f make it fit")
