"""Whoever is killed at whatever moment: nothing is lost, nothing runs twice, and the verdict is true."""

from __future__ import annotations

import fcntl
import os
import pty
import random
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

from harness import HERE, Place, count, ended, for_each, has_ended_by_itself, kill, until

from engines.contract import statefiles
from engines.running import processes

STEPS = 30
FACES = count(50, 500)
TERMINALS = count(10, 100)
SUPERVISORS = count(50, 500)
TRAINERS = count(50, 500)
BOTH = count(20, 200)


def face_argv(place: Place) -> list[str]:
    return [sys.executable, str(HERE / "face.py"), str(place.home), *place.argv(steps=STEPS, mode="family")]


def kill_a_face(place: Place, after: float) -> None:
    face = subprocess.Popen(face_argv(place), stdout=subprocess.PIPE)
    assert face.stdout is not None and face.stdout.readline() == b"ready\n"
    time.sleep(after)
    assert face.poll() is None, "the face ended by itself"
    face.kill()
    face.wait()


def own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored


def close_a_terminal(place: Place, after: float) -> None:
    master, slave = pty.openpty()
    face = subprocess.Popen(
        face_argv(place),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=own_terminal,
    )
    os.close(slave)
    assert os.read(master, 100).startswith(b"ready")
    time.sleep(after)
    assert face.poll() is None, "the face ended by itself"
    os.close(master)
    until(lambda: ended(face), "the face to end with its terminal")
    assert face.returncode == -signal.SIGHUP


def check_all(place: Place) -> None:
    runs = place.runs.list()
    assert runs
    for run in runs:
        verdicts = place.recover(run)
        assert [status.state for status in verdicts] == ["done"], verdicts
        assert run.status().attempt == 1, "the death of a face ended a run"
        place.check(run, STEPS)


def test_faces_are_killed(place: Place, chance: random.Random) -> None:
    for _ in range(FACES):
        kill_a_face(place, chance.uniform(0, 0.3))
    check_all(place)


def test_terminals_are_closed(place: Place, chance: random.Random) -> None:
    for _ in range(TERMINALS):
        close_a_terminal(place, chance.uniform(0, 0.3))
    check_all(place)


def test_supervisors_are_killed(places: Path, chance: random.Random) -> None:
    """In every other case within the first moments, where it starts the job."""
    moments = [chance.uniform(0, 0.08 if case % 2 else 0.6) for case in range(SUPERVISORS)]
    waits = [chance.random() < 0.3 for _ in moments]

    def case(number: int) -> None:
        place = Place(places / str(number))
        run = place.create(steps=STEPS, mode="family")
        launching = threading.Thread(target=start_quietly, args=(place, run))
        launching.start()
        until(lambda: place.supervisor_pid(run) or run.status().ended, "a supervisor")
        time.sleep(moments[number])
        place.kill_supervisor(run)
        launching.join()
        place.kill_supervisor(run)  # the face may have adopted the run already
        status = run.status()
        if status.state == "orphan" and status.pid and processes.start_time(status.pid):
            locked = statefiles.is_locked(run.spec["device_lock"])
            assert locked or not processes.start_time(status.pid), "a trainer without the device's lock"
        if waits[number] and status.state == "orphan":  # nobody adopts before the trainer has ended
            until(lambda: not processes.start_time(status.pid or 0), "the trainer's end")
        for verdict in place.recover(run):
            by_itself = has_ended_by_itself(run, verdict.attempt)
            assert verdict.state == ("done" if by_itself else "lost"), f"{verdict}: the trainer was not harmed"
        place.check(run, STEPS)

    for_each(range(SUPERVISORS), case)


def start_quietly(place: Place, run: object) -> None:
    try:
        place.runs.start(run)  # type: ignore[arg-type]
    except Exception:
        pass  # its supervisor was killed: the face would show that


def test_trainers_are_killed(places: Path, chance: random.Random) -> None:
    moments = [chance.uniform(0, 0.6) for _ in range(TRAINERS)]

    def case(number: int) -> None:
        place = Place(places / str(number))
        run = place.start(steps=STEPS, mode="family")
        time.sleep(moments[number])
        status = run.status()
        if status.state == "running" and status.pid:
            kill(status.pid)
        first, *later = place.recover(run)
        if has_ended_by_itself(run, 1) and first.state == "failed":  # killed after its last word was printed
            assert first.exit_code == -signal.SIGKILL
        elif first.state != "done":
            assert (first.state, first.cause) == ("failed", "ended by SIGKILL"), first
            assert [status.state for status in later] == ["done"]
        place.check(run, STEPS)

    for_each(range(TRAINERS), case)


def test_supervisor_and_trainer_are_killed_at_once(places: Path, chance: random.Random) -> None:
    """As a power cut does it."""
    moments = [chance.uniform(0, 0.5) for _ in range(BOTH)]

    def case(number: int) -> None:
        place = Place(places / str(number))
        run = place.start(steps=STEPS, mode="family")
        time.sleep(moments[number])
        status = run.status()
        supervisor = place.supervisor_pid(run)
        for pid in (supervisor, status.pid):
            if pid and status.state == "running":
                kill(pid)
        first, *_ = place.recover(run)
        assert first.state in ("done", "lost") or first.cause == "ended by SIGKILL", first
        assert first.state != "done" or has_ended_by_itself(run, 1)
        place.check(run, STEPS)

    for_each(range(BOTH), case)


def test_workers_of_a_killed_launcher_end_before_the_next_run_starts(place: Place) -> None:
    """The trainer does not hold the device's lock here: its launcher does, and the supervisor."""
    first = place.start(steps=10_000, mode="launcher")
    place.until_training(first)
    second = place.start(steps=STEPS)
    assert second.status().state == "queued"
    pid, supervisor = first.status().pid, place.supervisor_pid(first)
    assert pid and supervisor
    os.kill(supervisor, signal.SIGSTOP)  # it cannot sweep yet
    kill(pid)
    until(lambda: not processes.start_time(pid), "the launcher to be gone")
    assert statefiles.is_locked(first.spec["device_lock"]), "the device is free, but the trainer lives"
    os.kill(supervisor, signal.SIGCONT)
    assert place.until_ended(first).cause == "ended by SIGKILL"
    place.until_ended(second)
    place.check(second, STEPS)
