"""Datasets of the hub by name and split, from the cache that the package `datasets` keeps: no network is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_prepare_dataset import run

from engines.config.prepare import PrepareConfig
from engines.contract.errors import UserError
from engines.llm import LLMEngine

pytest.importorskip("datasets", reason="it comes with the training packages")

NAME = "owner/quotes"
ROWS = [{"instruction": f"q{number}", "output": f"a{number}"} for number in range(1, 6)]
FILL = """
import sys, datasets
datasets.load_dataset("json", data_files={"train": sys.argv[1]}, cache_dir=sys.argv[2])
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as it is after NAME was loaded once, and no hub. Returns a folder for outputs."""
    for name, value in {"HF_HUB_OFFLINE": "1", "HF_HOME": "hf", "HF_DATASETS_CACHE": "hf/datasets"}.items():
        monkeypatch.setenv(name, value if value == "1" else str(tmp_path / value))
    rows, cache = tmp_path / "rows.jsonl", tmp_path / "made"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    subprocess.run([sys.executable, "-c", FILL, str(rows), str(cache)], check=True, capture_output=True, timeout=60)
    made = next(cache.rglob("dataset_info.json")).parent
    place = tmp_path / "hf" / "datasets" / NAME.replace("/", "___") / "default" / "0.0.0" / made.name
    shutil.copytree(made, place)
    (place / "json-train.arrow").rename(place / "quotes-train.arrow")
    info = (place / "dataset_info.json").read_text()
    (place / "dataset_info.json").write_text(info.replace('"dataset_name": "json"', '"dataset_name": "quotes"'))
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    return outputs


def questions(output: Path) -> list[str]:
    return [json.loads(line)["messages"][0]["content"] for line in output.read_text().splitlines()]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", ["q1", "q2", "q3", "q4", "q5"]),
        ("train[:2]", ["q1", "q2"]),
        ("train[1:3]", ["q2", "q3"]),
        ("train[-1:]", ["q5"]),
        ("train[:40%]", ["q1", "q2"]),
    ],
)
def test_a_name_and_a_slice_of_its_split(hub: Path, split: str, expected: list[str]) -> None:
    code, events = run(NAME, hub / "out.jsonl", {"hub_split": split})  # type: ignore[arg-type]
    assert code == 0, events[-1]
    assert questions(hub / "out.jsonl") == expected
    report = json.loads((hub / "out.report.json").read_text())
    assert (report["source"], report["format"], report["records"]) == ("quotes", "alpaca", len(expected))
    assert {path.name for path in hub.iterdir()} == {"out.jsonl", "out.report.json"}  # what was fetched is gone


@pytest.mark.parametrize(
    ("name", "split", "cause"),
    [
        (NAME, "test", 'Unknown split "test"'),
        (NAME, "train[2", "cannot be fetched"),
        ("owner/other", "train", "owner/other cannot be fetched"),
    ],
)
def test_what_is_not_there_is_refused_in_words(hub: Path, name: str, split: str, cause: str) -> None:
    code, events = run(name, hub / "out.jsonl", {"hub_split": split})  # type: ignore[arg-type]
    error: dict[str, Any] = events[-1]
    assert (code, error["code"]) == (4, "not_found") and cause in error["cause"]
    assert "the name, the split and the network" in error["next_step"] and not list(hub.iterdir())


def test_without_a_network_the_cache_answers_and_nothing_is_waited_for(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    code, events = run(NAME, hub / "out.jsonl", {"hub_split": "train[:2]"})  # type: ignore[arg-type]
    assert code == 0 and questions(hub / "out.jsonl") == ["q1", "q2"], events[-1]
    code, events = run("owner/other", hub / "other.jsonl", {})  # type: ignore[arg-type]
    assert code == 4 and "http://127.0.0.1:9 cannot be reached: Connection refused" in events[-1]["cause"]
    assert time.monotonic() - began < 15  # the client of the hub alone tries for half a minute


def test_from_the_engine_and_only_where_there_is_no_such_file(
    hub: Path, engine: LLMEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )
    monkeypatch.chdir(tmp_path)
    run_ = engine.prepare(NAME, PrepareConfig(hub_split="train[:2]"))
    assert engine.runs.wait(run_, 60).state == "done", run_.log.read_text()
    assert questions(engine.datasets.path("quotes")) == ["q1", "q2"]
    (tmp_path / "owner").mkdir()
    (tmp_path / NAME).write_text(json.dumps({"instruction": "mine", "output": "a"}))
    run_ = engine.prepare(NAME, PrepareConfig(), name="own")
    assert engine.runs.wait(run_, 60).state == "done", run_.log.read_text()
    assert questions(engine.datasets.path("own")) == ["mine"]


@pytest.mark.parametrize("name", ["quotes", "a/b/c", "owner/", "/owner/quotes", "owner/quo tes"])
def test_what_is_no_name_of_a_dataset_is_a_path(engine: LLMEngine, name: str) -> None:
    with pytest.raises(UserError, match="no file or folder"):
        engine.prepare(name, PrepareConfig())
