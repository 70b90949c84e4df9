"""GGUF: the Modelfile says what the chat template says; real bits; and, where they are, the real converters.

FTUI_GGUF_TOOLS names the folder of the converters (`ftui setup export-gguf`), FTUI_LLAMA that of llama.cpp's programs
(`ftui setup llama`); `make test-export` gets them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from sample_adapters import strong_adapter

from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.setup import gguf_tools, llama_cpp
from engines.weights.adapter_transfer import import_adapter
from finetune import base_model, export_folder, export_gguf, ollama
from ftui.cli import run

TOOLS, LLAMA = os.environ.get("FTUI_GGUF_TOOLS"), os.environ.get("FTUI_LLAMA")


def as_ollama_would(modelfile: str, turns: list[tuple[str, str]]) -> str:
    """The template of a Modelfile filled in, for the three roles that it knows."""
    template = re.search(r'TEMPLATE """(.*?)"""', modelfile, re.DOTALL)
    assert template is not None and not re.search(r"\{\{-|-\}\}", template[1])  # a dash would eat the lines' ends
    parts = re.split(r"\{\{.*?\}\}", template[1], flags=re.DOTALL)
    texts = [part for part in parts if part]
    system, after_system, again, first, answer = texts
    written, last = "", ""
    for role, text in turns:
        before = {"": first, "system": after_system, "assistant": again}
        written += {"system": system, "assistant": ""}.get(role) if role != "user" else before[last]  # type: ignore[operator]
        written += text + (answer if role == "user" else "")
        last = role
    return written


@pytest.mark.model
@pytest.mark.parametrize("system", [True, False])
def test_the_modelfile_renders_dialogs_as_the_model_was_taught(embedded_model: Path, system: bool) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded_model)
    turns = [("system", "Be brief."), ("user", "Hi?"), ("assistant", "Yes."), ("user", "And then?")][not system :]
    expected = tokenizer.apply_chat_template(
        [{"role": role, "content": text} for role, text in turns], tokenize=False, add_generation_prompt=True
    )
    text = ollama.modelfile("./x.gguf", tokenizer)
    assert as_ollama_would(text, turns) == expected
    assert text.startswith("FROM ./x.gguf\n") and 'PARAMETER stop "<|im_end|>"' in text


@pytest.mark.model
def test_a_blank_that_the_model_was_taught_to_say_is_no_part_of_the_prompt(embedded_model: Path) -> None:
    tokenizer = base_model.load_tokenizer(str(embedded_model), "Question: {user} Answer: {assistant}")
    found = ollama.pieces(tokenizer)
    assert found is not None and (found.answer, found.lead) == (" Answer:", " ")
    text = ollama.modelfile("./x.gguf", tokenizer)
    assert "{{ .Content }} Answer:{{ else" in text and '"assistant" }} {{ .Content }}{{ end }}' in text


def test_the_bits_of_a_weight_are_counted_not_named(tmp_path: Path) -> None:
    gguf, numpy = pytest.importorskip("gguf"), pytest.importorskip("numpy")
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("half", numpy.zeros((32, 64), numpy.float16))
    writer.add_tensor("full", numpy.zeros((32, 64), numpy.float32))
    small = gguf.quants.quantize(numpy.zeros((32, 96), numpy.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("small", small, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("uneven", numpy.zeros((2, 40), numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = {weights: export_gguf.describe(tmp_path / "a.gguf", weights) for weights in ("q8_0", "q4_k_m", "f16")}
    values, bits = 32 * (64 + 64 + 96) + 80, 32 * (64 * 16 + 64 * 32 + 96 * 8.5) + 80 * 16
    assert found["f16"]["bits_per_weight"] == round(bits / values, 3)
    assert found["f16"]["tensors"] == {"F16": 2, "F32": 1, "Q8_0": 1}
    fell = {weights: (figures["fallback"], figures["fallback_widths"]) for weights, figures in found.items()}
    assert fell == {"q8_0": (1, [40]), "q4_k_m": (1, [96]), "f16": (0, [])}


def test_without_the_converters_nothing_is_started(engine: LLMEngine, capfd: pytest.CaptureFixture[str]) -> None:
    from sample_adapters import write_adapter

    write_adapter(engine.adapters.folder / "bot" / "final")
    assert run(["llm", "export", "gguf", "bot", "--home", str(engine.workspace.home)]) == 5
    assert "ftui setup export-gguf (fetches 77 MB" in capfd.readouterr().err.replace("`", "")
    assert engine.runs.list() == []


@pytest.fixture
def with_tools(engine: LLMEngine, embedded_model: Path, tmp_path: Path) -> LLMEngine:
    """A workspace with llama.cpp and an adapter of the embedded model that changes its answers a little."""
    import torch
    from safetensors.torch import load_file, save_file

    for tool, place in ((gguf_tools, TOOLS), (llama_cpp, LLAMA)):
        if place:
            tool.folder(engine.workspace).parent.mkdir(parents=True, exist_ok=True)
            tool.folder(engine.workspace).symlink_to(place)
    made = strong_adapter(embedded_model, tmp_path / "made", 1)
    tensors = load_file(made / "adapter_model.safetensors")
    mild = {name: tensor * (0.02 if "lora_B" in name else 1) for name, tensor in tensors.items()}
    assert all(torch.isfinite(tensor).all() for tensor in mild.values())
    save_file(mild, made / "adapter_model.safetensors", metadata={"format": "pt"})
    import_adapter(engine.adapters, engine.models, made, name="bot", base_model=str(embedded_model))
    return engine


def export(engine: LLMEngine, weights: str, capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    words = ["llm", "export", "gguf", "bot", "--weights", weights, "--json", "--home", str(engine.workspace.home)]
    code = run(words)
    told = json.loads(capfd.readouterr().out)
    assert code == 0, told
    return told["result"]  # type: ignore[no-any-return]


@pytest.mark.model
@pytest.mark.timeout(900)
@pytest.mark.skipif(not TOOLS, reason="set FTUI_GGUF_TOOLS, or run make test-export")
@pytest.mark.parametrize("weights", ["q8_0", "adapter"])
def test_the_command_writes_a_file_that_is_compared(
    with_tools: LLMEngine, capfd: pytest.CaptureFixture[str], weights: str
) -> None:
    result = export(with_tools, weights, capfd)
    folder = Path(result["folder"])
    assert sorted(file.name for file in folder.iterdir()) == ["Modelfile", f"bot-{weights}.gguf", "report.json"]
    assert list(folder.parent.iterdir()) == [folder]  # nothing is left beside it
    if weights == "adapter":
        assert result["bits_per_weight"] <= 32 and f"ADAPTER ./bot-{weights}.gguf" in (folder / "Modelfile").read_text()
    else:
        assert 8 < result["bits_per_weight"] < 9 and result["fallback"] == 0
        assert result["perplexity"] == pytest.approx(result["perplexity_merged"], rel=0.1)
    if LLAMA:
        assert result["asked"] == 6 and len(json.loads((folder / "report.json").read_text())["answers"]) == 6
        if weights == "adapter":  # in the base's own precision
            assert result["same_answers"] >= 5 and result["max_logprob_difference"] < 0.3
        else:
            assert result["same_beginning"] > 0.3 and 0 < result["max_logprob_difference"] < 5


@pytest.mark.model
@pytest.mark.skipif(not TOOLS or not LLAMA, reason="set FTUI_LLAMA, or run make test-export")
@pytest.mark.timeout(900)
def test_an_adapters_file_of_other_weights_is_noticed(
    with_tools: LLMEngine, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """llama.cpp gets the file of another adapter than the one that peft is asked with."""
    file = Path(export(with_tools, "adapter", capfd)["folder"]) / "bot-adapter.gguf"
    base, other = Path(with_tools.adapters.get("bot").base_model), tmp_path / "other"
    strong_adapter(base, other, 7)
    arguments = export_folder.arguments_of("", "").parse_args([str(base), str(other), str(tmp_path / "out")])
    arguments.tools, arguments.llama = Path(TOOLS or ""), Path(LLAMA or "")
    found = export_gguf.check_adapter(arguments, file)
    assert found["max_logprob_difference"] > 1 and found["same_answers"] == 0
    assert not file.with_name("base.gguf").exists()


@pytest.mark.model
@pytest.mark.skipif(not TOOLS or not LLAMA, reason="set FTUI_LLAMA, or run make test-export")
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("weights", "least", "most"), [("q6_k", 6.6, 8.5), ("q3_k_m", 3.9, 6.2)])
def test_small_types_are_written_and_their_fallbacks_are_told(
    with_tools: LLMEngine, capfd: pytest.CaptureFixture[str], weights: str, least: float, most: float
) -> None:
    """The embedded model's rows are 576 wide, which is no multiple of 256: most of its matrices fall back."""
    result = export(with_tools, weights, capfd)
    assert result["fallback"] == 181 and result["fallback_widths"] == [576]
    assert sum(result["tensors"].values()) == 272
    assert least < result["bits_per_weight"] < most  # more than the type's name says
    assert result["perplexity"] / 2 < result["perplexity_merged"] < 3 * result["perplexity"]
    assert result["max_logit_difference"] > 0 and result["asked"] == 6


