"""The queue of a device, adoption, what a job inherits, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from harness import Place, until

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.running import processes

STEPS = 4
FOREVER = 100_000


def test_first_come_first_served(place: Place) -> None:
    running = place.start(steps=FOREVER)
    waiting = [place.start(steps=STEPS) for _ in range(8)]
    assert {run.status().state for run in waiting} == {"queued"}
    place.runs.request_stop(running)
    place.until_ended(running)
    for run in waiting:
        assert place.until_ended(run).state == "done"
    place.check(waiting[-1], STEPS)
    began = [run.status().started_at for run in waiting]
    assert began == sorted(began)  # type: ignore[type-var]


def test_a_waiting_run_can_be_moved(place: Place) -> None:
    running = place.start(steps=FOREVER)
    waiting = [place.start(steps=STEPS) for _ in range(4)]
    assert [run.id for run in place.runs.queue()] == [run.id for run in waiting]
    place.runs.move_in_queue(waiting[3], 1)
    place.runs.move_in_queue(waiting[0], 3)
    wanted = [waiting[3], waiting[1], waiting[0], waiting[2]]
    assert [run.id for run in place.runs.queue()] == [run.id for run in wanted]
    newcomer = place.start(steps=STEPS)  # comes after all who were moved
    with pytest.raises(UserError, match="no place 6"):
        place.runs.move_in_queue(newcomer, 6)
    with pytest.raises(UserError, match="is not waiting"):
        place.runs.move_in_queue(running, 1)
    place.runs.request_stop(running)
    place.until_ended(running)
    for run in [*wanted, newcomer]:
        assert place.until_ended(run).state == "done"
    began = [run.status().started_at for run in [*wanted, newcomer]]
    assert began == sorted(began)  # type: ignore[type-var]


def test_a_newcomer_does_not_overtake(place: Place) -> None:
    """The device is free, but somebody waits whose turn it is."""
    running = place.start(steps=FOREVER)
    waiting = place.start(steps=STEPS)
    supervisor = place.supervisor_pid(waiting)
    assert supervisor
    os.kill(supervisor, signal.SIGSTOP)  # it cannot take its turn yet
    place.runs.request_stop(running)
    place.until_ended(running)
    newcomer = place.start(steps=STEPS)
    assert newcomer.status().state == "queued"
    os.kill(supervisor, signal.SIGCONT)
    first, second = place.until_ended(waiting), place.until_ended(newcomer)
    assert (first.started_at or 0) < (second.started_at or 0)


def test_a_dead_one_in_the_queue_holds_up_nobody(place: Place) -> None:
    running = place.start(steps=FOREVER)
    dead, alive = place.start(steps=STEPS), place.start(steps=STEPS)
    assert place.kill_supervisor(dead)
    place.runs.request_stop(running)
    assert place.until_ended(alive).state == "done"
    assert dead.status().state == "orphan"
    assert [status.state for status in place.recover(dead)] == ["done"]
    place.check(dead, STEPS)


def test_an_adopted_one_keeps_its_place(place: Place) -> None:
    running = place.start(steps=FOREVER)
    first, second = place.start(steps=STEPS), place.start(steps=STEPS)
    assert place.kill_supervisor(first)
    assert place.runs.adopt(first) == "queued"
    place.runs.request_stop(running)
    assert (place.until_ended(first).started_at or 0) < (place.until_ended(second).started_at or 0)


def test_devices_do_not_wait_for_each_other(place: Place) -> None:
    first = place.start(steps=FOREVER, device="cpu")
    place.until_training(first)
    place.busy = place.home / "busy-too"
    second = place.start(steps=STEPS, device="cuda:0")
    assert place.until_ended(second).state == "done"
    assert first.status().state == "running"
    place.runs.request_stop(first)
    place.until_ended(first)


def test_starting_what_is_active_changes_nothing(place: Place) -> None:
    place.hold(3)
    run = place.start(steps=STEPS)
    assert place.runs.start(run).state == "running"
    assert place.kill_supervisor(run)
    assert place.runs.start(run).state == "running"  # adopted
    assert place.runs.adopt(run) == "supervised"
    place.release(3)
    assert place.until_ended(run).attempt == 1
    place.check(run, STEPS)


def test_adopting_what_has_ended_or_never_began_changes_nothing(place: Place) -> None:
    run = place.create(steps=2)
    assert place.runs.adopt(run) == "over"
    assert run.status().state == "new"
    place.runs.start(run)
    before = place.until_ended(run)
    until(lambda: not statefiles.is_locked(run.folder / "supervisor.lock"), "the supervisor's end")
    assert place.runs.adopt(run) == "over"
    assert run.status() == before


def test_a_run_that_was_only_made_can_be_started_or_deleted(place: Place) -> None:
    """Its face died between the two."""
    first, second = place.create(steps=2), place.create(steps=2)
    assert [run.id for run in place.runs.list()] == [second.id, first.id]
    assert place.runs.delete(first).exists()
    place.runs.start(second)
    assert place.until_ended(second).state == "done"


def test_what_runs_or_waits_cannot_be_deleted(place: Place) -> None:
    running, waiting = place.start(steps=FOREVER), place.start(steps=STEPS)
    for run in (running, waiting):
        with pytest.raises(UserError) as refused:
            place.runs.delete(run)
        assert refused.value.code == "conflict"
    assert place.kill_supervisor(running)
    with pytest.raises(UserError):
        place.runs.delete(running)
    place.runs.request_stop(running)
    place.until_ended(waiting)


def test_workers_and_an_escaped_daemon_are_swept(place: Place) -> None:
    place.hold(3)
    run = place.start(steps=STEPS, mode="family")
    place.until_held(3)
    until(lambda: len(place.runs.leftovers(run)) == 4, "the job, two workers and a daemon")
    place.release(3)
    assert place.until_ended(run).state == "done"
    assert statefiles.read_object(run.folder / "status.json")["swept"] == 3
    place.check(run, STEPS)


@pytest.mark.skipif(not processes.LINUX, reason="a process without its mark can be found on Linux alone")
def test_a_daemon_that_dropped_its_mark_is_swept(place: Place) -> None:
    """It holds the device's lock, too."""
    code = "import os, time; os.fork() or (os.setsid(), os.execve('/bin/sleep', ['sleep', '987'], {})); time.sleep(0.2)"
    run = place.runs.create("train", "a run", [sys.executable, "-c", code], device="cpu")
    place.runs.start(run)
    assert place.until_ended(run).state == "done"
    assert statefiles.read_object(run.folder / "status.json")["swept"] == 1
    assert not statefiles.is_locked(run.spec["device_lock"])


