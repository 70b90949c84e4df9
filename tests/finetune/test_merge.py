"""Merging: the very bytes that peft makes, for every kind that is accepted; resumed, checked, refused with a reason."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sample_adapters import strong_adapter

from engines.config.merge import MergeConfig
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.weights import merging
from engines.weights.adapter_transfer import import_adapter
from finetune import export_folder, merge_adapter, merge_plan
from finetune.scoring import Stopped
from ftui.cli import run

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def base(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in bf16, tied, in several files."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("merge") / "base"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).save_pretrained(
        folder, max_shard_size="20KB"
    )
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def make_adapter(base: Path, folder: Path, **config: Any) -> Path:
    """A real adapter with drawn weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    values = {"r": 4, "lora_alpha": 12, "target_modules": ["q_proj", "k_proj", "v_proj"], **config}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype="auto"), LoraConfig(**values))
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    return folder


def merged(base: Path, adapter: Path, folder: Path, rounding: str = "once") -> dict[str, Any]:
    """The tensors of the merged model, read by safetensors."""
    from safetensors.torch import load_file

    output = folder / f"out-{rounding}"
    partial = merge_adapter.merge(base, adapter, output, MergeConfig(rounding=rounding))  # type: ignore[arg-type]
    merge_adapter.finish(partial, output, {})
    return {name: tensor for file in output.glob("*.safetensors") for name, tensor in load_file(file).items()}


def by_peft(base: Path, adapter: Path, *, safe: bool) -> dict[str, Any]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), adapter)
    state: dict[str, Any] = model.merge_and_unload(safe_merge=safe).state_dict()
    return state


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    import torch

    return [
        name for name, one in ours.items() if not torch.equal(one.view(torch.int16), theirs[name].view(torch.int16))
    ]


