"""The Dataset pane: open a file, prepare it for real, look at what came out."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.config.prepare import PrepareConfig
from engines.llm import SAMPLE, LLMEngine
from ftui.screens.open_file import OpenFileScreen
from ftui.screens.prepare import PrepareScreen
from tests.tui.conftest import add_dataset, opened


async def test_first_run_says_what_is_here_and_which_keys(engine: LLMEngine) -> None:
    async with opened(engine) as ui:
        await ui.until(lambda: ui.shows("No dataset yet", "open a chat export", "run the demo", "memory", "disk"))
        assert ui.shows("CPU") or ui.app.device


async def test_a_file_is_opened_prepared_and_shown(engine: LLMEngine, tmp_path: Path) -> None:
    folder = tmp_path / "My chats"
    folder.mkdir()
    (folder / "result.json").write_bytes(SAMPLE.read_bytes())
    async with opened(engine, (120, 56)) as ui:
        await ui.press("o")
        await ui.until(lambda: isinstance(ui.app.screen, OpenFileScreen) and ui.app.focused)
        await ui.type(f"{tmp_path}/My")
        await ui.until(lambda: ui.shows("My chats/"))
        await ui.press("tab")
        await ui.until(lambda: ui.shows("result.json"))
        await ui.press("down", "enter")
        await ui.until(lambda: isinstance(ui.app.screen, PrepareScreen))
        await ui.until(lambda: ui.shows("Session gap", "180", "min", "ftui llm prepare", "--name My_chats"))

        await ui.press("j", "j", "enter", "6", "0", "enter")  # session gap
        await ui.until(lambda: ui.shows("--session-gap-minutes 60"))
        await ui.press("s")
        await ui.until(lambda: ui.screen.dataset_panel.dataset is not None)
        dataset = engine.datasets.get("My_chats")
        assert dataset.report["config"]["session_gap_minutes"] == 60
        assert dataset.report["config"]["split"] is None and dataset.report["split"]["eval"] > 0
        await ui.until(lambda: ui.shows("Sample Owner", f"{dataset.dialogs} with", "left out", "dialog 1 of"))
        assert ui.shows("user", "assistant")
        await ui.until(lambda: ui.screen.facts().dataset == "My_chats" and not ui.screen.facts().preparing)


async def test_a_file_that_is_no_export_says_why(engine: LLMEngine, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"what": "is this"}')
    async with opened(engine) as ui:
        await ui.press("o")
        await ui.until(lambda: isinstance(ui.app.screen, OpenFileScreen) and ui.app.focused)
        await ui.type(str(bad))
        await ui.press("enter")
        await ui.until(lambda: isinstance(ui.app.screen, PrepareScreen))
        await ui.press("s")
        await ui.until(lambda: engine.runs.list("prepare"))
        run = engine.runs.list("prepare")[0]
        await ui.until(lambda: run.status().state == "failed")
        cause = run.status().cause
        assert cause
        await ui.until(lambda: ui.shows(cause[:20], "exit code 3"))


async def test_what_a_failed_preparation_said_goes_with_escape(engine: LLMEngine, tmp_path: Path) -> None:
    add_dataset(engine)
    bad = tmp_path / "bad.json"
    bad.write_text('{"what": "is this"}')
    async with opened(engine, (80, 24)) as ui:
        ui.screen.dataset_panel.follow(engine.prepare(bad, PrepareConfig(), name="bad"))
        await ui.until(lambda: ui.shows("next:", "exit code 3"))
        await ui.press("escape")
        await ui.until(lambda: not ui.shows("exit code 3") and ui.shows("dialog 1 of 40"))
        ui.screen.dataset_panel.follow(engine.prepare(bad, PrepareConfig(), name="bad"))
        await ui.until(lambda: ui.shows("exit code 3"))
        await ui.press("enter")
        await ui.until(lambda: not ui.shows("exit code 3") and ui.shows("Question 1?", "Answer 5."))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_enter_gives_the_dialogs_the_whole_pane(engine: LLMEngine, size: tuple[int, int]) -> None:
    add_dataset(engine, "chats")
    add_dataset(engine, "other", dialogs=7)
    async with opened(engine, size) as ui:
        ui.screen.dataset_panel.choose("chats")
        await ui.until(lambda: ui.shows("40 with 80 turns", "dialog 1 of 40"))
        await ui.press("enter")
        await ui.until(lambda: ui.shows("Answer 5.", "chats, esc goes back") and not ui.shows("40 with 80"))
        await ui.press("right_square_bracket")
        await ui.until(lambda: ui.shows("dialog 6 of 40", "Answer 10."))
        await ui.press("tab", "shift+tab")  # as it was left
        await ui.until(lambda: ui.app.focused is ui.screen.dataset_panel.preview and ui.shows("Answer 10."))
        await ui.press("escape")
        await ui.until(lambda: ui.shows("40 with 80 turns", "other") and not ui.shows("esc goes back"))
        assert ui.app.focused is ui.screen.dataset_panel.table


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_what_could_not_be_read_is_listed(engine: LLMEngine, tmp_path: Path, size: tuple[int, int]) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    row = '{"instruction": "q", "output": "a"}\n'
    (folder / "rows.jsonl").write_text(row * 4 + '{"instruction": 5, "output": "a"}\n' + "[\n")
    (folder / "photo.png").write_bytes(b"\x89PNG\0\0\0")
    run = engine.prepare(folder, PrepareConfig(), name="mixed")
    assert engine.runs.wait(run, 60).state == "done"
    async with opened(engine, size) as ui:
        await ui.until(lambda: ui.shows("2 lost", "problems ", "line 5: instruction", "(e: 2 more)"))
        await ui.press("e")
        await ui.until(lambda: ui.shows("What of mixed was not read", "line 6: not JSON", "photo.png"))
        await ui.press("escape")
        add_dataset(engine, "clean")
        await ui.until(lambda: ui.shows("clean"))
        ui.screen.dataset_panel.choose("clean")
        await ui.press("e")
        await ui.until(lambda: ui.shows("Of clean everything was read"))


async def test_answers_that_are_only_context_are_told_apart(engine: LLMEngine) -> None:
    run = engine.prepare(SAMPLE, PrepareConfig(mode="conversational"), name="windows")
    assert engine.runs.wait(run, 60).state == "done"
    async with opened(engine, (120, 56)) as ui:
        await ui.press("enter")
        await ui.until(lambda: ui.shows("  context ", "assistant "))


async def test_a_folder_that_is_entered_is_said_to_be_one(engine: LLMEngine, tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    async with opened(engine) as ui:
        await ui.press("o")
        await ui.until(lambda: isinstance(ui.app.screen, OpenFileScreen) and ui.app.focused)
        await ui.type(f"{tmp_path}/exports/")
        await ui.press("enter")
        await ui.until(lambda: ui.shows("This is a folder", "ctrl+s") and not ui.shows("no file"))


async def test_a_file_that_is_not_there_is_said_in_the_dialog(engine: LLMEngine, tmp_path: Path) -> None:
    async with opened(engine) as ui:
        await ui.press("o")
        await ui.until(lambda: isinstance(ui.app.screen, OpenFileScreen) and ui.app.focused)
        await ui.type(f"{tmp_path}/nothing.json")
        await ui.press("enter")
        await ui.until(lambda: ui.shows("✗ no file"))
        await ui.press("escape")
        await ui.until(lambda: not isinstance(ui.app.screen, OpenFileScreen))


async def test_chats_that_are_left_out_are_told(engine: LLMEngine) -> None:
    chats = {"used": 2, "skipped": {"private_group": 3, "bot_chat": 1}, "by_option": {"include_groups": 3}}
    add_dataset(engine, report={"dialogs": 40, "turns": 80, "chats": chats})
    async with opened(engine, (100, 30)) as ui:
        await ui.until(lambda: ui.shows("chats", "2 used, left out 3 private group, 1 bot chat (3 with Group chats)"))


async def test_dialogs_are_paged_and_the_list_comes_back_with_escape(engine: LLMEngine) -> None:
    add_dataset(engine, dialogs=12)
    async with opened(engine) as ui:
        await ui.until(lambda: ui.shows("12 with 24 turns"))
        assert ui.shows("9 sticker, 5 unanswered", "others", "Sample Owner", "1 repaired, 0 lost, 2 shortened")
        await ui.until(lambda: ui.shows("dialog 1 of 12", "Question 1?"))
        await ui.press("enter", "right_square_bracket")
        await ui.until(lambda: ui.shows("dialog 6 of 12"))
        await ui.press("right_square_bracket", "right_square_bracket", "right_square_bracket")
        await ui.until(lambda: ui.shows("dialog 11 of 12"))
        await ui.press("escape")
        assert ui.app.focused is ui.screen.dataset_panel.table


async def test_a_dataset_is_deleted_after_a_question_and_comes_back(engine: LLMEngine) -> None:
    add_dataset(engine)
    async with opened(engine) as ui:
        await ui.press("d")
        await ui.until(lambda: ui.shows("Delete the dataset chats?"))
        await ui.press("enter")  # the default is no
        assert engine.datasets.list()
        await ui.press("d")
        await ui.until(lambda: ui.shows("Delete the dataset chats?"))
        await ui.press("y")
        await ui.until(lambda: not engine.datasets.list() and ui.screen.facts().dataset is None)
        await ui.press("u")
        await ui.until(lambda: engine.datasets.list() and ui.screen.facts().dataset == "chats")


async def test_m_shows_what_is_learned(engine: LLMEngine, embedded_model: Path) -> None:
    engine.models.embedded.parent.mkdir(parents=True, exist_ok=True)
    engine.models.embedded.symlink_to(embedded_model)
    add_dataset(engine, "chats")
    async with opened(engine) as ui:
        await ui.until(lambda: ui.screen.facts().dataset == "chats" and ui.screen.facts().loaded)
        await ui.press("m")
        await ui.until(lambda: ui.shows("What is learned", "<|im_start|>assistant", "learned", "tokens"), 60)
        await ui.press("escape")
        await ui.until(lambda: not ui.shows("<|im_start|>assistant"))


async def test_a_folder_is_read_as_a_project(engine: LLMEngine, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    project.mkdir()
    answer = "Write to us within two weeks, and send the goods back to the address on the box."
    (project / "faq.md").write_text(f"# Questions\n\n## How do I return goods?\n\n{answer}\n")
    async with opened(engine) as ui:
        await ui.press("o")
        await ui.until(lambda: isinstance(ui.app.screen, OpenFileScreen) and ui.app.focused)
        await ui.type(str(project))
        await ui.press("ctrl+s")
        await ui.until(lambda: ui.shows("What is in shop?"))
        await ui.press("p")
        await ui.until(lambda: ui.shows("ftui llm generate --from-project", "Documents"))
        await ui.press("s")
        await ui.until(lambda: ui.screen.facts().dataset == "shop" and not ui.screen.facts().preparing, 30)
        await ui.until(lambda: ui.shows("made of", "escalation", "1 faq", "read of"))
        first = engine.datasets.preview(engine.datasets.get("shop"), 0, 50)
        assert any(answer in turn["content"] for dialog in first for turn in dialog)
