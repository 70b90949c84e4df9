"""Foreign text cannot act: not in names, log lines, dialogs, causes, paths."""

from __future__ import annotations

import json
from pathlib import Path

from engines.contract import statefiles
from engines.llm import LLMEngine
from tests.tui.conftest import Driver, add_adapter, add_dataset, opened, start_run

CLIPBOARD = "\x1b]52;c;aGFja2Vk\x07"
EVIL = f"[@click=app.quit]press me[/] [/home/u] [bold] {CLIPBOARD}\x1b[2Jgone \x9b31m \u202ereversed"
SAFE = "[@click=app.quit]press me[/] [/home/u] [bold]"


def assert_harmless(ui: Driver) -> None:
    """Nothing that is drawn carries a control character or an action."""
    for strip in ui.app.screen._compositor.render_strips():
        for segment in strip:
            assert not any(ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0 or sign == "\u202e" for sign in segment.text)
            meta = segment.style.meta if segment.style else {}
            assert "app.quit" not in str(meta.get("@click", "")), segment


async def test_in_dialogs_and_reports(engine: LLMEngine) -> None:
    owner = {"name": EVIL, "found_by": EVIL}
    add_dataset(engine, dialogs=1, report={"dialogs": 1, "owner": owner, "dropped": {EVIL: 3}, "turns": EVIL})
    row = {"messages": [{"role": EVIL, "content": EVIL}, {"role": "assistant", "content": f"{EVIL}\n{EVIL}"}]}
    engine.datasets.path("chats").write_text(json.dumps(row) + "\n")
    async with opened(engine, (200, 60)) as ui:
        await ui.until(lambda: ui.shows(f"owner    {SAFE}", f"assistant {SAFE}"))
        await ui.press("enter")
        assert_harmless(ui)


async def test_in_logs_names_causes_and_warnings(engine: LLMEngine, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(
        (EVIL + "\n").encode() + b"\xff\xfe\x00binary\r50%|###\r\x1b[31mred\n"
        + json.dumps({"event": "warning", "text": EVIL}).encode() + b"\n"
        + json.dumps({"event": "phase", "text": EVIL}).encode() + b"\n"
    )  # fmt: skip
    run = start_run(engine, "--say", str(text), "--steps", "2", name=EVIL)
    engine.runs.wait(run)
    status = statefiles.read_json(run.folder / "status.json")
    statefiles.write_json(run.folder / "status.json", {**status, "state": "failed", "cause": EVIL, "next_step": EVIL})
    async with opened(engine, (200, 60)) as ui:
        await ui.until(lambda: ui.shows(f"✗ failed  {SAFE}", f"✗ {SAFE}", f"next: {SAFE}", f"warning: {SAFE}"))
        assert ui.shows("⚠ [@click")
        assert_harmless(ui)
        await ui.go_to("run")
        await ui.press("slash")
        await ui.type("[@click=app")
        await ui.press("enter")
        await ui.until(lambda: ui.shows("/[@click=app line"))
        assert_harmless(ui)
        await ui.press("t")
        await ui.until(lambda: ui.shows("Runs", "kind"))
        assert_harmless(ui)
        await ui.press("escape", "x")
        await ui.until(lambda: ui.shows(f"{SAFE[:30]}", "is not running"))
        assert_harmless(ui)


async def test_in_adapters_and_file_names(engine: LLMEngine, tmp_path: Path) -> None:
    add_adapter(engine, "mine", base_model=EVIL, dataset={"name": EVIL}, figures={"loss": 2.0})
    folder = tmp_path / "files"
    folder.mkdir()
    name = EVIL.replace("/", "_").replace("\x9b", "")
    (folder / f"{name}.json").write_text("{}")
    async with opened(engine, (200, 60)) as ui:
        await ui.until(lambda: ui.shows("mine", "[@click=app.quit]press me"))
        assert_harmless(ui)
        await ui.press("o")
        await ui.until(lambda: ui.app.focused is not None and ui.app.focused.id == "path")
        await ui.type(f"{folder}/")
        await ui.until(lambda: ui.shows("[@click=app.quit]press me[_] [_home_u] [bold]"))
        assert_harmless(ui)
        await ui.press("down", "enter")
        await ui.until(lambda: ui.shows("Make a dataset from"))
        assert_harmless(ui)
