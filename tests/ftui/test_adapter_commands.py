"""`ftui adapters …` as real processes, on adapters that no model is needed for."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

from sample_adapters import write_adapter, write_base

from engines.contract import statefiles
from engines.llm import LLMEngine
from engines.weights.adapter_transfer import import_adapter
from ftui.console import fitted

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


def test_a_table_fits_the_terminal_and_is_whole_in_a_pipe(engine: LLMEngine, tmp_path: Path) -> None:
    tags = [f"{number}-{'long' * 20}" for number in range(20)]
    take_in(engine, tmp_path, tags=tags, dataset={"name": "d" * 150})
    argv = [sys.executable, "-m", "ftui", "adapters", "list"]
    piped = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert all(tag in piped[1] for tag in tags)
    for columns in (80, 120):
        here, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with subprocess.Popen(argv, stdout=there, env={key: os.environ[key] for key in os.environ if key != "COLUMNS"}):
            os.close(there)
        said = os.read(here, 100_000).decode().splitlines()
        os.close(here)
        assert len(said) == 2 and max(map(len, said)) <= columns and "…" in said[1] and "bot" in said[1]


def test_columns_are_narrowed_from_the_widest() -> None:
    assert fitted([1, 10, 90, 50], 80) == [1, 10, 31, 32]
    assert fitted([1, 10, 20], 80) == [1, 10, 20]
    assert fitted([1, 30, 30], 10) == [1, 8, 8]
