"""A full disk under a real training: it goes on, says so, and loses nothing that was complete."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.config.job import build
from engines.config.train import TrainConfig
from engines.contract import checkpoints
from engines.llm import LLMEngine
from engines.running.follow import LogFile
from engines.running.progress import Progress
from engines.running.runs import Run
from engines.workspace import Workspace

FULL_SECONDS = 6.0  # the tiny model makes more than a hundred steps meanwhile


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take every byte that is left. Returns the file to remove."""
    filler = disk / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 20, 4096, 1):
        try:
            while True:
                os.write(fd, b"x" * size)
        except OSError:
            pass
    os.close(fd)
    return filler


def progress_of(run: Run) -> Progress:
    return Progress.of(LogFile(run.log).poll_all())


def until_step(run: Run, step: int) -> None:
    deadline = time.monotonic() + 120
    while progress_of(run).step < step:
        assert time.monotonic() < deadline and not run.status().ended, run.log.read_text()[-2000:]
        time.sleep(0.05)


@pytest.mark.timeout(280)
@pytest.mark.parametrize("case", ["checkpoints", "the adapter"])
def test_the_training_goes_on(small_disk: Path, tmp_path: Path, tiny_model: Path, case: str) -> None:
    engine = LLMEngine(Workspace(small_disk / "home"))
    dataset = engine.datasets.get(str(write_dataset(tmp_path / "talk_dataset.jsonl", dialog_rows(40))))
    config = build(
        TrainConfig,
        {
            "base_model": str(tiny_model),
            "max_steps": 4000 if case == "checkpoints" else 60,
            "gradient_accumulation_steps": 1,
            "save_steps": 10,
            "precision": "fp32",
            "gradient_checkpointing": False,
            "device": "cpu",
        },
    )
    run = engine.train(dataset, config, name="small")
    until_step(run, 12)
    filler = fill(small_disk)
    time.sleep(FULL_SECONDS)
    assert not run.status().ended, run.log.read_text()[-3000:]
    filler.unlink()
    if case == "checkpoints":
        until_step(run, progress_of(run).step + 20)
        engine.stop(run)
        status = engine.runs.wait(run, timeout=60)
        assert status.state == "stopped", (status, run.log.read_text()[-2000:])
        newest = checkpoints.newest_complete(run.folder / "checkpoints")
        assert newest is not None and checkpoints.step_of(newest) == run.result()["step"]
    else:
        assert engine.runs.wait(run, timeout=90).state == "done", run.log.read_text()[-2000:]
        assert engine.adapters.activate("small").complete
    progress = progress_of(run)
    assert any("the disk is full" in warning for warning in progress.warnings)
    assert [step for step, _ in progress.losses] == list(range(1, progress.step + 1))  # no figure was lost


def test_running_out_of_memory_is_named(engine: LLMEngine) -> None:
    run = engine.runs.create("train", "large", [sys.executable, "-c", "import torch; torch.empty(10**15)"])
    engine.runs.start(run)
    status = engine.runs.wait(run, timeout=60)
    assert status.state == "failed" and status.cause.startswith("out of memory")
    assert "batch size" in status.next_step
