"""The Parameters pane: presets, values that are obeyed, values that are explained."""

from __future__ import annotations

from pathlib import Path

from textual import events
from textual.widgets import Select

from engines.config.train import PRESETS, TrainConfig, preset
from engines.contract import statefiles
from engines.llm import LLMEngine
from ftui.screens.llm import LLMScreen
from ftui.screens.preflight import PreflightScreen
from ftui.widgets.config_form import FieldRow, fields_of
from tests.tui.conftest import Driver, add_dataset, opened


def row(ui: Driver, name: str) -> FieldRow:
    return ui.screen.query_one(f"#field-{name}", FieldRow)


async def set_text(ui: Driver, name: str, text: str) -> None:
    row(ui, name).focus()
    await ui.press("enter", "ctrl+u", "ctrl+k")
    await ui.type(text)


async def test_every_field_of_the_model_has_a_row_with_its_title_and_default(engine: LLMEngine) -> None:
    async with opened(engine) as ui:
        rows = {item.spec.name: item for item in ui.screen.query(FieldRow)}
        for spec in fields_of(TrainConfig):
            assert rows[spec.name].spec.title == TrainConfig.model_fields[spec.name].title
            assert rows[spec.name].value == getattr(preset("standard"), spec.name)


async def test_another_base_model_brings_what_its_family_wants(engine: LLMEngine) -> None:
    add_dataset(engine)
    async with opened(engine) as ui:
        await ui.go_to("params")
        form = ui.screen.params.form
        form.change("base_model", "google/gemma-3n-E2B-it")
        await ui.until(lambda: form.values["learning_rate"] == 5e-6)
        await ui.until(lambda: "--learning-rate 5e-06 --warmup-ratio 0.1" in ui.screen.jobs.command())
        form.change("warmup_ratio", 0.2)
        form.change("base_model", "embedded")  # what was changed by hand stays
        await ui.until(lambda: form.values["learning_rate"] == 2e-4)
        assert form.values["warmup_ratio"] == 0.2


async def test_values_reach_the_run(engine: LLMEngine, stand_in: Path) -> None:
    add_dataset(engine)
    async with opened(engine) as ui:
        await ui.go_to("params")
        await set_text(ui, "gradient_accumulation_steps", "2")
        await set_text(ui, "learning_rate", "1e-3")
        await set_text(ui, "target_modules", "q_proj, o_proj")
        await set_text(ui, "name", "mine")
        await ui.press("enter")
        row(ui, "gradient_checkpointing").focus()
        await ui.press("enter")  # a switch
        row(ui, "precision").focus()
        await ui.press("enter", "down", "enter")  # a choice: auto, bf16
        wanted = (
            "ftui llm train chats --preset standard --name mine --target-modules q_proj --target-modules o_proj "
            "--gradient-accumulation-steps 2 --learning-rate 0.001 --no-gradient-checkpointing --precision bf16"
        )
        await ui.until(lambda: ui.screen.jobs.command() == wanted)
        await ui.press("y")
        assert ui.app.clipboard == wanted
        await ui.press("s")
        await ui.until(lambda: engine.runs.list("train") and ui.screen.run_panel.run)
        run = engine.runs.list("train")[0]
        config = run.spec["config"]
        assert run.spec["adapter"] == "mine"
        assert config["gradient_accumulation_steps"] == 2 and config["learning_rate"] == 1e-3
        assert config["target_modules"] == ["q_proj", "o_proj"]
        assert config["gradient_checkpointing"] is False and config["precision"] == "bf16"
        await ui.until(lambda: engine.adapters.list() and ui.shows("mine"))


async def test_a_wrong_value_is_explained_beside_its_field_and_blocks_the_start(engine: LLMEngine) -> None:
    add_dataset(engine)
    async with opened(engine) as ui:
        await ui.go_to("params")
        await set_text(ui, "lora_rank", "0")
        await ui.until(lambda: ui.shows("✗ input should be greater than"))
        await ui.press("escape", "s")
        await ui.until(lambda: ui.shows("lora_rank"))
        assert not engine.runs.list("train")
        await set_text(ui, "lora_rank", "many")
        await ui.until(lambda: ui.shows("✗ input should be a valid integer"))
        await ui.press("escape", "backspace")  # back to the preset's value
        await ui.until(lambda: not ui.screen.facts().problem)
        assert row(ui, "lora_rank").value == 8


async def test_no_key_is_lost_however_quickly_one_types(engine: LLMEngine) -> None:
    add_dataset(engine)
    async with opened(engine) as ui:
        for key in ("tab", "j", "j", "j", "j", "enter", "3", "2", "enter", "j", "enter", "6", "4", "enter"):
            ui.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await ui.until(lambda: ui.screen.jobs.command().endswith("--preset standard --lora-rank 32 --lora-alpha 64"))


async def test_presets_fill_the_form(engine: LLMEngine) -> None:
    add_dataset(engine)
    async with opened(engine) as ui:
        await ui.go_to("params")
        await ui.press("p")
        await ui.until(lambda: row(ui, "preset").query_one(Select).expanded)
        await ui.press("up", "enter")  # standard, quick
        await ui.until(lambda: ui.screen.params is not None and ui.screen.params.preset == "quick")
        assert ui.screen.params is not None
        await ui.until(lambda: ui.screen.params is not None and ui.screen.params.form.config == PRESETS["quick"])
        assert ui.screen.jobs.command() == "ftui llm train chats --preset quick"
        assert ui.app.focused is not None and ui.app.focused.id == "field-preset"


async def test_the_last_used_parameters_are_there_again(engine: LLMEngine) -> None:
    last = preset("thorough").model_copy(update={"seed": 7})
    statefiles.write_json(engine.workspace.training_config, last.model_dump())
    add_dataset(engine)
    async with opened(engine) as ui:
        assert ui.screen.jobs.command() == "ftui llm train chats --preset thorough --seed 7"
        assert row(ui, "seed").value == 7
        await ui.go_to("params")
        await ui.press("G")
        await ui.until(lambda: ui.shows("•Seed"))


async def test_what_the_engine_thinks_stands_beside_the_start_key(engine: LLMEngine, stand_in: Path) -> None:
    add_dataset(engine, dialogs=40)
    async with opened(engine) as ui:
        await ui.until(lambda: ui.shows("✗ one optimizer step takes 64 rows"))
        await ui.go_to("params")
        await set_text(ui, "gradient_accumulation_steps", "8")
        await ui.until(lambda: ui.shows("⚠ only 5 optimizer steps"))


async def test_start_without_a_dataset_says_what_to_press(engine: LLMEngine) -> None:
    async with opened(engine) as ui:
        await ui.press("s")
        await ui.until(lambda: ui.shows("No dataset yet: press o"))
        assert isinstance(ui.app.screen, LLMScreen) and not engine.runs.list()


def test_what_does_not_fit_is_made_to_fit_before_it_is_probed() -> None:
    found = {"changes": {"batch_size": 1}, "fits": False, "fits_after_changes": True, "probe": None}
    assert list(PreflightScreen(found).answers) == ["f"]
    assert list(PreflightScreen(found | {"changes": {}, "fits": True}).answers) == ["p"]
