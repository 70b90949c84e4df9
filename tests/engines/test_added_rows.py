"""Dialogs that are added to a dataset: what its report says stays true of its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows

from engines.config.prepare import PrepareConfig
from engines.contract import statefiles
from engines.data.added_rows import add_rows
from engines.data.datasets import Dataset, report_path
from engines.llm import LLMEngine

RATED = [
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tea?"},
                  {"role": "assistant", "content": "Yes."}], "conversation": "chat-1"},
    {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."},
                  {"role": "user", "content": "Oh."}, {"role": "assistant", "content": "Well."}],
     "conversation": "chat-1"},
]  # fmt: skip


def prepared(engine: LLMEngine, tmp_path: Path, **config: Any) -> Dataset:
    source = tmp_path / "made.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in dialog_rows(20)))
    run = engine.prepare(source, PrepareConfig(**config), name="chats")
    assert engine.runs.wait(run, 60).state == "done", run.log.read_text()
    return engine.datasets.get("chats")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def check(dataset: Dataset) -> None:
    """Its report adds up, and says what its files hold."""
    report, rows = dataset.report, lines(dataset.path)
    counts = report["rows"]
    assert counts["written"] == len(rows) == report["dialogs"]
    assert counts["formed"] + counts["by_windows"] - sum(counts["left_out"].values()) == counts["written"]
    turns = [turn for row in rows for turn in row["messages"] if turn["role"] != "system"]
    assert report["turns"] == len(turns)
    assert report["messages_read"] == report["messages_used"] + sum(report["dropped"].values())
    assert report["conversations"] == len({row["conversation"] for row in rows})
    for role in ("user", "assistant"):
        assert report["characters"][role] == sum(len(turn["content"]) for turn in turns if turn["role"] == role)
    assert sum(report["sources"].values()) == len(rows)
    assert report["output_sha256"] == hashlib.sha256(dataset.path.read_bytes()).hexdigest()
    if report.get("split"):
        train, held_out = (dataset.path.with_name(f"chats_dataset_{side}.jsonl") for side in ("train", "eval"))
        assert (report["split"]["train"], report["split"]["eval"]) == (len(lines(train)), len(lines(held_out)))
        assert sorted(map(str, lines(train) + lines(held_out))) == sorted(map(str, rows))


@pytest.mark.parametrize("split", [None, 0.2, 0.0])
def test_a_prepared_dataset_stays_one_with_its_parts_and_its_report(
    engine: LLMEngine, tmp_path: Path, split: float | None
) -> None:
    dataset = prepared(engine, tmp_path, split=split)
    check(dataset)
    before, tokens = dataset.dialogs or 0, dataset.report["estimated_tokens"]
    held_out = dataset.path.with_name("chats_dataset_eval.jsonl")
    kept = held_out.read_bytes() if held_out.exists() else b""
    dataset = add_rows(engine.datasets, "chats", RATED)
    check(dataset)
    assert dataset.dialogs == before + 2 and dataset.report["estimated_tokens"] > tokens
    assert (held_out.read_bytes() if held_out.exists() else b"") == kept
    check(add_rows(engine.datasets, "chats", RATED[:1]))  # of the same conversation
    assert engine.datasets.get("chats").report["conversations"] == dataset.report["conversations"]
    assert not list(dataset.path.parent.glob(".*tmp"))


def test_a_new_dataset_has_a_report(engine: LLMEngine) -> None:
    dataset = add_rows(engine.datasets, "rated", RATED)
    check(dataset)
    assert dataset.dialogs == 2 and lines(dataset.path) == RATED


def test_a_dataset_of_elsewhere_gets_rows_and_no_report(engine: LLMEngine) -> None:
    """Nobody has counted it. Its last line may have no end."""
    path = engine.datasets.path("plain")
    path.write_text(json.dumps(RATED[0]))
    dataset = add_rows(engine.datasets, "plain", RATED[1:])
    assert lines(path) == RATED and dataset.report == {} and not report_path(path).exists()


def test_a_report_with_few_counts_keeps_those(engine: LLMEngine) -> None:
    path = engine.datasets.path("plain")
    path.write_text("")
    statefiles.write_json(report_path(path), {"rows": {"written": 0}, "kinds": {}})
    report = add_rows(engine.datasets, "plain", RATED).report
    assert report["rows"]["written"] == 2 and "dialogs" not in report
