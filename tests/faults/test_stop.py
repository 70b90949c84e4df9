"""A stop: cooperative, then SIGTERM, then SIGKILL; at any time of a run's life."""

from __future__ import annotations

import os
import signal
import time

import pytest
from harness import Place, kill, until

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.running import processes

FOREVER = 100_000


def test_a_cooperative_stop_saves_and_is_resumed(place: Place) -> None:
    place.hold(50)
    run = place.start(steps=100, every=1000, mode="family")
    place.until_held(50)
    place.runs.request_stop(run)
    status = place.until_ended(run)
    assert (status.state, status.exit_code, status.cause) == ("stopped", 0, "")
    assert run.result()["state"] == "stopped"
    assert (run.folder / "checkpoints" / "checkpoint-50" / ".complete").exists()
    place.release(50)
    place.runs.start(run)
    assert place.until_ended(run).state == "done"
    place.check(run, 100)


def test_stopping_is_shown(place: Place) -> None:
    run = place.start(steps=FOREVER, mode="deaf")
    place.until_training(run)
    place.runs.request_stop(run)
    assert run.status().state == "stopping" and run.status().active
    place.runs.request_stop(run, grace_seconds=0)
    place.until_ended(run)


def test_a_deaf_job_gets_sigterm(place: Place) -> None:
    run = place.start(steps=FOREVER, mode="deaf")
    place.until_training(run)
    place.runs.request_stop(run, grace_seconds=0.1)
    status = place.until_ended(run)
    assert (status.state, status.exit_code) == ("stopped", -signal.SIGTERM)
    assert status.cause == "did not end by itself when asked to stop, so it was ended"


def test_a_stubborn_job_is_killed_with_its_family(place: Place) -> None:
    run = place.start(steps=FOREVER, mode="stubborn")
    place.until_training(run)
    assert len(place.runs.leftovers(run)) == 4  # the job, two workers, a daemon
    place.runs.request_stop(run, grace_seconds=0.1)
    status = place.until_ended(run)
    assert (status.state, status.exit_code) == ("stopped", -signal.SIGKILL)
    assert status.cause and not place.runs.leftovers(run)
    assert not statefiles.is_locked(run.spec["device_lock"])


def test_a_second_stop_may_have_less_patience(place: Place) -> None:
    run = place.start(steps=FOREVER, mode="deaf")
    place.until_training(run)
    place.runs.request_stop(run, grace_seconds=10_000)
    until(lambda: statefiles.read_object(run.folder / "status.json").get("stopping") == "asked", "the job to be asked")
    place.runs.request_stop(run, grace_seconds=0)
    assert place.until_ended(run).state == "stopped"


def test_stop_in_the_queue(place: Place) -> None:
    first = place.start(steps=FOREVER)
    second = place.start()
    assert second.status().state == "queued"
    place.runs.request_stop(second)
    status = place.until_ended(second)
    assert (status.state, status.attempt, status.cause) == ("stopped", 0, "taken out of the queue")
    assert not second.log.exists()
    place.runs.request_stop(first)
    place.until_ended(first)
    place.runs.start(second)
    assert place.until_ended(second).state == "done"
    place.check(second)


def test_stop_of_an_orphan(place: Place) -> None:
    run = place.start(steps=FOREVER, mode="family")
    place.until_training(run)
    assert place.kill_supervisor(run)
    place.until_state(run, "orphan")
    place.runs.request_stop(run)
    assert place.until_ended(run).state == "stopped"
    assert run.result()["state"] == "stopped" and not place.runs.leftovers(run)


def test_stop_of_a_deaf_orphan(place: Place) -> None:
    run = place.start(steps=FOREVER, mode="stubborn")
    place.until_training(run)
    assert place.kill_supervisor(run)
    place.runs.request_stop(run, grace_seconds=0)
    status = place.until_ended(run)
    assert (status.state, status.exit_code) == ("stopped", None)
    assert status.cause and not place.runs.leftovers(run)


def test_a_stop_survives_the_supervisor(place: Place) -> None:
    """It is killed after SIGTERM was sent: the next one still knows why the job ended."""
    run = place.start(steps=FOREVER, mode="deaf")
    place.until_training(run)
    pid = run.status().pid
    assert pid
    os.kill(pid, signal.SIGSTOP)  # SIGTERM waits until it goes on
    place.runs.request_stop(run, grace_seconds=0)
    raw = run.folder / "status.json"
    until(lambda: statefiles.read_object(raw).get("stopping") == "terminated", "SIGTERM")
    assert place.kill_supervisor(run)
    os.kill(pid, signal.SIGCONT)
    until(lambda: not processes.start_time(pid), "the job's end")
    assert place.runs.adopt(run) == "over"
    assert run.status().state == "stopped"


def test_stop_of_an_orphan_that_has_ended(place: Place) -> None:
    run = place.start(steps=FOREVER)
    place.until_training(run)
    pid = run.status().pid
    assert place.kill_supervisor(run) and pid and kill(pid)
    place.runs.request_stop(run)
    assert run.status().state == "lost"


def test_stop_before_the_start_and_after_the_end_is_refused(place: Place) -> None:
    run = place.create(steps=2)
    for _ in range(2):
        with pytest.raises(UserError) as refused:
            place.runs.request_stop(run)
        assert refused.value.code == "conflict"
        assert not (run.folder / "stop.json").exists()
        place.runs.start(run)
        place.until_ended(run)
    assert place.recover(run)
    place.check(run, 2)


def test_stop_at_the_very_start(place: Place) -> None:
    """As soon as any status is there, a stop works: it is not lost between the starter and the job."""
    for _ in range(10):
        run = place.start(steps=FOREVER)
        place.runs.request_stop(run)
        assert place.until_ended(run).state == "stopped"


def test_a_stop_that_came_too_late_does_not_stop_the_next_attempt(place: Place) -> None:
    run = place.start(steps=20, mode="crash")
    place.until_ended(run)
    statefiles.write_json(run.folder / "stop.json", {"grace_seconds": 0, "asked_at": time.time()})
    place.runs.start(run)
    assert place.until_ended(run).state == "done"
    place.check(run, 20)


def test_a_shutdown_is_a_stop(place: Place) -> None:
    """SIGTERM to the supervisor, as init sends it: the job saves and ends."""
    run = place.start(steps=FOREVER, mode="family")
    place.until_training(run)
    supervisor = place.supervisor_pid(run)
    assert supervisor
    os.kill(supervisor, signal.SIGTERM)
    assert place.until_ended(run).state == "stopped"
    assert run.result()["state"] == "stopped"


def test_a_shutdown_that_ends_the_job_too(place: Place) -> None:
    run = place.start(steps=FOREVER, mode="deaf")
    place.until_training(run)
    supervisor, pid = place.supervisor_pid(run), run.status().pid
    assert supervisor and pid
    os.kill(supervisor, signal.SIGTERM)
    until(lambda: run.status().state == "stopping", "the stop")
    raw = run.folder / "status.json"
    until(lambda: statefiles.read_object(raw).get("stopping") == "asked", "the job to be asked")
    os.kill(pid, signal.SIGTERM)
    status = place.until_ended(run)
    assert (status.state, status.exit_code) == ("stopped", -signal.SIGTERM)
