"""A full disk: training goes on or is refused with its cause, nothing is torn, the verdict is written.

On a tmpfs of 4 MB; where that cannot be mounted the test runs itself again in a user namespace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Place, attempts_in, count, kill, until

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.running import processes
from engines.running.runs import Run

ROUNDS = count(1, 5)  # of five cases
STEPS = 120
INSIDE = "FTUI_TEST_IN_NAMESPACE"


def mount(folder: Path) -> str:
    """Returns why it could not, or nothing."""
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True) if shutil.which("mount") else None
    return "there is no mount" if done is None else done.stderr.strip()


def run_in_a_namespace(request: pytest.FixtureRequest) -> None:
    argv = ["unshare", "-rm", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", request.node.nodeid]
    done = subprocess.run(
        argv, cwd=request.config.rootpath, env={**os.environ, INSIDE: "1"}, capture_output=True, text=True
    )
    if done.returncode == 0 and "1 passed" in done.stdout:
        pytest.skip("it passed in a user namespace")
    if done.returncode == 1 and "1 failed" in done.stdout:
        pytest.fail(done.stdout)
    pytest.skip(f"no tmpfs can be mounted: {done.stderr.strip()[-200:]}")


@pytest.fixture
def small(tmp_path: Path, request: pytest.FixtureRequest, places: Path) -> Iterator[Place]:
    """A place on a small disk. Everything of a test that failed is ended before the disk is taken away."""
    if not processes.LINUX:
        pytest.skip("tmpfs is Linux's")
    disk = tmp_path / "disk"
    problem = mount(disk)
    if problem:
        if os.environ.get(INSIDE) or not shutil.which("unshare"):
            pytest.skip(f"no tmpfs can be mounted: {problem}")
        run_in_a_namespace(request)
    yield Place(disk / "home")
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(place: Place) -> Path:
    filler = place.home / "filler"
    with open(filler, "ab", buffering=0) as file:
        for size in (65536, 4096, 512, 64, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return filler


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_space_returns_while_it_trains(small: Place, round_number: int) -> None:
    """Training goes on, lines for people are dropped, but no metric is."""
    small.hold(10)
    small.hold(100)
    run = small.start(steps=STEPS, mode="chatty")
    small.until_held(10)
    filler = fill(small)
    before = run.log.stat().st_size
    small.release(10)
    small.until_held(100)
    assert run.log.stat().st_size - before < 8192, "the disk was not full"
    filler.unlink()
    small.release(100)
    assert small.until_ended(run).state == "done"
    assert [step for step, _ in attempts_in(run)[1]] == list(range(1, STEPS + 1))
    check_after(small)


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_the_disk_stays_full_until_after_the_end(small: Place, round_number: int) -> None:
    """The verdict is written through the reserve: nobody has to free anything for that."""
    small.hold(10)
    run = small.start(steps=STEPS, mode="chatty")
    small.until_held(10)
    filler = fill(small)
    small.release(10)
    status = small.until_ended(run)
    assert (status.state, status.exit_code) == ("done", 0)
    filler.unlink()
    check_after(small)


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_the_verdict_waits_for_space(small: Place, round_number: int) -> None:
    """The reserve was eaten by somebody else: the supervisor holds on, and no face hangs meanwhile."""
    small.hold(10)
    run = small.start(steps=STEPS)
    small.until_held(10)
    assert small.kill_supervisor(run)
    (run.folder / "reserve").unlink()
    filler = fill(small)
    pid = run.status().pid
    assert pid and kill(pid)
    until(lambda: not processes.start_time(pid), "the job to be gone")
    assert small.runs.adopt(run) == "unsaved"
    assert run.status().state == "running"
    filler.unlink()
    assert small.until_ended(run).state == "lost"
    small.release(10)
    assert small.recover(run)[-1].state == "done"
    small.check(run, STEPS)
    check_after(small)


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_a_job_that_dies_of_it_says_so_and_is_resumed(small: Place, round_number: int) -> None:
    """A trainer that is not ours, whose print() fails."""
    code = "import os, time\nfor n in range(100_000): print(n, '.' * 500, flush=True); time.sleep(0.001)"
    run = small.runs.create("train", "a run", [sys.executable, "-c", code], device="cpu")
    small.runs.start(run)
    until(lambda: run.log.exists() and run.log.stat().st_size > 1000, "output")
    filler = fill(small)
    status = small.until_ended(run)
    assert status.state == "failed" and status.exit_code
    assert status.cause == "the disk is full" or "ended with exit code" in status.cause  # its traceback had no room
    fill(small)
    refuse_to_start(small, run)
    filler.unlink()
    assert small.runs.start(run).state == "running"
    small.runs.request_stop(run, grace_seconds=0)
    assert small.until_ended(run).state == "stopped"
    check_after(small)


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_starting_and_stopping_on_a_full_disk(small: Place, round_number: int) -> None:
    """A stop works without any space; a start is refused with its cause, and leaves nothing half made."""
    run = small.start(steps=100_000, seconds=0.02)
    small.until_training(run)
    other = small.create(steps=STEPS)
    filler = fill(small)
    with pytest.raises(UserError) as refused:
        small.create(steps=STEPS)
    assert refused.value.code == "not_ready" and "disk" in refused.value.cause
    assert len(small.runs.list()) == 2
    small.runs.request_stop(run)
    assert small.until_ended(run).state == "stopped"
    fill(small)
    refuse_to_start(small, other)
    filler.unlink()
    for each in (run, other):
        assert not small.runs.leftovers(each)
    verdicts = small.recover(other)
    assert verdicts[-1].state == "done"
    small.check(other, STEPS)
    check_after(small)


def refuse_to_start(place: Place, run: Run) -> None:
    before = run.status()
    with pytest.raises(UserError) as refused:
        place.runs.start(run)
    assert refused.value.code == "not_ready" and "disk" in refused.value.cause
    assert run.status() == before


def check_after(place: Place) -> None:
    for run in place.runs.list():
        for file in run.folder.rglob("*.json"):
            statefiles.load_json(file)
        assert not list(run.folder.rglob("*.tmp"))
        assert not place.runs.leftovers(run)
        assert not statefiles.is_locked(run.spec["device_lock"])
