"""The frame: one table of actions, help, palette, sizes, what is remembered, what is never imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from textual import events
from textual.command import CommandPalette

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from ftui import actions, settings
from ftui.actions import Facts
from ftui.app import FtuiApp
from ftui.screens.dialog import TextDialog
from ftui.screens.help import text as help_text
from ftui.widgets.adapter_panel import AdapterPanel
from tests.tui.conftest import add_adapter, add_dataset, opened


def test_no_footer_has_more_than_seven_actions() -> None:
    for pane in actions.ALL:
        shown = [action for action in actions.ACTIONS if pane in action.footer]
        assert 3 <= len(shown) <= actions.FOOTER_LIMIT, pane


def test_a_key_means_one_thing_in_a_pane() -> None:
    for pane in actions.ALL:
        keys = [action.key for action in actions.ACTIONS if actions.valid(action, pane)]
        assert len(keys) == len(set(keys)), pane


def test_the_help_lists_the_whole_table_and_why_something_is_disabled() -> None:
    shown = help_text(Facts(dataset=None)).plain
    assert all(action.label in shown for action in actions.ACTIONS)
    assert "No dataset yet: press o" in shown


async def test_every_action_is_carried_out_by_somebody(engine: LLMEngine) -> None:
    async with opened(engine) as ui:
        for pane in actions.LLM:
            await ui.go_to(pane)
            for action in actions.ACTIONS:
                if actions.valid(action, pane):
                    assert any(hasattr(owner, f"do_{action.name}") for owner in ui.screen.owners()), (pane, action.name)


async def test_help_and_palette_open_from_the_keys(engine: LLMEngine) -> None:
    async with opened(engine) as ui:
        await ui.press("question_mark")
        await ui.until(lambda: isinstance(ui.app.screen, TextDialog) and ui.shows("Everywhere", "Command palette"))
        box = ui.app.screen.query_one(".box")
        await ui.press("G")
        await ui.until(lambda: box.max_scroll_y > 0 and box.scroll_y == box.max_scroll_y)
        await ui.press("g")
        await ui.until(lambda: box.scroll_y == 0)
        await ui.press("escape", "colon")
        await ui.until(lambda: isinstance(ui.app.screen, CommandPalette))
        await ui.type("Zoom")
        await ui.until(lambda: ui.shows("Zoom the pane"))
        await ui.press("enter", "enter")
        await ui.until(lambda: ui.screen.zoomed)


async def test_keys_that_come_quickly_are_all_obeyed(engine: LLMEngine) -> None:
    """The news that a pane has the focus may come when the next key has left that pane already."""
    async with opened(engine, (80, 24)) as ui:
        for expected in ("run", "dataset", "run", "dataset"):
            for _ in range(2):
                ui.app.post_message(events.Key("tab", "\t"))
            await ui.pilot.pause(0.5)
            assert ui.screen.pane == expected


async def test_a_key_of_another_pane_says_where_it_works(engine: LLMEngine) -> None:
    async with opened(engine) as ui:
        await ui.press("b")
        await ui.until(lambda: ui.shows("That key is for Adapters"))


async def test_a_small_terminal_is_told_what_is_needed(engine: LLMEngine) -> None:
    async with opened(engine, (70, 20)) as ui:
        await ui.until(lambda: ui.shows("80 × 24", "70 × 20"))
        await ui.pilot.resize_terminal(80, 24)
        await ui.until(lambda: ui.shows("▸ Dataset", "Parameters", "Adapters") and not ui.shows("needs a terminal"))


async def test_panes_stack_where_there_is_little_room_and_stand_side_by_side_else(engine: LLMEngine) -> None:
    async with opened(engine, (80, 24)) as ui:
        panes = ui.screen.panes
        assert [name for name, pane in panes.items() if pane.region.height > 0] == ["dataset"]
        await ui.press("tab", "tab")
        await ui.until(lambda: ui.shows("▸ Run", "No run yet"))
        await ui.pilot.resize_terminal(120, 40)
        await ui.until(lambda: all(pane.region.height > 3 for pane in panes.values()))
        await ui.press("z")
        await ui.until(lambda: [name for name, pane in panes.items() if pane.region.height > 0] == ["run"])
        await ui.press("escape")
        await ui.until(lambda: not ui.screen.zoomed)


async def test_what_is_remembered_and_what_others_wrote_stays(engine: LLMEngine) -> None:
    add_dataset(engine, "one")
    add_dataset(engine, "two")
    statefiles.write_json(engine.workspace.settings, {"environments": {"llm": sys.executable}, "other": 1})
    async with opened(engine) as ui:
        await ui.press("j")
        chosen = ui.screen.facts().dataset
        await ui.go_to("run")
        ui.app.theme = "nord"
        await ui.press("2")
    written = json.loads(engine.workspace.settings.read_text())
    assert written["other"] == 1 and written["environments"] == {"llm": sys.executable}
    assert written["app"]["theme"] == "nord" and written["app"]["pane"] == "run" and written["app"]["dataset"] == chosen
    app = FtuiApp(engine.workspace.home)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert app.theme == "nord" and app.current_mode == "tts"


def test_settings_of_a_wrong_kind_are_not_taken_over(engine: LLMEngine) -> None:
    engine.workspace.settings.write_text('{"app": {"theme": 7, "pane": "run"}}')
    assert settings.load(engine.workspace).theme == "textual-dark" and settings.load(engine.workspace).pane == "run"
    engine.workspace.settings.write_text("[1]")
    assert settings.load(engine.workspace).pane == "dataset"


async def test_an_unforeseen_error_is_one_line_and_a_file(engine: LLMEngine) -> None:
    async with opened(engine) as ui:
        ui.app.in_background("test", lambda: 1 / 0, lambda value: None)
        await ui.until(lambda: ui.shows("ZeroDivisionError", "ftui-errors.log"))
        assert "Traceback" in (engine.workspace.home / "ftui-errors.log").read_text()
        ui.app.show_error(UserError("usage", "this is [red]wrong[/]", "Do [@click=app.quit]that[/]."))
        await ui.until(lambda: ui.shows("this is [red]wrong[/]", "[@click=app.quit]that[/]"))


async def test_colour_is_never_the_only_sign(engine: LLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR and ASCII at once: everything can still be told apart."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FTUI_ASCII", "1")
    add_adapter(engine, "mine")
    engine.adapters.activate("mine")
    async with opened(engine) as ui:
        await ui.go_to("adapters")
        await ui.until(lambda: ui.screen.query_one(AdapterPanel).has_class("-current"))
        ui.app.refresh()
        await ui.until(lambda: ui.shows("* mine"))
        assert ui.text().isascii(), sorted({sign for sign in ui.text() if not sign.isascii()})


def test_the_app_starts_without_the_heavy_packages() -> None:
    heavy = "'torch', 'transformers', 'numpy', 'datasets', 'pydantic', 'watchfiles', 'finetune', 'tts'"
    code = f"import sys, ftui.app; print([name for name in ({heavy}) if name in sys.modules])"
    root = Path(__file__).resolve().parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
