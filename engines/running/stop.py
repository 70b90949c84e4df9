"""Ending a run: its job is asked, then gets SIGTERM, then everything that carries the run's mark is killed.

A stop is asked for by a file, RUN_DIR/stop.json, with the seconds of grace in which the job may save and
end by itself; or by a shutdown of the machine. Standard library only, see supervisor.py.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from engines.contract import statefiles
from engines.running import processes

DEFAULT_GRACE_SECONDS = 60.0
TERM_SECONDS = 5.0
SWEEP_SECONDS = 10.0


class Stop:
    """How far it has come.

    mark: what all processes of the run carry. reserve: a file whose room a note may take on a full disk.
    """

    def __init__(self, run: Path, mark: str, reserve: Path):
        self.run = run
        self.mark = mark
        self.reserve = reserve
        self.stage: str | None = None  # asked, terminated, killed
        self.since = 0.0  # of `stage`, monotonic: the wall clock may be set at any time
        self.shut_down = False  # SIGTERM came

    def go_on(self, stage: str | None) -> None:
        """From where an earlier supervisor was."""
        self.stage, self.since = stage, time.monotonic()

    def requested(self) -> float | None:
        """Seconds of grace if a stop is wanted, else None."""
        path = self.run / "stop.json"
        if self.shut_down:
            try:
                statefiles.write_json(path, {"grace_seconds": DEFAULT_GRACE_SECONDS}, self.reserve)
            except OSError:
                return 0.0  # the job cannot be asked
            self.shut_down = False
        if not path.exists():
            return None
        grace = statefiles.read_object(path).get("grace_seconds")  # the file may be empty: see Runs.request_stop
        return float(grace) if isinstance(grace, int | float) else DEFAULT_GRACE_SECONDS

    def advance(self, pid: int) -> bool:
        """Do what is due to the job `pid`. True if that was the next stage."""
        grace = self.requested()
        passed = time.monotonic() - self.since
        if grace is None:
            return False
        if self.stage is None:
            self.stage = "asked"
        elif self.stage == "asked" and passed >= grace:
            self.stage = "terminated"
            _signal_group(pid, signal.SIGTERM)
        elif self.stage != "asked" and passed >= TERM_SECONDS:
            self.stage = "killed"
            self._signal_members(signal.SIGKILL)
        else:
            return False
        self.since = time.monotonic()
        return True

    def sweep(self, sleep: Callable[[], object]) -> int:
        """End whatever of the run outlived its job. Returns how many there were."""
        left = len(self._members())
        if left:
            self._signal_members(signal.SIGTERM)
        deadline = time.monotonic() + SWEEP_SECONDS
        while self._members() and time.monotonic() < deadline:
            sleep()
            self._signal_members(signal.SIGKILL)
        return left

    def _members(self) -> set[int]:
        """What carries the run's mark, and our children: the job and, as we are its subreaper, its orphans.

        Two looks: a process may fork and end during one, and in the middle of an exec it has no environment.
        """
        myself = (os.getpid(),)
        return {*processes.marked(self.mark, myself), *processes.children(), *processes.marked(self.mark, myself)}

    def _signal_members(self, number: int) -> None:
        processes.signal_marked(self.mark, number, (os.getpid(),))
        for pid in processes.children():  # not reaped yet, so the number is theirs
            try:
                os.kill(pid, number)
            except PermissionError:
                pass


def _signal_group(pid: int, number: int) -> None:
    """Signal the job's session; its number is safe: the job leads it and is not reaped yet."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
