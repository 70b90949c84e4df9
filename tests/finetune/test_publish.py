"""A dataset in its place: what it may replace, where that goes, and what a crash or a kill leaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_prepare_dataset import ROOT, run
from test_prepare_options import pair, prepared, write_rows

from engines.config.prepare import PrepareConfig
from engines.contract.dataset_files import COMPANIONS, companion, part_paths
from engines.contract.errors import UserError
from engines.data.datasets import Datasets
from engines.workspace import Workspace
from finetune.prepare_dataset import prepare


def rows_of(word: str) -> list[dict[str, Any]]:
    return [pair(f"{word} {number}", "a") for number in range(9)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("taken", ["out_train.jsonl", "out_eval.jsonl", "out.report.json", "out.jsonl"])
def test_a_file_of_somebody_is_not_touched(tmp_path: Path, taken: str) -> None:
    source = write_rows(tmp_path / "rows", *rows_of("q"))
    (tmp_path / taken).write_text('{"mine": 1}')
    code, events = run(source, tmp_path / "out.jsonl", {"split": 2})
    assert (code, events[-1]["code"]) == (6, "conflict")
    assert taken in events[-1]["cause"] and events[-1]["next_step"].startswith("Name another file")
    assert contents(tmp_path) == {"rows": source.read_bytes(), taken: b'{"mine": 1}'}
    if taken in ("out_train.jsonl", "out_eval.jsonl"):  # which are in nobody's way without a split
        for _ in range(2):
            prepared(tmp_path, source)
            assert (tmp_path / taken).read_text() == '{"mine": 1}'


def test_what_was_made_by_a_preparation_is_replaced_until_it_is_edited(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows", *rows_of("q"))
    output = tmp_path / "out.jsonl"
    prepared(tmp_path, source, split=2)
    prepared(tmp_path, source, split=3)
    assert part_paths(output)[1].read_text().count("\n") == 3
    prepared(tmp_path, source)
    assert not any(part.exists() for part in part_paths(output))
    output.write_text(output.read_text() + json.dumps(rows_of("mine")[0]) + "\n")
    before = contents(tmp_path)
    assert run(source, output)[0] == 6
    assert contents(tmp_path) == before
    output.unlink()
    prepared(tmp_path, source)


def test_a_folder_is_prepared_into_itself_again_and_again(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows", *rows_of("q"))
    write_rows(tmp_path / "out_eval.jsonl", *rows_of("somebody's own"))
    for _ in range(3):
        assert len(prepared(tmp_path, tmp_path)[0]) == 18
    (tmp_path / "out_eval.jsonl").unlink()
    for _ in range(3):
        rows, report = prepared(tmp_path, tmp_path, split=3)
        assert len(rows) == 9 and report["files"] == {"read": 1, "skipped": {}}


@pytest.fixture
def datasets(tmp_path: Path) -> Datasets:
    return Datasets(Workspace(tmp_path / "home"))


def make(datasets: Datasets, name: str, word: str, split: int) -> Path | None:
    source = write_rows(datasets.workspace.home / f"{word}.jsonl", *rows_of(word))
    made = prepare(str(source), datasets.path(name), PrepareConfig(split=split), home=datasets.workspace.home)
    return Path(made["replaced"]) if made["replaced"] else None


def files(dataset: Path) -> list[bytes | None]:
    paths = [dataset, *(companion(dataset, ending) for ending in COMPANIONS)]
    return [path.read_bytes() if path.exists() else None for path in paths]


def test_what_is_replaced_is_in_the_trash_and_comes_back(datasets: Datasets) -> None:
    path = datasets.path("chats")
    assert make(datasets, "chats", "old", 2) is None
    old = files(path)
    trashed = make(datasets, "chats", "new", 0)
    new = files(path)
    assert trashed is not None and new[2:] == [None, None]
    assert datasets.workspace.newest_trashed("dataset", path.name) == trashed
    datasets.restore(trashed)
    assert files(path) == old
    datasets.restore(datasets.workspace.newest_trashed("dataset", path.name))
    assert files(path) == new
    datasets.delete("chats")
    assert files(path) == [None] * 4
    datasets.restore(datasets.workspace.newest_trashed("dataset", path.name))
    assert files(path) == new
    datasets.restore(datasets.workspace.newest_trashed("dataset", path.name))
    assert files(path) == old
    with pytest.raises(UserError, match="not in the trash any more"):
        datasets.restore(trashed)


@pytest.mark.parametrize("what", ["replace", "restore", "delete"])
def test_a_crash_loses_nothing_and_leaves_no_report_of_another_dataset(datasets: Datasets, what: str) -> None:
    path = datasets.path("chats")
    trash = datasets.workspace.folder("trash")
    survived = 0
    for calls in range(40):
        make(datasets, "chats", "old", 2)
        old = files(path)
        trashed = make(datasets, "chats", "new", 3)
        new = files(path)
        assert trashed is not None
        if (child := os.fork()) == 0:
            crash_after(calls)
            if what == "replace":
                make(datasets, "chats", "newest", 4)
            elif what == "restore":
                datasets.restore(trashed)
            else:
                datasets.delete("chats")
            os._exit(0)
        survived += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        check_consistent(path, calls)
        kept = [files(path), *(trashed_files(found) for found in trash.glob("*.jsonl"))]
        assert old in kept and new in kept, calls
    assert 10 < survived < 36


def trashed_files(trashed: Path) -> list[bytes | None]:
    paths = [trashed, *(trashed.with_name(trashed.name + ending) for ending in COMPANIONS)]
    return [path.read_bytes() if path.exists() else None for path in paths]


def check_consistent(dataset: Path, calls: int) -> None:
    rows, report, *parts = files(dataset)
    if report is not None:
        assert rows is not None and json.loads(report)["output_sha256"] == hashlib.sha256(rows).hexdigest(), calls
    for part in parts:
        assert part is None or set(part.splitlines()) <= set((rows or b"").splitlines()), calls


def test_a_crash_outside_of_a_workspace_leaves_no_report_of_another_dataset(tmp_path: Path) -> None:
    old, new = (write_rows(tmp_path / name, *rows_of(name)) for name in ("old", "new"))
    output = tmp_path / "out.jsonl"
    survived = 0
    for calls in range(20):
        prepare(str(old), output, PrepareConfig(split=2))
        if (child := os.fork()) == 0:
            crash_after(calls)
            prepare(str(new), output, PrepareConfig(split=3))
            os._exit(0)
        survived += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        check_consistent(output, calls)
        for path in (output, *(companion(output, ending) for ending in COMPANIONS)):
            path.unlink(missing_ok=True)
    assert 0 < survived < 15


def crash_after(calls: int) -> None:
    """End this process at its next-but-`calls` linking, removal or renaming of a file."""
    left = [calls]

    def counted(real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any, **more: Any) -> None:
            if not left[0]:
                os._exit(9)
            left[0] -= 1
            real(*arguments, **more)

        return call

    for name in ("link", "rename", "unlink", "replace"):
        setattr(os, name, counted(getattr(os, name)))


def test_what_a_killed_preparation_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    source = write_rows(tmp_path / "rows", *rows_of("q") * 20_000)
    command = [sys.executable, "-m", "finetune.prepare_dataset", str(source), str(folder / "big.jsonl")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while not any(path.stat().st_size for path in folder.iterdir()) and process.poll() is None:
        time.sleep(0.001)
    (rows,) = folder.iterdir()
    os.kill(process.pid, signal.SIGSTOP)
    others = [folder / f".big.jsonl.{process.pid}.inputs", folder / f".{rows.name}.train", folder / ".mine.4000000.tmp"]
    others[0].mkdir()
    for other in others[1:]:
        other.write_text("text")
    small = write_rows(tmp_path / "small", *rows_of("q"))
    assert run(small, folder / "small.jsonl")[0] == 0
    assert all(path.exists() for path in (rows, *others))  # it is only stopped
    process.kill()
    process.wait()
    assert run(small, folder / "small.jsonl")[0] == 0
    assert {path.name for path in folder.iterdir()} == {"small.jsonl", "small.report.json", ".mine.4000000.tmp"}
