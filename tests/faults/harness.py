"""What the fault tests share: runs of the stand-in trainer, killing, recovering as a face would, and the invariants."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import job
import psutil

from engines.contract import statefiles
from engines.running import processes
from engines.running.follow import LogFile
from engines.running.runs import Run, Runs, RunStatus
from engines.workspace import Workspace

HERE = Path(__file__).resolve().parent
SEED = os.environ.get("FTUI_SEED", "1")
IS_LONG = os.environ.get("FTUI_FAULTS") == "long"
AT_ONCE = 4  # cases side by side: most of a case is waiting
PATIENCE = 60.0  # how long a loaded machine may take for what usually takes a moment

Item = TypeVar("Item")


def count(in_ci: int, in_the_long_run: int) -> int:
    return in_the_long_run if IS_LONG else in_ci


def until(predicate: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait for a true value and return it."""
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for: {what}"
        time.sleep(0.01)


def for_each(items: Iterable[Item], case: Callable[[Item], None]) -> None:
    """Run the cases side by side; all failures are told, each with its case."""

    def attempt(item: Item) -> str | None:
        try:
            case(item)
            return None
        except Exception as error:
            return f"case {item}: {type(error).__name__}: {error}"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        failures = [problem for problem in pool.map(attempt, items) if problem]
    assert not failures, "\n".join(failures)


def kill(pid: int) -> bool:
    try:
        os.kill(pid, 9)
        return True
    except ProcessLookupError:
        return False


def ended(process: subprocess.Popen[Any]) -> bool:
    return process.poll() is not None


class Place:
    """A workspace with runs of the stand-in trainer."""

    def __init__(self, home: Path):
        self.home = home
        self.workspace = Workspace(home)
        self.runs = Runs(self.workspace)
        self.busy = home / "busy"

    def argv(self, *, steps: int = 30, seconds: float = 0.01, every: int = 10, mode: str = "plain") -> list[str]:
        options = {"--steps": steps, "--seconds": seconds, "--every": every, "--busy": self.busy, "--mode": mode}
        return [sys.executable, "-S", str(HERE / "job.py"), *(str(word) for pair in options.items() for word in pair)]

    def create(self, *, device: str | None = "cpu", **options: Any) -> Run:
        return self.runs.create("train", "a run", self.argv(**options), device=device)

    def start(self, **options: Any) -> Run:
        run = self.create(**options)
        self.runs.start(run)
        return run

    # --- waiting ---

    def hold(self, step: int) -> None:
        """Let jobs wait before `step` until `release`."""
        (self.home / f"hold-{step}").touch()

    def until_held(self, step: int) -> None:
        until(lambda: (self.home / f"hold-{step}").stat().st_mtime == 0, f"a job to come to step {step}")

    def release(self, step: int) -> None:
        (self.home / f"hold-{step}").unlink()

    def steps_done(self, run: Run) -> int:
        return run.log.read_bytes().count(b'{"event": "metrics"') if run.log.exists() else 0

    def until_training(self, run: Run, steps: int = 1) -> None:
        until(lambda: self.steps_done(run) >= steps, f"{steps} steps of {run.id}, which is {run.status()}")

    def until_state(self, run: Run, *states: str) -> RunStatus:
        until(lambda: run.status().state in states, f"{run.id} to be {states}; it is {run.status()}")
        return run.status()

    def until_ended(self, run: Run) -> RunStatus:
        until(lambda: run.status().ended, f"the end of {run.id}, which is {run.status()}")
        return run.status()

    # --- who is who ---

    def supervisor_pid(self, run: Run) -> int | None:
        """The supervisor of a run by its command line, which is there before any record."""
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if str(run.folder) in words and ("start" in words or "adopt" in words):
                return int(process.pid)
        return None

    def kill_supervisor(self, run: Run) -> bool:
        """Kill it in whatever stage it is, its starter too. False if there was none any more."""
        killed = False
        while pid := self.supervisor_pid(run):
            killed = kill(pid) or killed
            until(lambda pid=pid: processes.start_time(pid) is None, "a killed process to be gone")
        return killed

    # --- recovering ---

    def recover(self, run: Run, attempts: int = 6) -> list[RunStatus]:
        """Do what a face does until the run is done. Returns how each attempt ended."""
        verdicts: list[RunStatus] = []
        while len(verdicts) < attempts:
            status = run.status()
            if status.state == "orphan":
                self.runs.adopt(run)
            elif status.state == "new":
                self.runs.start(run)
            elif status.ended:
                verdicts.append(status)
                if status.state == "done":
                    return verdicts
                self.runs.start(run)
            else:
                until(lambda: run.status().ended or run.status().state == "orphan", f"{run.id} to end: {run.status()}")
        raise AssertionError(f"{run.id} is not done after {attempts} attempts: {verdicts}")

    # --- the invariants ---

    def check(self, run: Run, steps: int = 30) -> None:
        """What must hold once a run is done, whatever happened on the way."""
        status = run.status()
        assert status.state == "done", status
        assert not self.runs.leftovers(run), "a stray process carries the run's mark"
        lock = run.spec["device_lock"]
        assert lock is None or not statefiles.is_locked(lock), "the device's lock is still held"
        assert not self.busy.with_name("two-trainers").exists(), "two trainers at the same time"
        for file in run.folder.rglob("*.json"):
            statefiles.load_json(file)
        check_log(run, steps)


def attempts_in(run: Run) -> dict[int, list[tuple[int, float]]]:
    """(step, loss) of each attempt, in the order of the log."""
    found: dict[int, list[tuple[int, float]]] = {}
    attempt = 0
    for event in LogFile(run.log).poll_all():
        if event["event"] == "attempt":
            attempt = event["attempt"]
        elif event["event"] == "metrics":
            found.setdefault(attempt, []).append((event["step"], event["loss"]))
    return found


def expected_losses(steps: int) -> dict[int, float]:
    losses, state = {}, 0
    for step in range(1, steps + 1):
        state = job.next_state(state, step)
        losses[step] = job.loss_of(state)
    return losses


def check_log(run: Run, steps: int) -> None:
    """No line and no metric is lost or torn, and each resume went on from a checkpoint to the very same losses."""
    metrics = attempts_in(run)
    expected = expected_losses(steps)
    lines = run.log.read_bytes().decode().splitlines()
    printed = [line.split() for line in lines if line.startswith("L ")]
    for attempt, points in metrics.items():
        numbers = [step for step, _ in points]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), f"attempt {attempt} is not contiguous: {numbers}"
        assert all(loss == expected[step] for step, loss in points), f"attempt {attempt} computed something else"
        told = [int(words[2]) for words in printed if int(words[1]) == attempt]
        # A job that is killed may have printed a step whose event it did not come to.
        assert told[: len(numbers)] == numbers and len(told) <= len(numbers) + 1, f"attempt {attempt} lost lines"
    assert {step for points in metrics.values() for step, _ in points} == set(expected), "steps are missing"
    assert lines.count(f"END {run.status().attempt}") == 1, "done, but the job did not say so"


def has_ended_by_itself(run: Run, attempt: int) -> bool:
    return f"END {attempt}\n".encode() in run.log.read_bytes()