@pytest.mark.model
@pytest.mark.parametrize("tensor", ["lm_head.lora_A.weight", "model.embed_tokens.lora_embedding_A"])
def test_what_llama_cpp_would_not_load_beside_a_tied_base_is_refused(
    tiny_model: Path, tmp_path: Path, tensor: str
) -> None:
    from safetensors.torch import load_file, save_file

    made = strong_adapter(tiny_model, tmp_path / "made", 1)
    tensors = load_file(made / "adapter_model.safetensors")
    more = {f"base_model.model.{tensor}": next(iter(tensors.values())).clone()}
    save_file({**tensors, **more}, made / "adapter_model.safetensors")
    with pytest.raises(UserError, match="one tensor in this base model") as refused:
        export_gguf.export_adapter(tiny_model, made, tmp_path / "x.gguf", tmp_path)
    assert "--weights q8_0" in refused.value.next_step


def test_without_llama_cpp_no_small_type_is_started(
    engine: LLMEngine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from sample_adapters import write_adapter

    write_adapter(engine.adapters.folder / "bot" / "final")
    words = ["llm", "export", "gguf", "bot", "--weights", "q4_k_m", "--home", str(engine.workspace.home)]
    assert run(words) == 5
    both = capfd.readouterr().err
    assert "neither llama.cpp nor its converters" in both and "ftui setup llama" in both and "export-gguf" not in both
    gguf_tools.folder(engine.workspace).mkdir(parents=True)
    assert run(["llm", "export", "gguf", "bot", "--weights", "q4_k_m", "--home", str(engine.workspace.home)]) == 5
    assert "ftui setup llama" in capfd.readouterr().err
    assert engine.runs.list() == []