KINDS = {
    "plain": {},
    "patterns": {"rank_pattern": {"v_proj": 3}, "alpha_pattern": {"layers.0.self_attn.v_proj": 7}},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "all-linear": {"target_modules": "all-linear"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_as_peft_in_blocks_of_rows(
    kind: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_adapter, "BLOCK_ELEMENTS", 32 * 11)  # 11 rows at a time
    adapter = make_adapter(base, tmp_path / "adapter", **KINDS[kind])
    theirs = {"once": by_peft(base, adapter, safe=False), "peft": by_peft(base, adapter, safe=True)}
    for rounding in ("once", "peft"):
        ours = merged(base, adapter, tmp_path, rounding)
        assert ours and differing(ours, theirs[rounding]) == []
    if kind != "dora":
        assert differing(merged(base, adapter, tmp_path / "adapter", "once"), theirs["peft"])  # the modes are two


@pytest.mark.parametrize(
    "config",
    [
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
    ],
    ids=["whole", "head", "embeddings"],
)
def test_a_changed_head_or_embeddings_part_what_is_tied(
    tiny_model: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    """Judged by what base and adapter answer together, with peft; in fp32, so that rounding hides nothing."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = make_adapter(tiny_model, tmp_path / "adapter", **config)
    tensors = merged(tiny_model, adapter, tmp_path)
    assert not torch.equal(tensors["lm_head.weight"], tensors["model.embed_tokens.weight"])
    ids = torch.arange(10, 60).view(1, -1)
    with torch.inference_mode():
        parts = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32), adapter
        )
        whole = AutoModelForCausalLM.from_pretrained(tmp_path / "out-once", dtype=torch.float32)
        plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        together, alone = parts(ids).logits, plain(ids).logits
        assert (whole(ids).logits - together).abs().max() < 1e-3 * (alone - together).abs().max()


def test_the_copy_of_a_head_must_be_that_of_the_base(base: Path, tiny_model: Path, tmp_path: Path) -> None:
    """peft saves the head's own weight too: rounded it is the same, of another model it is not."""
    from safetensors.torch import load_file, save_file

    adapter = make_adapter(tiny_model, tmp_path / "adapter", target_modules=["lm_head"])
    assert merged(base, adapter, tmp_path)  # the base in bf16, the adapter with a copy in fp32
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    copy = "base_model.model.lm_head.base_layer.weight"
    save_file({**tensors, copy: tensors[copy] * 2}, file)
    with pytest.raises(UserError, match="is not what the base model has there"):
        merge_adapter.merge(base, adapter, tmp_path / "other", MergeConfig())


def test_a_stopped_merge_goes_on_after_its_finished_files(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, output = make_adapter(base, tmp_path / "adapter"), tmp_path / "out-once"
    partial = tmp_path / ".out-once.partial"
    monkeypatch.setattr(merge_adapter, "stop_requested", lambda: len(list(partial.glob("*.safetensors"))) >= 2)
    with pytest.raises(Stopped):
        merge_adapter.merge(base, adapter, output, MergeConfig())
    done = {file.name: file.stat().st_ino for file in partial.glob("*.safetensors")}
    assert len(done) == 2 and not output.exists()
    monkeypatch.undo()
    ours = merged(base, adapter, tmp_path)
    assert differing(ours, by_peft(base, adapter, safe=False)) == []
    assert {name: (output / name).stat().st_ino for name in done} == done  # not written again
    assert list(output.glob("*.tmp")) == [] and not (output / merge_adapter.STAMP).exists()


@pytest.mark.parametrize("several", [False, True])
def test_a_stopped_merge_leaves_nothing_but_finished_files_of_several(
    base: Path, tiny_model: Path, tmp_path: Path, several: bool
) -> None:
    """The script itself, with a stop that is there when it looks for the first time."""
    model = base if several else tiny_model
    adapter, output = make_adapter(model, tmp_path / "adapter"), tmp_path / "models" / "out"
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    output.parent.mkdir()
    (run_folder / "stop.json").write_text("{}")
    command = [sys.executable, "-m", "finetune.merge_adapter", str(model), str(adapter), str(output)]
    subprocess.run(command, check=True, env={**os.environ, "FTUI_RUN_DIR": str(run_folder)}, timeout=120)
    assert json.loads((run_folder / "result.json").read_text())["state"] == "stopped"
    assert list(output.parent.iterdir()) == []
    partial = merge_adapter.partial_folder(output)
    partial.mkdir()
    for name in ("model-00001-of-00009.safetensors", "model-00002-of-00009.safetensors.tmp"):
        (partial / name).write_bytes(b"x")
    merge_adapter.clear_stopped(model, output)
    left = [file.name for file in partial.glob("*")]
    assert left == (["model-00001-of-00009.safetensors"] if several else [])


@pytest.mark.parametrize("several", [False, True])
def test_a_stopped_export_goes_on_with_the_model_that_it_had_merged(
    base: Path, tiny_model: Path, tmp_path: Path, several: bool
) -> None:
    model = base if several else tiny_model
    adapter, output = make_adapter(model, tmp_path / "adapter"), tmp_path / "exports" / "bot-gguf-q6_k"
    output.parent.mkdir()
    kept: dict[str, int] = {}
    with pytest.raises(Stopped), export_folder.filled(output, model) as partial:
        merged = export_folder.merged_model(model, adapter, partial)
        (merged / "whole.gguf").write_bytes(b"converted")
        (merged / "torn.tmp").write_bytes(b"x")
        (partial / "half.gguf").write_bytes(b"x")
        kept = {file.name: file.stat().st_ino for file in merged.iterdir() if file.suffix in (".safetensors", ".gguf")}
        raise Stopped
    files = [file.name for file in output.parent.rglob("*") if file.is_file()]
    left = sorted(name for name in files if name in {*kept, "half.gguf"})
    assert left == (sorted(kept) if several else [])
    with export_folder.filled(output, model) as partial:
        merged = export_folder.merged_model(model, adapter, partial)
        again = {file.name: file.stat().st_ino for file in merged.iterdir() if file.suffix == ".safetensors"}
        assert not several or again.items() <= kept.items()  # not written again
        assert (merged / "whole.gguf").exists() is several
        (partial / "report.json").write_text("{}")
    assert [file.name for file in output.iterdir()] == ["report.json"] and list(output.parent.iterdir()) == [output]


def test_a_failed_export_and_another_adapter_keep_nothing(base: Path, tmp_path: Path) -> None:
    first, second = (make_adapter(base, tmp_path / name, r=rank) for name, rank in (("first", 4), ("second", 2)))
    output = tmp_path / "exports" / "bot"
    output.parent.mkdir()
    with pytest.raises(Stopped), export_folder.filled(output, base) as partial:
        (export_folder.merged_model(base, first, partial) / "whole.gguf").write_bytes(b"converted")
        raise Stopped
    with pytest.raises(OSError, match="full"), export_folder.filled(output, base) as partial:
        assert not (export_folder.merged_model(base, second, partial) / "whole.gguf").exists()
        raise OSError("full")
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bias": "all"}, "trained biases"),
        ({"init_lora_weights": "pissa"}, "changes the base model too"),
        ({"trainable_token_indices": [1]}, "single tokens"),
        ({"layer_replication": [[0, 1]]}, "repeats layers"),
    ],
)
def test_what_cannot_be_merged_says_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        merge_plan.refuse_unsupported({"r": 4, "lora_alpha": 8, "bias": "none", "init_lora_weights": True, **change})


def test_a_quantised_base_is_never_merged_into(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    shutil.copytree(base, tmp_path / "four-bit")
    config = json.loads((base / "config.json").read_text())
    (tmp_path / "four-bit" / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    with pytest.raises(UserError, match="quantised") as refused:
        merge_plan.make_plan(tmp_path / "four-bit", adapter)
    assert "16-bit" in refused.value.next_step


def test_the_command_merges_checks_and_the_result_is_a_base_model(
    engine: LLMEngine, base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = strong_adapter(base, tmp_path / "made", 1)
    import_adapter(engine.adapters, engine.models, made, name="bot", base_model=str(base))
    home = ["--home", str(engine.workspace.home)]
    assert run(["llm", "merge", "bot", "--json", *home]) == 0
    result = json.loads(capfd.readouterr().out)["result"]
    assert result["model"] == "bot-merged" and result["checked_in"] == "fp32"
    assert result["same_choice"] > 0.9 and result["perplexity"] == pytest.approx(result["perplexity_merged"], rel=0.02)
    assert engine.models.resolve("bot-merged", "cpu") == str(engine.models.folder / "bot-merged")
    card = json.loads((engine.models.folder / "bot-merged" / "card.json").read_text())
    assert card["adapter"]["name"] == "bot" and card["figures"]["perplexity"] == result["perplexity"]
    with pytest.raises(UserError, match="already"):
        merging.merge(engine, engine.adapters.get("bot"))
