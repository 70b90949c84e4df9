"""One small process per run that owns it: starts it, waits for it, stops it, gives the verdict.

    python -S -m engines.running.supervisor start|adopt RUN_DIR READY_FD ATTEMPT    (see launch.py)

Standard library only, about 10 MB.
What it guarantees, and how:

- The job's stdout and stderr go straight into RUN_DIR/log, so nobody's death can block or
  break it. The job waits at a gate until its pid is durable: no unrecorded job can run.
- "Alive" means that a flock is held. RUN_DIR/supervisor.lock is held by the supervisor.
  The device's lock is held by the job and by the supervisor: it outlives a supervisor
  that is killed, and a killed job's workers are ended before the next run may start.
- Only the holder of supervisor.lock writes RUN_DIR/status.json.
- A stop is a file, RUN_DIR/stop.json, and goes on until nothing of the run is left: see stop.py.
- If the supervisor dies the job goes on; `adopt` gives it a new supervisor, which learns
  the outcome from the job's own last word, RUN_DIR/result.json.

States in status.json: queued, running, then one of ENDED.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.running import causes, device_queue, processes
from engines.running.job_start import CANNOT_START, StartingJob
from engines.running.launch import leave_terminal
from engines.running.stop import Stop

ENDED = ("done", "stopped", "failed", "lost")
TICK_SECONDS = 0.25
RESERVE_BYTES = 256 * 1024  # given back when the disk is full, so that the verdict can be written


class Supervisor:
    """The life of one attempt of one run."""

    def __init__(self, run: Path, ready_fd: int):
        self.run = run
        self.reserve = run / "reserve"
        self.spec: dict[str, Any] = statefiles.load_json(run / "spec.json")
        self.status = _load_object(run / "status.json")
        for torn in run.glob("status.json.*.tmp"):  # of a supervisor that was killed while it wrote
            torn.unlink(missing_ok=True)
        self.ready_fd: int | None = ready_fd
        self.unsaved = False
        self.device: int | None = None  # the device's lock
        self.stop = Stop(run, self.spec["mark"], self.reserve)
        self.wakeup = self._catch_signals()

    # --- talking to the outside ---

    def tell(self, word: str) -> None:
        """Answer the face that launched us, once; it may be dead already."""
        if self.ready_fd is not None:
            _answer(self.ready_fd, word)
            self.ready_fd = None

    def save(self, **changes: Any) -> None:
        self.status.update(changes, supervisor=os.getpid())
        self.unsaved = True
        self.flush()

    def flush(self) -> None:
        """Write the status; if the disk will not take it, try again on every tick."""
        if not self.unsaved:
            return
        try:
            statefiles.write_json(self.run / "status.json", self.status, self.reserve)
            self.unsaved = False
        except OSError:
            if not self.run.is_dir():  # there is no run any more
                raise

    def hold_until_saved(self) -> None:
        if self.unsaved:
            self.tell("unsaved")
        while self.unsaved:
            self._sleep()
            self.flush()

    def _catch_signals(self) -> int:
        """A descriptor that becomes readable on SIGCHLD; SIGTERM (a shutdown) becomes a stop."""
        reader, writer = os.pipe()
        for fd in (reader, writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self.stop, "shut_down", True))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return reader

    def _sleep(self, descriptor: int | None = None) -> bool:
        """Wait one tick, less if something happened. True if `descriptor` is readable."""
        watched = [self.wakeup] if descriptor is None else [self.wakeup, descriptor]
        readable = select.select(watched, [], [], TICK_SECONDS)[0]
        if self.wakeup in readable:
            os.read(self.wakeup, 512)
        return descriptor in readable

    # --- starting ---

    def run_attempt(self) -> None:
        """From the queue to the verdict."""
        if self.take_device():
            pid = self.start()
            if pid is not None:
                self.tell("running")
                self.finish(self.wait_for_child(pid))
        self.hold_until_saved()

    def take_device(self) -> bool:
        """Get the device's lock, after waiting in the queue; False if a stop came first."""
        path = self.spec.get("device_lock")
        if path is None:
            return True
        resumed = self.status.get("state") == "queued"
        queued_at = self.status["queued_at"] if resumed else time.monotonic_ns()
        if not resumed:
            (self.run / device_queue.MOVED).unlink(missing_ok=True)  # an earlier wait's place
        place = device_queue.place_of(self.run, queued_at)
        if not device_queue.waiting_before(self.run, path, place):
            self.device = statefiles.lock(path)
        if self.device is not None:
            return True
        self.status = self._carried_over()
        self.save(state="queued", queued_at=queued_at, boot_id=processes.boot_id())
        self.tell("queued")
        if resumed:  # those behind it may have gone on without it
            self._announce_place(path)
        stamp = device_queue.stamp(path)
        ahead = device_queue.waiting_before(self.run, path, place)  # again, now that all who come see us
        while self.stop.requested() is None:
            if stamp != device_queue.stamp(path):
                stamp, place = device_queue.stamp(path), device_queue.place_of(self.run, queued_at)
                ahead = device_queue.waiting_before(self.run, path, place)
            ahead = [other for other in ahead if device_queue.still_waits(other, place)]
            if not ahead:
                self.device = statefiles.lock(path)
                if self.device is not None:
                    return True
            self._sleep()
            self.flush()
        self.save(state="stopped", ended_at=time.time(), cause="taken out of the queue")
        return False

    def _announce_place(self, device_lock: str) -> None:
        try:
            device_queue.changed(device_lock)
        except OSError:  # no room on the disk: it may be overtaken
            pass

    def start(self) -> int | None:
        """Start the job as a new attempt. Returns its pid, or None with the status saying why not."""
        self._make_reserve()
        (self.run / "result.json").unlink(missing_ok=True)  # an earlier attempt's word
        log = self.run / "log"
        self.status = {
            **(before := self._carried_over()),
            "attempt": before["attempt"] + 1,
            "log_offset": log.stat().st_size if log.exists() else 0,
            "oom_kills": processes.out_of_memory_kills(),
        }
        processes.become_subreaper()
        job = StartingJob(self.run, self.spec, self.status["attempt"], self.device)
        self.save(
            state="running",
            pid=job.pid,
            pid_started=processes.start_time(job.pid),
            boot_id=processes.boot_id(),
            started_at=time.time(),
        )
        if self.unsaved:  # not durable: then it must not run
            job.drop()
            raise OSError(errno.ENOSPC, "the start cannot be recorded", str(self.run))
        reason = job.let_go()
        if not reason:
            return job.pid
        cause, step = f"cannot start: {reason}", "Mend that, then start it again."
        self.save(state="failed", ended_at=time.time(), exit_code=CANNOT_START, cause=cause, next_step=step)
        self.tell("failed")
        return None

    def _carried_over(self) -> dict[str, Any]:
        """Of the status what goes on in another attempt: how many there were, and how long they took."""
        began, ended = self.status.get("started_at"), self.status.get("ended_at")
        last = max(0.0, ended - began) if began and ended else 0.0
        return {
            "attempt": self.status.get("attempt", 0),
            "earlier_seconds": self.status.get("earlier_seconds", 0.0) + last,
        }

    def _make_reserve(self) -> None:
        try:
            self.reserve.write_bytes(os.urandom(RESERVE_BYTES))  # zeros might be stored as nothing
        except OSError:
            pass

    # --- waiting ---

    def wait_for_child(self, pid: int) -> int:
        """Wait for our own job; returns its exit code as Popen gives it (-N: signal N)."""
        while True:
            self._sleep()
            ended, wait_status = -1, 0
            while ended not in (0, pid):  # also orphans of the job, which come to us
                ended, wait_status = os.waitpid(-1, os.WNOHANG)
            if ended == pid:
                return os.waitstatus_to_exitcode(wait_status)
            self._tick(pid)

    def wait_for_stranger(self, pid: int) -> None:
        """Wait for a job that an earlier supervisor started; its exit code is not to be had."""
        handle = processes.open_handle(pid)
        while processes.start_time(pid) == self.status.get("pid_started"):
            if self._sleep(handle):
                break
            self._tick(pid)

    def _tick(self, pid: int) -> None:
        if self.stop.advance(pid):
            self.save(stopping=self.stop.stage)
        self.flush()

    # --- the verdict ---

    def finish(self, exit_code: int | None) -> None:
        """Sweep what is left of the run, free the device, and write how the run ended."""
        swept = self.stop.sweep(self._sleep)
        if self.device is not None:
            os.close(self.device)
        state, why = self._verdict(exit_code)
        self.save(state=state, exit_code=exit_code, swept=swept, ended_at=time.time(), stopping=None, **why)
        self.hold_until_saved()
        self.reserve.unlink(missing_ok=True)

    def _verdict(self, exit_code: int | None) -> tuple[str, dict[str, str]]:
        """The state, and the cause with its next step where there is one."""
        result = _load_object(self.run / "result.json")
        spoken = result.get("state") if result.get("attempt") == self.status.get("attempt") else None
        if spoken in ("done", "stopped") and exit_code in (0, None):
            return spoken, {}
        if exit_code == 0:
            return ("stopped" if self.stop.stage else "done"), {}
        if self.stop.stage in ("terminated", "killed"):
            return "stopped", {"cause": "did not end by itself when asked to stop, so it was ended"}
        if self.stop.stage and exit_code == -signal.SIGTERM:  # the machine shuts down
            return "stopped", {"cause": "ended by SIGTERM while it was asked to stop"}
        oom_kills, offset = self.status.get("oom_kills", 0), self.status.get("log_offset", 0)
        why = causes.of_failure(self.run / "log", offset, exit_code, oom_kills)
        if why or exit_code is not None:
            return "failed", why
        same_boot = self.status.get("boot_id") == processes.boot_id()
        cause = "ended while nothing watched it" if same_boot else "the machine was restarted while it ran"
        return "lost", {"cause": cause, "next_step": "Resume it."}

    # --- taking over ---

    def adopt(self) -> None:
        """Go on with a run whose supervisor was killed; touch nothing if there is none."""
        same_boot = self.status.get("boot_id") == processes.boot_id()
        if self.status.get("state") == "queued" and same_boot:
            self.run_attempt()
        elif self.status.get("state") == "queued":
            cause = "the machine was restarted while it waited"
            self.save(state="lost", ended_at=time.time(), cause=cause, next_step="Start it again.")
        elif self.status.get("state") == "running":
            self.stop.go_on(self.status.get("stopping"))
            self.save(adopted=self.status.get("adopted", 0) + 1)
            pid = self.status["pid"]
            if same_boot and processes.start_time(pid) == self.status["pid_started"]:
                self.tell("adopted")
                self.wait_for_stranger(pid)
            if self.spec.get("device_lock"):  # nobody shall start before the sweep
                self.device = statefiles.lock(self.spec["device_lock"])
            self.finish(None)
        self.hold_until_saved()
        self.tell("over")


