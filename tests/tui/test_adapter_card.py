"""One adapter in the app: found in the table, its card read and written, out and in."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.llm import LLMEngine
from tests.tui.conftest import add_adapter, add_dataset, opened


@pytest.fixture
def two(engine: LLMEngine) -> LLMEngine:
    add_dataset(engine)
    add_adapter(engine, "older", 1_700_000_000)
    add_adapter(engine, "newer", 1_700_000_100)
    return engine


async def test_sort_filter_and_out_of_the_filter(two: LLMEngine) -> None:
    add_adapter(two, "faq-bot", 1_600_000_000, figures={"loss": 1.0})
    async with opened(two) as ui:
        await ui.go_to("adapters")
        rows = lambda: list(ui.screen.adapter_panel.adapters)  # noqa: E731
        await ui.until(lambda: rows() == ["newer", "older", "faq-bot"])
        while ui.screen.adapter_panel.sort != "loss":
            await ui.press("O")
        await ui.until(lambda: rows()[0] == "faq-bot" and ui.shows("by loss"))
        await ui.press("/")
        await ui.until(lambda: ui.shows("Filter the adapters"))
        await ui.type("BOT faq")
        await ui.press("enter")
        await ui.until(lambda: rows() == ["faq-bot"] and ui.shows("1 of 3 hold"))
        await ui.press("escape")
        await ui.until(lambda: len(rows()) == 3)


async def test_the_card_is_read_and_written(two: LLMEngine) -> None:
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("v")
        await ui.until(lambda: ui.shows("newer", "eval loss", "2.567", "Note: write one"))
        await ui.press("n")
        await ui.until(lambda: ui.shows("Note on newer"))
        await ui.type("good on [dates]")
        await ui.press("enter")
        await ui.until(lambda: two.adapters.get("newer").notes == "good on [dates]")
        await ui.press("v", "t")
        await ui.until(lambda: ui.shows("Tags of newer"))
        await ui.type("faq a/b")
        await ui.press("enter")
        await ui.until(lambda: ui.shows("is not a name for a tag"))
        await ui.press(*["backspace"] * 4, "enter")
        await ui.until(lambda: two.adapters.get("newer").tags == ("faq",))
        await ui.press("R")
        await ui.until(lambda: ui.shows("Rename newer"))
        await ui.type("-2")
        await ui.press("enter")
        await ui.until(lambda: "newer-2" in ui.screen.adapter_panel.adapters)
        await ui.press("u")
        await ui.until(lambda: "newer" in ui.screen.adapter_panel.adapters)


async def test_an_adapter_goes_out_and_comes_in(two: LLMEngine, tmp_path: Path) -> None:
    from sample_adapters import write_adapter, write_base

    source = write_adapter(tmp_path / "bot", "/home/somebody/theirs")
    base = write_base(tmp_path / "base")
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("I")
        await ui.until(lambda: ui.shows("Import an adapter: its folder or archive"))
        await ui.type(str(source))
        await ui.press("ctrl+s")
        await ui.until(lambda: ui.shows("Which base model?", "not known here"))
        await ui.type(str(base))
        await ui.press("enter")
        await ui.until(lambda: "bot" in ui.screen.adapter_panel.adapters and ui.shows("bot is here"))
        ui.screen.adapter_panel.table.choose("bot")
        await ui.press("w")
        await ui.until(lambda: ui.shows("Write bot", "Zip archive"))
        await ui.press("z")
        await ui.until(lambda: ui.shows("A new folder, or a new file that ends with .zip"))
        await ui.press("ctrl+u")
        await ui.type(str(tmp_path / "out.zip"))
        await ui.press("enter")
        await ui.until(lambda: (tmp_path / "out.zip").exists())
