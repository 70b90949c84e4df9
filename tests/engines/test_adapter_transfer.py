"""Adapters that come in and go out: what is good is loaded by peft, what is bad leaves nothing behind."""

from __future__ import annotations

import json
import random
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sample_adapters import LAYER, write_adapter, write_base, write_tensors

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.weights.adapter_transfer import MOST_ENTRIES, export_adapter, import_adapter
from engines.weights.adapters import Adapter
from ftui.cli import run


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


def test_a_folder_that_is_no_model_is_not_taken_for_the_base(engine: LLMEngine, tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "bot", "/etc")
    with pytest.raises(UserError, match="'/etc' is not known here"):
        take_in(engine, source)
    base = write_base(tmp_path / "half")
    (base / "config.json").unlink()
    with pytest.raises(UserError, match="is no model"):
        take_in(engine, source, base_model=str(base))
    assert nothing_left(engine)


def test_what_could_not_be_compared_is_said(engine: LLMEngine, tmp_path: Path) -> None:
    """Of a base that is not here; and of one that is, where the card names another."""
    told: list[str] = []
    base = write_base(engine.workspace.models / "small")
    source = write_adapter(tmp_path / "bot", str(base))
    import_adapter(engine.adapters, engine.models, source, name="far", base_model="owner/far", tell=told.append)
    assert "owner/far is not on this machine" in told[0] and "not checked" in told[0]
    take_in(engine, source)
    archive = export_adapter(engine.adapters.get("bot"), tmp_path / "out.zip")
    with pytest.raises(UserError, match="its card says that it was trained on small, not on owner/far"):
        take_in(engine, archive, base_model="owner/far")
    twin = write_base(tmp_path / "twin")
    write_tensors(twin / "model.safetensors", {f"{LAYER}.weight": (8, 8)}, fill=b"\1")
    import_adapter(engine.adapters, engine.models, archive, name="x", base_model=str(twin), tell=told.append)
    assert told[1:] == ["its card names another base model, small; its layers fit this one too"]
    import_adapter(engine.adapters, engine.models, archive, name="y", tell=told.append)
    assert len(told) == 2 and engine.adapters.get("y").base_model == str(base)


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ({"r": 8}, "q_proj has rank 2, its config says 8"),
        ({"r": 2, "rank_pattern": {"q_proj": 4}}, "has rank 2, its config says 4"),
        ({"r": 4, "rank_pattern": {"(a+)+": 8}}, "has rank 2, its config says 4 or 8"),
        ({"use_dora": True}, "has no magnitudes"),
        ({"target_modules": None}, "does not say which layers"),
        ({"target_modules": [1]}, "does not say which layers"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_its_weights_is_refused(
    engine: LLMEngine, tmp_path: Path, config: dict[str, Any], cause: str
) -> None:
    source = write_adapter(tmp_path / "bot")
    file = source / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    with pytest.raises(UserError, match=cause):
        take_in(engine, source, base_model="owner/base")
    assert nothing_left(engine)


@pytest.mark.parametrize("pattern", [{"q_proj": 2}, {"k_proj": 9, "layers.0.self_attn.q_proj": 2}, {".*q_proj": 2}])
def test_a_layer_has_the_rank_of_the_pattern_that_names_it(
    engine: LLMEngine, tmp_path: Path, pattern: dict[str, int]
) -> None:
    source = write_adapter(tmp_path / "bot")
    file = source / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "r": 16, "rank_pattern": pattern}))
    assert take_in(engine, source, base_model="owner/base").complete


def test_links_are_followed_inside_the_hubs_cache_alone(engine: LLMEngine, tmp_path: Path) -> None:
    """The cache keeps files as blobs, and snapshots of links to them."""
    blobs = write_adapter(tmp_path / "models--me--bot" / "blobs")
    snapshot = tmp_path / "models--me--bot" / "snapshots" / "1a2b"
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", file.name))
    adapter = take_in(engine, snapshot, base_model="owner/base", name="bot")
    assert adapter.complete and not any(file.is_symlink() for file in adapter.final.iterdir())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in blobs.iterdir():
        (elsewhere / file.name).symlink_to(file)
    with pytest.raises(UserError, match=r"adapter_config\.json is a link to .*blobs"):
        take_in(engine, elsewhere, base_model="owner/base")


