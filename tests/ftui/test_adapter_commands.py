"""`ftui adapters …` as real processes, on adapters that no model is needed for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sample_adapters import write_adapter, write_base

from engines.contract import statefiles
from engines.llm import LLMEngine
from engines.weights.adapter_transfer import import_adapter

CONFIG = {"lora_rank": 4, "learning_rate": 0.002, "num_epochs": 1.5, "target_modules": ["q_proj", "v_proj"]}
FIGURES = {"steps": 12, "loss": 1.83, "eval_loss": 2.33, "tokens_per_second": 143.9, "seconds": 77.2, "memory": 1.4e9}


def take_in(engine: LLMEngine, tmp_path: Path, **card: Any) -> None:
    base = engine.workspace.models / "small"
    if not base.exists():
        write_base(base)
    source = write_adapter(tmp_path / "bot", str(base))
    statefiles.write_json(source / "card.json", card)
    import_adapter(engine.adapters, engine.models, source)


def test_the_card_shows_how_it_was_trained(ftui: Any, engine: LLMEngine, tmp_path: Path) -> None:
    take_in(engine, tmp_path, config=CONFIG, figures=FIGURES)
    shown = ftui("adapters", "show", "bot").stdout
    assert "LoRA rank 4, Target modules q_proj v_proj, Learning rate 0.002, Epochs 1.5" in shown
    assert "12 steps, 144 tokens/s, 1 min 17 s, 1.4 GB of memory" in shown and "2.3300" in shown
    known = json.loads(ftui("adapters", "show", "bot", "--json").stdout)
    assert known["figures"] == FIGURES and known["config"] == CONFIG


def test_a_note_may_begin_with_a_dash(ftui: Any, engine: LLMEngine, tmp_path: Path) -> None:
    take_in(engine, tmp_path)
    for words in (["bot", "- too chatty"], ["bot", "--too chatty", "--json"], ["--json", "bot", "-5"]):
        ftui("adapters", "note", *words)
        assert engine.adapters.get("bot").notes == next(word for word in words if word not in ("bot", "--json"))


def test_an_import_says_what_was_not_checked(ftui: Any, engine: LLMEngine, tmp_path: Path) -> None:
    done = ftui("adapters", "import", str(write_adapter(tmp_path / "bot")), "--base-model", "owner/far")
    assert "! owner/far is not on this machine, so it was not checked" in done.stderr and "bot is here" in done.stdout