def _load_object(path: Path) -> dict[str, Any]:
    """`read_object` for whoever decides by it: a disk that fails is no missing file, so OSError is raised."""
    try:
        value = statefiles.load_json(path)
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _answer(ready_fd: int, word: str) -> None:
    try:
        os.write(ready_fd, word.encode() + b"\n")
    except OSError:
        pass
    os.close(ready_fd)


def supervise(mode: str, run: Path, ready_fd: int, expected_attempt: int) -> None:
    """Own `run` until it has ended, unless somebody else does already."""
    if statefiles.lock(run / "supervisor.lock", wait_seconds=1.0) is None:
        return _answer(ready_fd, "supervised")
    supervisor = Supervisor(run, ready_fd)
    if mode == "adopt":
        return supervisor.adopt()
    if supervisor.status.get("attempt", 0) != expected_attempt:
        return supervisor.tell("started")  # somebody else was faster
    if supervisor.status.get("state") in ("queued", "running"):
        return supervisor.adopt()
    # A stop is only asked for while a status says that the run is active, so this one is an earlier attempt's.
    (run / "stop.json").unlink(missing_ok=True)
    supervisor.run_attempt()


if __name__ == "__main__":
    _mode, _run, _ready_fd, _attempt = sys.argv[1:]
    os.set_inheritable(int(_ready_fd), False)  # the job must not hold the answer open
    leave_terminal(Path(_run))
    supervise(_mode, Path(_run), int(_ready_fd), int(_attempt))
