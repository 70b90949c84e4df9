"""A pid is not a process: reused pids, a reboot, and a wall clock that is set by a day."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from harness import HERE, Place, kill, until

from engines.contract import statefiles
from engines.running import processes
from engines.running.runs import Run

DAY = 86_400
STEPS = 10


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with us."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def change_status(run: Run, **changes: Any) -> None:
    path = run.folder / "status.json"
    statefiles.write_json(path, {**statefiles.load_json(path), **changes})


def left_alone(place: Place, *, job_dies: bool = True) -> Run:
    """A run whose supervisor was killed, and usually its job too."""
    place.hold(3)
    run = place.start(steps=STEPS)
    place.until_held(3)
    pid = run.status().pid
    assert place.kill_supervisor(run) and pid
    if job_dies:
        kill(pid)
        until(lambda: not processes.start_time(pid), "the job to be gone")
        place.release(3)
    return run


def test_the_pid_was_given_to_a_stranger(place: Place, stranger: subprocess.Popen[bytes]) -> None:
    run = left_alone(place)
    change_status(run, pid=stranger.pid)
    assert place.runs.adopt(run) == "over"
    assert run.status().state == "lost"
    assert stranger.poll() is None, "a stranger was killed"
    place.recover(run)
    place.check(run, STEPS)


def test_a_stop_does_not_hit_the_stranger(place: Place, stranger: subprocess.Popen[bytes]) -> None:
    run = left_alone(place)
    change_status(run, pid=stranger.pid)
    place.runs.request_stop(run, grace_seconds=0)
    assert run.status().state == "lost"
    assert stranger.poll() is None, "a stranger was killed"


def test_the_machine_was_restarted(place: Place, stranger: subprocess.Popen[bytes]) -> None:
    """Even a pid with the very same start time means nothing after that."""
    run = left_alone(place)
    start = processes.start_time(stranger.pid)
    change_status(run, pid=stranger.pid, pid_started=start, boot_id="another boot")
    assert run.status().state == "orphan"
    assert place.runs.adopt(run) == "over"
    assert (run.status().state, run.status().cause) == ("lost", "the machine was restarted while it ran")
    assert stranger.poll() is None, "a stranger was killed"
    place.recover(run)
    place.check(run, STEPS)


def test_the_machine_was_restarted_while_it_waited(place: Place) -> None:
    running = place.start(steps=100_000)
    run = place.start(steps=STEPS)
    assert place.kill_supervisor(run)
    change_status(run, boot_id="another boot")
    assert place.runs.adopt(run) == "over"
    assert (run.status().state, run.status().next_step) == ("lost", "Start it again.")
    place.runs.request_stop(running)
    place.until_ended(running)
    place.runs.start(run)
    assert place.until_ended(run).state == "done"
    place.check(run, STEPS)


@pytest.mark.parametrize("shift", [-DAY, DAY])
def test_recorded_times_are_a_day_off(place: Place, shift: int) -> None:
    """The clock was set while it ran: the job is still known, and followed to its end."""
    run = left_alone(place, job_dies=False)
    change_status(run, started_at=time.time() + shift)
    os.utime(run.folder / "status.json", (time.time() + shift,) * 2)
    assert place.runs.adopt(run) == "adopted"
    place.release(3)
    assert place.until_ended(run).state == "done"
    assert run.status().attempt == 1
    place.check(run, STEPS)


def start_with_shifted_clock(place: Place, run: Run, shift: int) -> None:
    """The real supervisor in a process whose wall clock is `shift` seconds off."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as answer:
        argv = [sys.executable, "-S", str(HERE / "shifted_supervisor.py"), str(shift)]
        argv += ["start", str(run.folder), str(writer), "0"]
        starter = subprocess.Popen(argv, pass_fds=(writer,), start_new_session=True)
        os.close(writer)
        starter.wait()
        assert answer.readline().strip() in ("queued", "running")


@pytest.mark.parametrize("shift", [-DAY, DAY])
def test_the_clock_of_a_supervisor_is_a_day_off(place: Place, shift: int) -> None:
    """The queue keeps its order, and a stop its patience."""
    running = place.create(steps=100_000, mode="deaf")
    start_with_shifted_clock(place, running, shift)
    place.until_training(running)
    shifted, usual = place.create(steps=STEPS), place.create(steps=STEPS)
    for run in (shifted, usual) if shift > 0 else (usual, shifted):
        if run is shifted:
            start_with_shifted_clock(place, run, shift)
        else:
            place.runs.start(run)
    first, second = (shifted, usual) if shift > 0 else (usual, shifted)
    place.runs.request_stop(running, grace_seconds=0.5)
    assert place.until_ended(running).state == "stopped"
    place.until_training(second, STEPS)
    assert place.steps_done(first) == STEPS, "the one that came later was first"
    for run in (first, second):
        assert place.until_ended(run).state == "done"
    place.check(second, STEPS)