@pytest.mark.skipif(not processes.LINUX, reason="descriptors are listed in /proc")
def test_a_job_inherits_only_its_log_and_the_lock_of_its_device(place: Place) -> None:
    code = (
        "import os, signal\n"
        "for name in sorted(os.listdir('/proc/self/fd'), key=int):\n"
        "    try: print('fd', name, os.readlink(f'/proc/self/fd/{name}'))\n"
        "    except OSError: pass\n"
        "print('mask', signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
        "print('leader', os.getsid(0) == os.getpid(), 'umask', oct(os.umask(0)))\n"
    )
    run = place.runs.create("train", "a run", [sys.executable, "-c", code], device="cpu")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)  # as a careless program has it
    place.runs.start(run)
    assert place.until_ended(run).state == "done"
    os.close(reader)
    os.close(writer)
    told = [line for line in run.log.read_text().splitlines() if line.startswith("fd ")]
    log, lock = str(run.log), run.spec["device_lock"]
    assert [line.split()[2] for line in told] == [os.devnull, log, log, lock]
    assert "mask set()\nleader True umask 0o77" in run.log.read_text()


def test_a_face_is_killed_in_the_middle_of_an_adoption(place: Place) -> None:
    place.hold(3)
    run = place.start(steps=STEPS)
    assert place.kill_supervisor(run)
    code = "import sys, pathlib; from engines.running.launch import launch; launch(pathlib.Path(sys.argv[1]), 'adopt')"
    face = subprocess.Popen([sys.executable, "-c", code, str(run.folder)])
    until(lambda: place.supervisor_pid(run), "the adopting supervisor")
    face.kill()
    face.wait()
    place.release(3)
    assert [status.state for status in place.recover(run)] == ["done"]
    assert run.status().attempt == 1
    place.check(run, STEPS)


def test_a_supervisor_that_died_before_its_first_word_leaves_a_run_that_can_be_started(place: Place) -> None:
    run = place.create(steps=STEPS)
    (run.folder / "supervisor.lock").touch()
    (run.folder / "status.json.1-abcd.tmp").write_text("{")
    assert run.status().state == "new"
    place.runs.start(run)
    assert place.until_ended(run).state == "done"
    place.check(run, STEPS)
    assert not list(run.folder.glob("*.tmp"))
