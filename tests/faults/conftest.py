"""Fixtures of the fault tests. FTUI_SEED repeats a failed case, FTUI_FAULTS=long multiplies the counts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from harness import HERE, IS_LONG, SEED, Place


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if IS_LONG:
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(pytest.mark.timeout(7200))


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The test's own random numbers; the seed is shown when the test fails."""
    print(f"FTUI_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "home")
    yield place
    _end_what_is_left(tmp_path)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Path]:
    """A folder for many workspaces: `Place(places / "7")`."""
    yield tmp_path
    _end_what_is_left(tmp_path)


def _end_what_is_left(folder: Path) -> None:
    """After a test that failed: its supervisors and jobs, known by their command line or environment, and no others."""
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("FTUI_RUN_DIR", "")]
        except psutil.Error:
            continue
        if process.pid != psutil.Process().pid and any(word.startswith(f"{folder}/") for word in words):
            process.kill()