def test_the_card_beside_a_final_folder_comes_along(engine: LLMEngine, tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "bot" / "final", "owner/base")
    statefiles.write_json(tmp_path / "bot" / "card.json", {"notes": "good on dates", "figures": {"loss": 1.5}})
    adapter = take_in(engine, source)
    assert (adapter.name, adapter.notes, adapter.loss) == ("bot", "good on dates", 1.5)


def test_what_is_written_is_its_owners_alone(engine: LLMEngine, tmp_path: Path) -> None:
    take_in(engine, write_adapter(tmp_path / "bot", "owner/base"))
    adapter = engine.adapters.get("bot")
    archive, folder = export_adapter(adapter, tmp_path / "out.zip"), export_adapter(adapter, tmp_path / "out")
    places = [archive, *folder.iterdir(), *adapter.final.iterdir()]
    assert {stat.S_IMODE(place.stat().st_mode) for place in places} == {0o600}


FOREIGN: dict[str, Any] = {
    "created_at": 1e300, "notes": "N" * 500_000, "tags": ["good", 1, None, "a b", "x" * 5000, *map(str, range(5000))],
    "dataset": {"name": ["x"], "path": "/etc/passwd", "fingerprint": 7}, "run": "../../../etc",
    "figures": {"loss": "x", "eval_loss": float("nan"), "seconds": 12.5, "memory": float("inf"), "\x1b[2J": 1},
    "config": {"eval_share": "x", "lora_alpha": float("inf"), "lora_rank": 4, "strange": 1, "seed": [1]},
}  # fmt: skip
WRONG_KINDS: list[dict[str, Any]] = [
    {"created_at": -1e18}, {"created_at": True}, {"created_at": "x"}, {"figures": None}, {"figures": [1]},
    {"dataset": None}, {"dataset": "x"}, {"tags": None}, {"tags": "x"}, {"notes": None}, {"config": 3}, {"run": {}},
    {"base_model": ["a"]}, {"base_identity": {}}, {"figures": {"loss": 10**400}},
]  # fmt: skip


def listed(engine: LLMEngine, capfd: pytest.CaptureFixture[str]) -> Any:
    """What `ftui adapters` says in its three forms; the list as data, by a reader that knows no NaN."""
    for words in (["list"], ["show", "bot"], ["list", "--json"]):
        assert run(["adapters", *words, "--home", str(engine.workspace.home)]) == 0

    def no_json(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    said = capfd.readouterr().out
    return json.loads(said[said.index("\n[") :], parse_constant=no_json)


def test_a_foreign_card_is_bounded_when_it_comes_in(
    engine: LLMEngine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write_adapter(tmp_path / "bot")
    (source / "card.json").write_text(json.dumps(FOREIGN))
    adapter = take_in(engine, source, base_model="owner/base")
    assert len(adapter.notes) == 2000 and len(adapter.tags) == 20 and adapter.tags[:2] == ("good", "0")
    assert (adapter.dataset, adapter.dataset_path, adapter.run) == ("", "", "")
    assert adapter.figures == {"seconds": 12.5} and adapter.config == {"lora_rank": 4}
    assert adapter.created_at is not None and adapter.created_at < 1e10
    written = (adapter.path / "card.json").read_text()
    assert "passwd" not in written and "etc" not in written
    (item,) = listed(engine, capfd)
    assert item["config"] == {"lora_rank": 4}


@pytest.mark.parametrize("card", [FOREIGN, *WRONG_KINDS, [1]], ids=lambda card: str(card)[:30])
def test_a_card_that_lies_there_already_hides_no_adapter(
    engine: LLMEngine, tmp_path: Path, capfd: pytest.CaptureFixture[str], card: Any
) -> None:
    adapter = take_in(engine, write_adapter(tmp_path / "bot"), base_model="owner/base")
    (adapter.path / "card.json").write_text(json.dumps(card))
    (item,) = listed(engine, capfd)
    assert item["name"] == "bot" and item["complete"] and engine.adapters.tag("bot", ["good"]).tags[0] == "good"


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
