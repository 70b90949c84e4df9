"""The Adapters pane: activate, back to the base model, delete, undo; two faces see the same."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from engines.changes import changes
from engines.contract import statefiles
from engines.llm import LLMEngine
from engines.setup import gguf_tools
from ftui.screens.make_form import MakeForm
from tests.tui.conftest import add_adapter, add_dataset, opened


@pytest.fixture
def two(engine: LLMEngine) -> LLMEngine:
    add_dataset(engine)
    add_adapter(engine, "older", 1_700_000_000)
    add_adapter(engine, "newer", 1_700_000_100)
    return engine


async def test_the_table_shows_what_is_on_disk(two: LLMEngine) -> None:
    add_adapter(two, "halved")
    (two.adapters.folder / "halved" / "final" / "adapter_model.safetensors").unlink()
    async with opened(two) as ui:
        await ui.until(lambda: ui.shows("newer", "older", "2.345", "2.567", "2023-11-14 22:15", "halved (incomplete)"))
        await ui.go_to("adapters")
        await ui.press("z")
        await ui.until(lambda: ui.shows("smollm2-135m-instruct", "4.1 kB"))


async def test_activate_and_back_to_the_base_model(two: LLMEngine) -> None:
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("j", "enter")
        await ui.until(lambda: two.adapters.active() == "older" and ui.shows("● older", "●  older"))
        await ui.press("enter")
        await ui.until(lambda: ui.shows("older is active already"))
        await ui.press("b")
        await ui.until(lambda: two.adapters.active() is None and ui.shows("base model"))


async def test_delete_and_undo(two: LLMEngine) -> None:
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("d")  # newer, not active: no question
        await ui.until(lambda: [item.name for item in two.adapters.list()] == ["older"])
        await ui.until(lambda: list(ui.screen.adapter_panel.adapters) == ["older"])
        await ui.press("u")
        await ui.until(lambda: list(ui.screen.adapter_panel.adapters) == ["newer", "older"])
        await ui.press("u")
        await ui.until(lambda: ui.shows("Nothing to undo"))


async def test_deleting_the_active_one_asks_and_the_default_is_no(two: LLMEngine) -> None:
    two.adapters.activate("newer")
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("d")
        await ui.until(lambda: ui.shows("Delete the active adapter newer?"))
        await ui.press("enter")
        assert two.adapters.active() == "newer"
        await ui.press("d")
        await ui.until(lambda: ui.shows("Yes, delete newer"))
        await ui.press("down", "enter")
        await ui.until(lambda: two.adapters.active() is None and list(ui.screen.adapter_panel.adapters) == ["older"])


async def test_two_faces_see_each_others_changes(two: LLMEngine) -> None:
    async with opened(two) as one, opened(two) as other:
        await one.go_to("adapters")
        await one.press("enter")
        await other.until(lambda: other.app.active_adapter == "newer", seconds=3)
        await other.go_to("adapters")
        await other.press("b")
        await one.until(lambda: one.app.active_adapter is None, seconds=3)
        add_dataset(two, "third")
        await one.until(lambda: "third" in one.screen.dataset_panel.datasets, seconds=3)
        await other.until(lambda: "third" in other.screen.dataset_panel.datasets, seconds=3)


async def test_changes_are_seen_where_the_system_cannot_watch(engine: LLMEngine) -> None:
    seen = changes(engine.workspace, poll=True)
    waiting = asyncio.ensure_future(anext(seen))
    await asyncio.sleep(0)
    add_adapter(engine, "new")
    await asyncio.wait_for(waiting, 3)
    await seen.aclose()


async def test_an_engines_refusal_is_shown_with_its_next_step(two: LLMEngine, tmp_path: Path) -> None:
    """Evaluating where the training environment is missing."""
    add_adapter(two, "newest", 1_700_000_200, base_model=str(two.models.embedded))
    statefiles.write_json(two.workspace.settings, {"environments": {"llm": str(tmp_path / "gone")}})
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("e", "s")
        await ui.until(lambda: ui.shows("training environment is not complete", "ftui setup llm"))
        assert not (two.workspace.home / "ftui-errors.log").exists()


REPORT = {
    "model": "/models/tiny", "adapters": ["newer"], "confidence": 0.95,
    "sets": [
        {
            "name": "held_out", "kind": "dialogs", "rows": 17, "rows_in_all": 17, "conversations": 17, "tokens": 546,
            "labels": [],
            "figures": {
                "base": {"perplexity": {"value": 174.35, "low": 82.08, "high": 355.14}},
                "newer": {"perplexity": {"value": 38.08, "low": 24.16, "high": 59.92}},
            },
            "changes": {"newer": {"perplexity": {"value": -136.26, "low": -299.66, "high": -55.38}}},
            "examples": [
                {"prompt": "Tea\x1b]52;c;x\x07?", "expected": "yes", "answers": {"base": "[b]no", "newer": "yes"}}
            ],
        }
    ],
    "answers": [],
    "gate": {
        "expressions": ["perplexity > 12"],
        "failures": [{"expression": "perplexity > 12", "who": "newer", "value": 38.08}],
    },
}  # fmt: skip


async def test_the_report_of_an_evaluation_is_shown_when_it_is_chosen(two: LLMEngine) -> None:
    """As finetune/evaluate.py writes it (its form is checked in tests/finetune/test_evaluate.py), with hostile text."""
    run = two.runs.create("evaluate", "newer", ["true"])
    statefiles.write_json(run.folder / "status.json", {"state": "done", "attempt": 1, "ended_at": 1_700_000_300.0})
    statefiles.write_json(run.folder / "report.json", REPORT)
    async with opened(two) as ui:
        await ui.press("t")
        await ui.until(lambda: ui.shows("evaluate"))
        await ui.press("enter")
        await ui.until(lambda: ui.shows("Evaluation of newer", "Held-out part", "174.35  [82.08; 355.14]", "✓ better"))
        assert ui.shows("-136.26  [-299.66; -55.38]", "base: [b]no", "✗ failed: perplexity > 12: 38.08 (newer)")
        assert "\x1b" not in ui.text() and "\x07" not in ui.text()


async def test_a_merge_shows_its_parameters_and_its_command_first(two: LLMEngine) -> None:
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("M")
        await ui.until(lambda: ui.shows("Merge newer", "Combine it with other adapters"))
        await ui.press("m")
        await ui.until(lambda: ui.shows("Merge newer into its base model", "Rounding", "ftui llm merge newer"))
        await ui.press("escape")
        await ui.until(lambda: not ui.shows("Rounding"))
        assert two.runs.list("merge") == []


async def test_a_merge_is_given_a_name_and_a_base(two: LLMEngine, tmp_path: Path) -> None:
    """One that is free, where the usual one is taken; what cannot be is said before it starts."""
    for name in ("newer-merged", "taken"):
        (two.models.folder / name).mkdir()
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("M", "m")
        await ui.until(lambda: ui.shows("ftui llm merge newer --output newer-merged-2"))
        await ui.press("enter", "ctrl+u")
        await ui.type("taken")
        await ui.until(lambda: ui.shows("✗ there is", "models/taken", "already. Choose another name"))
        await ui.press("ctrl+u")
        await ui.type("mine")
        await ui.press("escape", "j", "enter")
        await ui.type("owner/base")
        await ui.until(lambda: ui.shows("ftui llm merge newer --output mine --base-model owner/base"))
        await ui.press("escape", "s")  # the adapter was made for another base
        await ui.until(lambda: ui.shows("was trained on", "not on owner/base"))
        assert two.runs.list("merge") == []


async def test_adapters_are_combined_by_a_form_that_knows_which_go_together(two: LLMEngine) -> None:
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("M")
        await ui.until(lambda: ui.shows("Combine it with other adapters"))
        await ui.press("c")
        await ui.until(lambda: ui.shows("ftui llm combine newer older --name newer-combined"))
        await ui.press("enter")
        await ui.type(", nobody")
        await ui.until(lambda: ui.shows("✗ nobody is no other adapter of this base model"))
        await ui.press("escape", "escape")
        await ui.until(lambda: not ui.shows("nobody"))
        assert two.runs.list("combine") == []


@pytest.mark.parametrize(("key", "to"), [("g", "gguf"), ("a", "awq"), ("o", "onnx")])
async def test_what_is_missing_for_an_export_is_said_before_its_form(two: LLMEngine, key: str, to: str) -> None:
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("w")
        await ui.until(lambda: ui.shows("Write newer", "GGUF", "AWQ or GPTQ", "ONNX"))
        await ui.press(key)
        await ui.until(lambda: ui.shows(f"`ftui setup export-{to}` ("))  # with what that costs
        assert not ui.shows(f"ftui llm export {to}") and two.runs.list("export") == []


@pytest.mark.parametrize(
    ("key", "words", "to", "made"),
    [
        ("g", ("Weights", "q8_0"), "gguf", "newer-gguf-q8_0"),
        ("a", ("Method", "Group size", "Samples"), "awq", "newer-awq"),
        ("o", ("Precision", "fp32", "Other adapters"), "onnx", "newer-onnx"),
    ],
)
async def test_an_export_shows_its_parameters_and_where_it_goes(
    two: LLMEngine, tmp_path: Path, key: str, words: tuple[str, ...], to: str, made: str
) -> None:
    gguf_tools.folder(two.workspace).mkdir(parents=True)
    if to != "gguf":
        two.environments.choose(f"export-{to}", Path(shutil.which("true") or ""))
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("w", key)
        await ui.until(lambda: ui.shows(*words, f"ftui llm export {to} newer", f"→ {made}"))
        while "field-output" not in str(ui.app.focused):
            await ui.press("j")
        await ui.press("enter")
        await ui.type(str(tmp_path / "gone" / "x"))
        await ui.until(lambda: ui.shows("✗ there is no folder"))
        await ui.press("ctrl+u")
        await ui.type(str(tmp_path / "out"))
        await ui.press("escape", "j", "enter")
        await ui.type("owner/base")
        form = ui.app.screen
        assert isinstance(form, MakeForm)
        wanted = f" --output {tmp_path / 'out'} --base-model owner/base"
        await ui.until(lambda: ui.shows("--base-model owner/base") and wanted in form.command())
        assert two.runs.list("export") == []


async def test_a_small_gguf_type_needs_llama_cpp(two: LLMEngine) -> None:
    gguf_tools.folder(two.workspace).mkdir(parents=True)
    async with opened(two) as ui:
        await ui.go_to("adapters")
        await ui.press("w", "g")
        await ui.until(lambda: ui.shows("ftui llm export gguf newer"))
        form = ui.app.screen
        assert isinstance(form, MakeForm)
        form.form.change("weights", "q4_k_m")
        await ui.until(lambda: ui.shows("✗ llama.cpp is not built here", "ftui setup llama"))


async def test_the_report_of_an_export_is_shown_from_the_runs(two: LLMEngine) -> None:
    run = two.runs.create("export", "newer", ["true"])
    statefiles.write_json(run.folder / "status.json", {"state": "done", "attempt": 1, "ended_at": 1_700_000_300.0})
    statefiles.write_json(
        run.folder / "result.json",
        {"attempt": 1, "state": "done", "to": "gguf", "folder": "/tmp/made", "file": "newer-q4_k_m.gguf", "bytes": 1000,
         "weights": "q4_k_m", "bits_per_weight": 5.61, "tensors": {"Q5_0": 180, "Q4_K": 30}, "fallback": 180,
         "fallback_widths": [576], "max_logit_difference": 2.0, "same_choice": 0.9, "perplexity": 8.0,
         "perplexity_merged": 8.5, "asked": 6, "same_answers": 4, "same_beginning": 0.8},
    )  # fmt: skip
    async with opened(two) as ui:
        await ui.press("t")
        await ui.until(lambda: ui.shows("export"))
        await ui.press("enter")
        await ui.until(lambda: ui.shows("Export of newer", "5.61 bits each", "180 tensors have rows of 576"))
        assert ui.shows("8.000 of the original, 8.500 of what was made", "4 of 6 the same", "lms import")


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_base_model_and_tags_are_in_sight_at_every_width(two: LLMEngine, size: tuple[int, int]) -> None:
    """In the table where there is room, else of the chosen adapter below it."""
    two.adapters.tag("newer", ["good", "faq"])
    async with opened(two, size) as ui:
        await ui.go_to("adapters")
        await ui.until(lambda: ui.shows("smollm2-135m-instruct", "good faq"))
        more = ui.screen.adapter_panel.query_one("#adapter-more")
        assert more.display is (size[0] < 200)
        await ui.press("j")
        await ui.until(lambda: ui.shows("smollm2-135m-instruct") and ui.shows("good faq") is (size[0] == 200))
