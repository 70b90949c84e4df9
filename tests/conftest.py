"""What all tests share: a workspace of their own, models that really run, a real small chat export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.llm import LLMEngine
from engines.workspace import Workspace


@pytest.fixture(autouse=True)
def no_outside_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads or writes the workspace of the person who runs it."""
    monkeypatch.setenv("FTUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def engine(tmp_path: Path) -> LLMEngine:
    return LLMEngine(Workspace(tmp_path / "home"))


@pytest.fixture(scope="session")
def embedded_model(request: pytest.FixtureRequest) -> Path:
    """The embedded model, converted once and kept in pytest's cache."""
    folder = Path(str(request.config.cache.mkdir("embedded-model"))) / "smollm2-135m-instruct"
    if not (folder / "config.json").is_file():
        subprocess.run([sys.executable, "-m", "finetune.embedded_model", str(folder)], check=True, timeout=240)
    return folder


@pytest.fixture(scope="session")
def tiny_model(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with the embedded model's tokenizer: trains a step in milliseconds."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(embedded_model)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    folder = tmp_path_factory.mktemp("tiny") / "tiny-llama"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def dataset_file(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "talk_dataset.jsonl", dialog_rows(40))
