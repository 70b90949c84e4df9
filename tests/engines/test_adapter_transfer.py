"""Adapters that come in and go out: what is good is loaded by peft, what is bad leaves nothing behind."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from pathlib import Path

import pytest
from sample_adapters import LAYER, write_adapter, write_base, write_tensors

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.weights.adapter_transfer import MOST_ENTRIES, export_adapter, import_adapter
from engines.weights.adapters import Adapter


def take_in(engine: LLMEngine, source: Path, **options: str) -> Adapter:
    return import_adapter(engine.adapters, engine.models, source, **options)


def nothing_left(engine: LLMEngine) -> bool:
    return list(engine.adapters.folder.iterdir()) == []


def pack(folder: Path, archive: Path, inner: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in folder.iterdir():
            file.write(path, f"{inner}{path.name}")
    return archive


@pytest.mark.parametrize("inner", ["", "bot/", "bot/final/"])
def test_an_archive_comes_in_wherever_the_adapter_lies_in_it(engine: LLMEngine, tmp_path: Path, inner: str) -> None:
    base = write_base(engine.workspace.models / "small")
    archive = pack(write_adapter(tmp_path / "made", str(base)), tmp_path / "bot.zip", inner)
    adapter = take_in(engine, archive)
    assert (adapter.name, adapter.complete, adapter.rank, adapter.base_model) == ("bot", True, 2, str(base))
    assert adapter.base_identity and not list(engine.adapters.folder.glob(".import*"))


def test_a_folder_comes_in_under_a_free_name(engine: LLMEngine, tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "bot" / "final", "owner/base")
    assert [take_in(engine, path).name for path in (source, source.parent)] == ["bot", "bot-2"]
    with pytest.raises(UserError, match="already"):
        take_in(engine, source, name="bot")


def test_a_base_that_is_not_known_is_asked_for(engine: LLMEngine, tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "bot", "/home/somebody/models/theirs")
    with pytest.raises(UserError, match="not known here") as refused:
        take_in(engine, source)
    assert "--base-model" in refused.value.next_step and nothing_left(engine)
    base = write_base(tmp_path / "mine")
    assert take_in(engine, source, base_model=str(base)).base_model == str(base)


def test_an_adapter_for_another_base_is_refused(engine: LLMEngine, tmp_path: Path) -> None:
    base = write_base(tmp_path / "wide", width=16)
    with pytest.raises(
        UserError, match=r"does not fit wide: model\.layers\.0\.self_attn\.q_proj is 8 × 8, it is 16 × 16"
    ):
        take_in(engine, write_adapter(tmp_path / "bot"), base_model=str(base))
    assert nothing_left(engine)


def test_what_goes_out_comes_in_again_with_its_card_and_no_paths(engine: LLMEngine, tmp_path: Path) -> None:
    base = write_base(engine.workspace.models / "small")
    take_in(engine, write_adapter(tmp_path / "bot", str(base)))
    engine.adapters.note("bot", "good on dates")
    engine.adapters.tag("bot", ["faq"])
    archive = export_adapter(engine.adapters.get("bot"), tmp_path / "out.zip")
    assert str(engine.workspace.home) not in archive.read_bytes().decode("latin-1")
    back = take_in(engine, archive, name="again")
    assert (back.notes, back.tags, back.base_model) == ("good on dates", ("faq",), str(base))
    folder = export_adapter(back, tmp_path / "folder")
    weights = [path / "adapter_model.safetensors" for path in (folder, back.final, tmp_path / "bot")]
    assert len({path.read_bytes() for path in weights}) == 1
    with pytest.raises(UserError, match="exists"):
        export_adapter(back, archive)


def bad_archives(folder: Path) -> list[tuple[str, Path]]:
    """Archives that must not come in, by what is said of each."""
    good = write_adapter(folder / "good")
    made: list[tuple[str, Path]] = []

    def archive(cause: str, **entries: bytes | None) -> None:
        path = folder / f"{len(made)}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            contents = {path.name: path.read_bytes() for path in good.iterdir()}
            for name, data in {**contents, **entries}.items():
                if data is not None:
                    file.writestr(name, data)
        made.append((cause, path))

    config, weights = "adapter_config.json", "adapter_model.safetensors"
    archive("is a pickle", **{weights: None, "adapter_model.bin": b"\x80\x04"})
    archive("holds no adapter", **{config: None})
    archive("holds 2 adapters", **{f"other/{config}": b"{}"})
    archive("adapter_model.safetensors is missing", **{weights: None})
    archive("of the kind IA3", **{config: b'{"peft_type": "IA3"}'})
    archive("of the kind None", **{config: b"[1]"})
    archive("no rank", **{config: b'{"peft_type": "LORA", "r": "8"}'})
    archive("larger than", **{config: b" " * (2 << 20)})
    archive("larger than", **{weights: b"\0" * (300 << 20)})
    archive("no safetensors head", **{weights: b"\xff" * 100})
    archive("no JSON object", **{weights: b"\x04\0\0\0\0\0\0\0[1]]"})
    archive("does not fit the file", **{weights: (good / weights).read_bytes()[:-9]})
    many = {f"{number}.txt": b"" for number in range(MOST_ENTRIES)}
    archive("entries", **many)
    strange = write_tensors(folder / "strange", {"evil.weight": (1,)})
    archive("a tensor 'evil.weight'", **{weights: strange.read_bytes()})
    half = write_tensors(folder / "half", {f"base_model.model.{LAYER}.lora_A.weight": (2, 8)})
    archive("two halves", **{weights: half.read_bytes()})
    text = folder / "text.zip"
    text.write_text("no archive")
    return [*made, ("no zip archive", text)]


def test_bad_archives_are_refused_and_leave_nothing(engine: LLMEngine, tmp_path: Path) -> None:
    for cause, archive in bad_archives(tmp_path):
        with pytest.raises(UserError, match=cause):
            take_in(engine, archive, base_model="owner/base")
        assert nothing_left(engine), cause


def test_names_in_an_archive_do_not_leave_the_folder(engine: LLMEngine, tmp_path: Path) -> None:
    archive = pack(write_adapter(tmp_path / "made"), tmp_path / "bot.zip")
    with zipfile.ZipFile(archive, "a") as file:
        for name in ("../card.json", "/tmp/tokenizer.json", "../../evil", "card.json/../../x"):
            file.writestr(name, b"{}")
    adapter = take_in(engine, archive, base_model="owner/base")
    assert sorted(path.name for path in adapter.path.rglob("*")) == [
        "adapter_config.json", "adapter_model.safetensors", "card.json", "final",
    ]  # fmt: skip
    assert {path.name for path in engine.workspace.home.parent.iterdir()} == {"home", "made", "bot.zip"}


def test_damaged_archives_never_raise_anything_but_a_refusal(engine: LLMEngine, tmp_path: Path) -> None:
    chance = random.Random(4)
    good = pack(write_adapter(tmp_path / "made"), tmp_path / "good.zip").read_bytes()
    refused = 0
    for _ in range(200):
        data = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / "bad.zip").write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        try:
            shutil.rmtree(take_in(engine, tmp_path / "bad.zip", base_model="owner/base").path)
        except UserError:
            refused += 1
        assert nothing_left(engine)
    assert refused > 60


def test_a_card_that_is_nonsense_is_not_believed(engine: LLMEngine, tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "bot")
    statefiles.write_json(source / "card.json", {"tags": "x", "figures": [1], "created_at": "never", "notes": 3})
    adapter = take_in(engine, source, base_model="owner/base")
    assert (adapter.tags, adapter.loss, adapter.notes) == ((), None, "")
    assert isinstance(adapter.created_at, float)


@pytest.mark.model
def test_peft_loads_what_was_exported(engine: LLMEngine, tiny_model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj"])).save_pretrained(tmp_path / "made")
    take_in(engine, tmp_path / "made", name="bot", base_model=str(tiny_model))
    folder = export_adapter(engine.adapters.get("bot"), tmp_path / "out")
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), folder)
    assert loaded.peft_config["default"].r == 4
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == tiny_model.name
