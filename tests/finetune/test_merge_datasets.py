"""Datasets made one: each row checked, the figures carried over, every conversation on the side that it had."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.config.prepare import PrepareConfig
from engines.contract.errors import UserError
from engines.data import merging
from engines.llm import SAMPLE, LLMEngine
from finetune import rows
from finetune.prepare_dataset import prepare
from finetune.split_files import part_paths


def sides(file: Path, share: float = 0.1) -> dict[str, bool]:
    """Of each conversation: is it held out by a training?"""
    train, held_out = rows.read_parts(file, share)
    return {dialog.conversation: held for part, held in ((train, False), (held_out, True)) for dialog in part}


def merged(engine: LLMEngine, *names: str | Path) -> tuple[Path, dict[str, Any]]:
    """(file, report) of a merger, whose report says what is in the file."""
    report = merging.merge(engine.datasets, [str(name) for name in names], "all")
    file = engine.datasets.path("all")
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert report["rows"]["written"] == len(written) == report["dialogs"] + report["texts"]
    assert report["conversations"] == len({row["conversation"] for row in written})
    if report["split"]:
        train, held_out = part_paths(file)
        assert report["split"]["train"] == train.read_bytes().count(b"\n")
        assert report["split"]["eval"] == held_out.read_bytes().count(b"\n")
        assert {*train.read_text().splitlines(), *held_out.read_text().splitlines()} == set(
            file.read_text().splitlines()
        )
    return file, report


@pytest.fixture
def parts(engine: LLMEngine, tmp_path: Path) -> dict[str, Path]:
    """A chat, split as any dataset; rows of which somebody held out a third; a file that is not split."""
    source = write_dataset(tmp_path / "rows.jsonl", dialog_rows(30))
    found = {name: engine.datasets.path(name) for name in ("chat", "third")}
    prepare(str(SAMPLE), found["chat"], PrepareConfig(), home=engine.workspace.home)
    prepare(str(source), found["third"], PrepareConfig(split=10))
    return {**found, "file": write_dataset(tmp_path / "own.jsonl", dialog_rows(40))}


def test_every_conversation_stays_on_its_side(engine: LLMEngine, parts: dict[str, Path]) -> None:
    file, report = merged(engine, "chat", "third", parts["file"])
    before = {
        f"{name}:{conversation}": held
        for name, path in (("chat", parts["chat"]), ("third", parts["third"]), ("own", parts["file"]))
        for conversation, held in sides(path).items()
    }
    assert sum(before.values()) == report["split"]["conversations_held_out"] > 10
    assert sides(file) == sides(file, 0.4) == before  # whatever share a training asks for
    assert rows.read_parts(file, 0)[1] == []
    file.write_text("".join(file.read_text().splitlines(keepends=True)[3:]) + json.dumps(dialog_rows(1)[0]) + "\n")
    assert sides(file)["0/0"] is False and len(sides(file)) < len(before) + 1  # edits count


def test_figures_are_carried_over(engine: LLMEngine, parts: dict[str, Path], tmp_path: Path) -> None:
    texts = write_dataset(tmp_path / "notes.jsonl", [{"text": f"Low tide at {hour}."} for hour in range(5)])
    _, report = merged(engine, "chat", "third", texts)
    chat = engine.datasets.get("chat").report
    third = engine.datasets.get("third").report
    assert report["months"] == chat["months"] and len(report["months"]) > 6
    assert report["dialogs"] == chat["dialogs"] + 30 and report["texts"] == 5
    assert report["turns"] == chat["turns"] + 60
    assert report["characters"] == {
        "user": chat["characters"]["user"] + third["characters"]["user"],
        "assistant": chat["characters"]["assistant"] + third["characters"]["assistant"],
        "text": sum(len(f"Low tide at {hour}.") for hour in range(5)),
    }
    known = chat["estimated_tokens"] + third["estimated_tokens"]
    assert known < report["estimated_tokens"] < 2.5 * known
    assert "messages_read" not in report  # nobody has counted those of a file
    engine.datasets.delete("all")
    _, report = merged(engine, "chat", "third")
    assert report["messages_read"] == report["messages_used"] + sum(report["dropped"].values()) > 400


def test_rows_that_are_none_are_refused_and_nothing_is_left(engine: LLMEngine, tmp_path: Path) -> None:
    write_dataset(engine.datasets.path("chat"), dialog_rows(3))
    raw = write_dataset(tmp_path / "alpaca.jsonl", [*dialog_rows(1), {"instruction": "q", "output": "a"}])
    before = set(engine.workspace.datasets.iterdir())
    with pytest.raises(UserError) as raised:
        merging.merge(engine.datasets, ["chat", str(raw)], "all")
    assert raised.value.code == "bad_input" and "ftui llm prepare" in raised.value.next_step
    assert "alpaca.jsonl line 2" in raised.value.cause and "{instruction, output}" in raised.value.cause
    assert set(engine.workspace.datasets.iterdir()) == before


def test_files_of_one_name_keep_apart(engine: LLMEngine, tmp_path: Path) -> None:
    files = [tmp_path / folder / "chat.jsonl" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        write_dataset(file, dialog_rows(4))
    _, report = merged(engine, *files)
    assert report["by_source"] == {"chat": 4, "chat-2": 4} and report["conversations"] == 8


def test_the_script_by_hand(tmp_path: Path) -> None:
    files = [write_dataset(tmp_path / f"{name}.jsonl", dialog_rows(2)) for name in ("one", "two")]
    words = [part for file in files for part in ("--dataset", f"{file.stem}={file}")]
    command = [sys.executable, "-m", "finetune.merge_datasets", str(tmp_path / "all.jsonl"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["state"] == "done"
    assert (tmp_path / "all.jsonl").read_text().count("\n") == 4
