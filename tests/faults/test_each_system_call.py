"""The supervisor dies at, or is refused, its k-th call to the system, for every k; then a face recovers the run.

After SQLite's method. The count grows by itself: k goes up until nothing is hit any more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from itertools import count as natural_numbers
from pathlib import Path

import pytest
from harness import HERE, SEED, Place, count, for_each, has_ended_by_itself, kill, until

from engines.running import processes

STEPS = 8
BATCH = 16
SEEDS = count(1, 3)


def launch_injected(place: Place, run_folder: Path, mode: str, fault: str, who: str, k: int) -> str:
    """As engines.running.launch does it, with the fault. Returns the call that was hit, or nothing."""
    note = place.home / "note"
    reader, writer = os.pipe()
    script = [sys.executable, "-S", str(HERE / "injected_supervisor.py"), fault, who, str(k), str(note)]
    with os.fdopen(reader) as answer:
        argv = [*script, mode, str(run_folder), str(writer), "0"]
        starter = subprocess.Popen(argv, pass_fds=(writer,), start_new_session=True)
        os.close(writer)
        starter.wait()
        answer.readline()
    return note.read_text()


def hit_every_call(places: Path, mode: str, fault: str, who: str) -> Counter[str]:
    hits: Counter[str] = Counter()

    def case(k: int) -> None:
        place = Place(places / str(k))
        if mode == "start":
            run = place.create(steps=STEPS)
        else:
            place.hold(3)
            run = place.start(steps=STEPS)
            status = run.status()
            assert place.kill_supervisor(run)
        launch_injected(place, run.folder, mode, fault, who, k)
        if mode == "adopt":
            place.release(3)
        verdicts = place.recover(run)
        place.check(run, STEPS)
        for verdict in verdicts:
            if verdict.state == "done":
                assert has_ended_by_itself(run, verdict.attempt)
            elif who == "supervisor" and mode == "adopt":
                raise AssertionError(f"the job was not harmed: {verdict}, {status}")
            else:
                assert not has_ended_by_itself(run, verdict.attempt), verdict
        hit = (place.home / "note").read_text()
        if hit:
            hits[hit] += 1
            reached.add(k)

    reached: set[int] = set()
    for first in natural_numbers(1, BATCH):
        batch = range(first, first + BATCH)
        for_each(batch, case)
        if not reached.intersection(batch):
            return hits
    raise AssertionError("unreachable")


@pytest.mark.parametrize("fault", ["kill", "EIO", "ENOSPC"])
@pytest.mark.parametrize("round_number", range(SEEDS))
def test_start(places: Path, fault: str, round_number: int) -> None:
    hits = hit_every_call(places, "start", fault, "supervisor")
    print(f"FTUI_SEED={SEED} start {fault}: {sum(hits.values())} {dict(hits)}")
    assert {"open", "write", "fsync", "rename"} <= hits.keys()
    assert fault == "ENOSPC" or {"fork", "waitpid", "flock", "select"} <= hits.keys()


@pytest.mark.parametrize("fault", ["kill", "EIO"])
@pytest.mark.parametrize("round_number", range(SEEDS))
def test_adopt(places: Path, fault: str, round_number: int) -> None:
    hits = hit_every_call(places, "adopt", fault, "supervisor")
    print(f"FTUI_SEED={SEED} adopt {fault}: {sum(hits.values())} {dict(hits)}")
    assert {"open", "write", "fsync", "rename", "select"} <= hits.keys()


@pytest.mark.parametrize("fault", ["kill", "EIO", "ENOSPC"])
def test_the_child_before_it_becomes_the_job(places: Path, fault: str) -> None:
    hits = hit_every_call(places, "start", fault, "child")
    print(f"child {fault}: {sum(hits.values())} {dict(hits)}")
    assert {"open", "write"} <= hits.keys()
    assert fault == "ENOSPC" or {"setsid", "dup2", "execvpe"} <= hits.keys()


def test_a_supervisor_that_is_killed_again_and_again(place: Place) -> None:
    """Each adoption is killed in its turn; the job never notices."""
    place.hold(3)
    run = place.start(steps=STEPS)
    pid = run.status().pid
    for _ in range(5):
        assert place.kill_supervisor(run)
        place.until_state(run, "orphan")
        assert pid and processes.start_time(pid)
        assert place.runs.adopt(run) == "adopted"
    place.release(3)
    assert [status.state for status in place.recover(run)] == ["done"]
    assert run.status().attempt == 1
    place.check(run, STEPS)


def test_a_job_that_is_killed_while_nobody_watches_is_lost_and_resumed(place: Place) -> None:
    place.hold(4)
    run = place.start(steps=STEPS, every=2)
    place.until_held(4)
    pid = run.status().pid
    assert place.kill_supervisor(run) and pid and kill(pid)
    until(lambda: not processes.start_time(pid), "the job to be gone")
    place.release(4)
    verdicts = place.recover(run)
    assert [status.state for status in verdicts] == ["lost", "done"]
    assert verdicts[0].next_step == "Resume it."
    place.check(run, STEPS)
