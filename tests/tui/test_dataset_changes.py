"""Datasets are renamed, merged and written for other programs from the app, and u takes back what can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.config.prepare import PrepareConfig
from engines.llm import LLMEngine
from ftui.screens.dataset_dialogs import ExportScreen, MergeScreen, RenameScreen
from ftui.screens.open_file import OpenFileScreen
from ftui.screens.prepare import PrepareScreen
from tests.tui.conftest import Driver, add_dataset, opened

SIZES = [(80, 24), (120, 40)]


def names(engine: LLMEngine) -> set[str]:
    return {dataset.name for dataset in engine.datasets.list()}


async def chosen(ui: Driver, name: str) -> None:
    ui.screen.dataset_panel.choose(name)
    await ui.until(lambda: ui.screen.facts().dataset == name and ui.screen.facts().loaded)


async def replace(ui: Driver, text: str) -> None:
    await ui.press("end", "ctrl+u")
    await ui.type(text)


@pytest.mark.parametrize("size", SIZES)
async def test_a_dataset_is_renamed_and_has_its_name_back(engine: LLMEngine, size: tuple[int, int]) -> None:
    add_dataset(engine, "chats")
    add_dataset(engine, "other")
    async with opened(engine, size) as ui:
        await chosen(ui, "chats")
        await ui.press("R")
        await ui.until(lambda: isinstance(ui.app.screen, RenameScreen) and ui.shows("Rename chats", "its name now"))
        await replace(ui, "../evil")
        await ui.until(lambda: ui.shows("✗"))
        await ui.press("enter")
        assert isinstance(ui.app.screen, RenameScreen)  # nothing is done
        await replace(ui, "other")
        await ui.until(lambda: ui.shows("there is a dataset other already"))
        await replace(ui, "talks")
        await ui.until(lambda: ui.shows("ftui data rename chats talks"))
        await ui.press("enter")
        await ui.until(lambda: ui.screen.facts().dataset == "talks" and names(engine) == {"talks", "other"})
        assert engine.datasets.get("talks").report["dialogs"] == 40  # its report came along
        await ui.press("u")
        await ui.until(lambda: names(engine) == {"chats", "other"} and ui.shows("chats has its name back"))


@pytest.mark.parametrize("size", SIZES)
async def test_datasets_are_merged_and_the_merger_is_taken_back(engine: LLMEngine, size: tuple[int, int]) -> None:
    for name, dialogs in (("chats", 3), ("faq", 4), ("third", 5)):
        add_dataset(engine, name, dialogs)
    async with opened(engine, size) as ui:
        await chosen(ui, "faq")
        await ui.press("M")
        await ui.until(lambda: isinstance(ui.app.screen, MergeScreen) and ui.shows("✗ choose two or more"))
        screen = ui.app.screen
        assert isinstance(screen, MergeScreen) and screen.chosen == ["faq"]
        await ui.press(*["j"] * screen.names.index("chats"), "space")
        await ui.until(lambda: ui.shows("ftui data merge faq chats --name merged", "[x] chats"))
        await ui.press("tab")
        await replace(ui, "all")
        await ui.until(lambda: ui.shows("--name all"))
        await ui.press("enter")
        await ui.until(lambda: ui.screen.facts().dataset == "all" and ui.shows("7 rows of"))
        report = engine.datasets.get("all").report
        assert report["by_source"] == {"faq": 4, "chats": 3}
        await ui.press("u")
        await ui.until(lambda: names(engine) == {"chats", "faq", "third"})


@pytest.mark.parametrize("size", SIZES)
async def test_a_dataset_is_written_for_another_program(
    engine: LLMEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    add_dataset(engine, "chats", 3)
    async with opened(engine, size) as ui:
        await chosen(ui, "chats")
        await ui.press("w")
        await ui.until(lambda: isinstance(ui.app.screen, ExportScreen) and ui.shows("chats-messages.jsonl", "LLaMA"))
        await ui.press("down")
        await ui.until(lambda: ui.shows("chats-sharegpt.jsonl", "--format sharegpt"))
        await replace(ui, f"{tmp_path}/nowhere/x")
        await ui.until(lambda: ui.shows("✗ there is no folder"))
        output = tmp_path / "mine.jsonl"
        await replace(ui, str(output))
        await ui.press("up", "down")  # a path of one's own stays
        await ui.until(lambda: ui.shows("--format sharegpt", "mine.jsonl"))
        await ui.press("enter")
        await ui.until(lambda: ui.shows("3 records of 3 rows"))
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        assert rows[2]["conversations"][0] == {"from": "human", "value": "Question 3?"}
        assert not ui.app.undo_stack
        await ui.press("w")
        await replace(ui, str(output))
        await ui.until(lambda: ui.shows("mine.jsonl exists already"))


async def open_file(ui: Driver, path: Path) -> None:
    await ui.press("o")
    await ui.until(lambda: isinstance(ui.app.screen, OpenFileScreen) and ui.app.focused)
    await ui.type(str(path))
    await ui.press("enter")
    await ui.until(lambda: isinstance(ui.app.screen, PrepareScreen))


@pytest.mark.parametrize("size", SIZES)
async def test_a_dataset_that_is_replaced_is_said_before_and_comes_back(
    engine: LLMEngine, tmp_path: Path, size: tuple[int, int]
) -> None:
    source = tmp_path / "talk.jsonl"
    source.write_text('{"prompt": "q", "completion": "a"}\n' * 3)
    assert engine.runs.wait(engine.prepare(source, PrepareConfig()), timeout=30).state == "done"
    source.write_text('{"prompt": "q", "completion": "a"}\n' * 5)
    other = tmp_path / "other" / "talk.jsonl"
    other.parent.mkdir()
    other.write_text('{"prompt": "other", "completion": "a"}\n')
    async with opened(engine, size) as ui:
        await chosen(ui, "talk")
        await open_file(ui, other)
        await ui.until(lambda: ui.shows("talk-2") and not ui.shows("goes to the trash"))
        await ui.press("escape")
        await open_file(ui, source)
        await ui.until(lambda: ui.shows("there is a dataset talk already: it goes to the trash"))
        await ui.press("s")
        await ui.until(lambda: ui.shows("talk is ready", "u brings that back"))
        assert engine.datasets.get("talk").dialogs == 5
        await ui.press("u")
        await ui.until(lambda: ui.shows("as before") and engine.datasets.get("talk").dialogs == 3)
        trashed = engine.workspace.newest_trashed("dataset", engine.datasets.path("talk").name)
        assert trashed.read_text().count("\n") == 5


async def test_c_counts_all_tokens(engine: LLMEngine, embedded_model: Path) -> None:
    engine.models.embedded.parent.mkdir(parents=True, exist_ok=True)
    engine.models.embedded.symlink_to(embedded_model)
    add_dataset(engine, "chats", 7, report={"source_names": {"": "my chats"}})
    async with opened(engine) as ui:
        await chosen(ui, "chats")
        await ui.press("c")
        await ui.until(lambda: ui.shows("counting tokens"))
        await ui.until(lambda: ui.shows("All tokens, counted", "7 rows of 7 conversations", "from my chats"), 60)
        await ui.press("escape")
        await ui.until(lambda: not ui.shows("counting tokens") and not ui.shows("All tokens"))
