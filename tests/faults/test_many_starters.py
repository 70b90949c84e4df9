"""Twenty faces start at the same moment: one trainer per device at a time, and each run once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise

import pytest
from harness import HERE, PATIENCE, Place, attempts_in, count

from engines.running.launch import launch
from engines.running.runs import Run

STARTERS = 20
STEPS = 4
ROUNDS = count(2, 100)


def start_at_once(place: Place, runs: Sequence[Run]) -> None:
    """One process for each of `runs` starts it, all when the shot is fired."""
    shot = place.home / "shot"
    argv = [sys.executable, str(HERE / "starter.py"), str(place.home)]
    starters = [subprocess.Popen([*argv, run.id, str(shot)], stdout=subprocess.PIPE) for run in runs]
    for starter in starters:
        assert starter.stdout is not None and starter.stdout.readline() == b"ready\n"
    shot.touch()
    for starter in starters:
        assert starter.wait(PATIENCE) == 0
    shot.unlink()


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_different_runs_of_one_device(place: Place, round_number: int) -> None:
    runs = [place.create(steps=STEPS) for _ in range(STARTERS)]
    assert len({run.id for run in runs}) == STARTERS
    start_at_once(place, runs)
    for run in runs:
        assert place.until_ended(run).state == "done"
    for run in runs:
        place.check(run, STEPS)
        assert run.status().attempt == 1
    spans = sorted((run.status().started_at or 0, run.status().ended_at or 0) for run in runs)
    assert all(before[0] < after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_the_same_run(place: Place, round_number: int) -> None:
    place.hold(3)
    run = place.create(steps=STEPS)
    start_at_once(place, [run] * STARTERS)
    place.release(3)
    assert place.until_ended(run).state == "done"
    place.check(run, STEPS)
    assert list(attempts_in(run)) == [1]


def test_who_comes_too_late_does_not_start_it_again(place: Place) -> None:
    """It saw the run before it was started, and comes when it has ended."""
    run = place.start(steps=STEPS)
    before = place.until_ended(run)
    assert launch(run.folder, "start", expected_attempt=0) == "started"
    assert run.status() == before


def test_the_same_stopped_run_is_resumed_once(place: Place) -> None:
    place.hold(3)
    run = place.start(steps=60)
    place.until_held(3)
    place.runs.request_stop(run)
    assert place.until_ended(run).state == "stopped"
    start_at_once(place, [run] * STARTERS)
    place.release(3)
    assert place.until_ended(run).state == "done"
    place.check(run, 60)
    assert list(attempts_in(run)) == [1, 2]
