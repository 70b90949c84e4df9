"""One small process per run that owns it: starts it, waits for it, stops it, gives the verdict.

    python -S -m engines.supervisor start|adopt RUN_DIR READY_FD ATTEMPT    (see `launch`)

Standard library only, about 10 MB. It leaves the terminal by a double fork and setsid.
What it guarantees, and how:

- The job's stdout and stderr go straight into RUN_DIR/log, so nobody's death can block or
  break it. The job waits at a gate until its pid is durable: no unrecorded job can run.
- "Alive" means that a flock is held. RUN_DIR/supervisor.lock is held by the supervisor;
  the device's lock is inherited by the job and outlives a killed supervisor.
- Only the holder of supervisor.lock writes RUN_DIR/status.json.
- A stop is a file, RUN_DIR/stop.json: first the job is left to save and end by itself,
  then it gets SIGTERM, then everything that carries the run's mark is killed.
- If the supervisor dies the job goes on; `adopt` gives it a new supervisor, which learns
  the outcome from the job's own last word, RUN_DIR/result.json.

States in status.json: queued, running, then one of ENDED.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from engines import causes, processes, statefiles
from engines.events import Emitter

ENDED = ("done", "stopped", "failed", "lost")
TICK_SECONDS = 0.25
TERM_SECONDS = 5.0
DEFAULT_GRACE_SECONDS = 60.0
RESERVE_BYTES = 256 * 1024  # given back when the disk is full, so that the verdict can be written
CANNOT_START = 127


class Supervisor:
    """The life of one attempt of one run."""

    def __init__(self, run: Path, ready_fd: int):
        self.run = run
        self.spec: dict[str, Any] = statefiles.read_json(run / "spec.json")
        self.status: dict[str, Any] = statefiles.read_json(run / "status.json", {})
        self.ready_fd: int | None = ready_fd
        self.unsaved = False
        self.stopping: str | None = None  # asked, terminated, killed
        self.deadline = 0.0  # monotonic: the wall clock may be set at any time
        self.grace_from_signal = False
        self.wakeup = self._catch_signals()

    # --- talking to the outside ---

    def tell(self, verdict: str) -> None:
        """Answer the face that launched us, once; it may be dead already."""
        if self.ready_fd is None:
            return
        try:
            os.write(self.ready_fd, verdict.encode() + b"\n")
        except OSError:
            pass
        os.close(self.ready_fd)
        self.ready_fd = None

    def save(self, **changes: Any) -> None:
        self.status.update(changes, supervisor=os.getpid())
        self.unsaved = True
        self.flush()

    def flush(self) -> None:
        """Write the status; on a full disk give the reserve back and try again on every tick."""
        if not self.unsaved:
            return
        try:
            statefiles.write_json(self.run / "status.json", self.status)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            (self.run / "reserve").unlink(missing_ok=True)
            try:
                statefiles.write_json(self.run / "status.json", self.status)
            except OSError:
                return
        self.unsaved = False

    def _catch_signals(self) -> int:
        """A descriptor that becomes readable on SIGCHLD; SIGTERM (a shutdown) becomes a stop."""
        reader, writer = os.pipe()
        for fd in (reader, writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "grace_from_signal", True))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return reader

    def _sleep(self, *descriptors: int) -> bool:
        """Wait one tick, less if something happened. True if one of `descriptors` is readable."""
        readable = select.select([self.wakeup, *descriptors], [], [], TICK_SECONDS)[0]
        if self.wakeup in readable:
            os.read(self.wakeup, 512)
        return any(fd in readable for fd in descriptors)

    # --- starting ---

    def take_device(self) -> int | None:
        """The device's lock, after waiting in the queue; None if a stop came first."""
        path = self.spec["device_lock"]
        queued_at = self.status.get("queued_at") if self.status.get("state") == "queued" else None
        while True:
            fd = statefiles.lock(path)
            if fd is not None:
                if not self._others_first(path, queued_at):
                    return fd
                os.close(fd)
            if queued_at is None:
                queued_at = time.time_ns()
                self.save(state="queued", queued_at=queued_at, boot_id=processes.boot_id())
                self.tell("queued")
            if self._stop_request() is not None:
                self.save(state="stopped", ended_at=time.time(), cause="taken out of the queue")
                return None
            self._sleep()
            self.flush()

    def _others_first(self, device_lock: str, queued_at: int | None) -> bool:
        """Does a living run of this device wait for longer than we do?"""
        for other in self.run.parent.iterdir():
            status = statefiles.read_json(other / "status.json", {}) if other != self.run else {}
            if status.get("state") != "queued" or (queued_at and status.get("queued_at", 0) > queued_at):
                continue
            spec = statefiles.read_json(other / "spec.json", {})
            if spec.get("device_lock") == device_lock and statefiles.is_locked(other / "supervisor.lock"):
                return True
        return False

    def start(self) -> int | None:
        """Start the job as a new attempt. Returns its pid, or None with the status saying why not."""
        device: int | None = None
        if self.spec.get("device_lock"):
            device = self.take_device()
            if device is None:
                return None
        try:
            (self.run / "reserve").write_bytes(b"\0" * RESERVE_BYTES)
        except OSError:
            pass
        self.status = {
            "attempt": self.status.get("attempt", 0) + 1,
            "log_offset": _size(self.run / "log"),
            "oom_kills": processes.out_of_memory_kills(),
        }
        pid, gate, failure = self._fork_job(device)
        self.save(
            state="running",
            pid=pid,
            pid_started=processes.start_time(pid),
            boot_id=processes.boot_id(),
            started_at=time.time(),
        )
        if self.unsaved:  # not durable: then it must not run
            os.close(gate)
            os.waitpid(pid, 0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.write(gate, b"go")
        os.close(gate)
        reason = os.read(failure, 500).decode("utf-8", "replace")  # ends at exec, which closes the pipe
        os.close(failure)
        if device is not None:
            os.close(device)  # from here on only the job holds it
        if reason:
            os.waitpid(pid, 0)
            self.save(state="failed", ended_at=time.time(), exit_code=CANNOT_START, cause=f"cannot start: {reason}")
            self.tell("failed")
            return None
        return pid

    def _fork_job(self, device: int | None) -> tuple[int, int, int]:
        gate_reader, gate_writer = os.pipe()  # all close on exec
        failure_reader, failure_writer = os.pipe()
        _become_subreaper()
        pid = os.fork()
        if pid:
            os.close(gate_reader)
            os.close(failure_writer)
            return pid, gate_writer, failure_reader
        try:
            os.close(gate_writer)
            os.close(failure_reader)
            os.setsid()
            if os.read(gate_reader, 2) != b"go":
                os._exit(CANNOT_START)  # the supervisor died before it recorded us
            self._exec_job(device)
        except BaseException as error:
            os.write(failure_writer, str(error).encode()[:500])
        os._exit(CANNOT_START)

    def _exec_job(self, device: int | None) -> NoReturn:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        log = os.open(self.run / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, statefiles.PRIVATE_FILE)
        size = os.fstat(log).st_size
        header = Emitter(log)
        header.torn = size > 0 and os.pread(log, 1, size - 1) != b"\n"
        header.emit("attempt", attempt=self.status["attempt"])
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if device is not None:
            os.set_inheritable(device, True)
        environment = {
            **os.environ,
            **self.spec.get("env", {}),
            processes.RUN_MARK: self.spec["mark"],
            "FTUI_RUN_DIR": str(self.run),
            "FTUI_ATTEMPT": str(self.status["attempt"]),
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",
        }
        os.chdir(self.spec.get("cwd") or self.run)
        argv = self.spec["argv"]
        os.execvpe(argv[0], argv, environment)

    # --- waiting ---

    def wait_for_child(self, pid: int) -> int:
        """Wait for our own job; returns its exit code as Popen gives it (-N: signal N)."""
        while True:
            self._sleep()
            while True:  # also orphans of the job, which come to us
                try:
                    ended, wait_status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    ended = 0
                if ended == 0:
                    break
                if ended == pid:
                    return os.waitstatus_to_exitcode(wait_status)
            self._advance_stop(pid)
            self.flush()

    def wait_for_stranger(self, pid: int) -> None:
        """Wait for a job that an earlier supervisor started; its exit code is not to be had."""
        handle = os.pidfd_open(pid) if processes.LINUX else None
        while processes.start_time(pid) == self.status.get("pid_started"):
            if self._sleep(*([handle] if handle is not None else [])):
                return
            self._advance_stop(pid)
            self.flush()

    def _stop_request(self) -> float | None:
        """Seconds of grace if a stop is wanted, else None."""
        if self.grace_from_signal:
            try:
                statefiles.write_json(self.run / "stop.json", {"grace_seconds": DEFAULT_GRACE_SECONDS})
            except OSError:
                return 0.0
            self.grace_from_signal = False
        request = statefiles.read_json(self.run / "stop.json")
        return None if request is None else float(request.get("grace_seconds", DEFAULT_GRACE_SECONDS))

    def _advance_stop(self, pid: int) -> None:
        """Ask, then SIGTERM, then SIGKILL to all of the run."""
        now = time.monotonic()
        grace = self._stop_request()
        if grace is None:
            return
        if self.stopping is None:
            self.stopping, self.deadline = "asked", now + grace
        elif self.stopping == "asked" and now >= self.deadline:
            self.stopping, self.deadline = "terminated", now + TERM_SECONDS
            _signal_group(pid, signal.SIGTERM)
        elif self.stopping == "terminated" and now >= self.deadline:
            self.stopping, self.deadline = "killed", now + TERM_SECONDS
            processes.signal_marked(self.spec["mark"], signal.SIGKILL, (os.getpid(),))
            _signal_group(pid, signal.SIGKILL)
        else:
            return
        self.save(stopping=self.stopping)

    # --- the verdict ---

    def finish(self, exit_code: int | None) -> None:
        """Sweep what is left of the run and write how it ended."""
        swept = self._sweep()
        result = statefiles.read_json(self.run / "result.json", {})
        spoken = result.get("state") if result.get("attempt") == self.status.get("attempt") else None
        verdict: dict[str, Any] = {}
        if spoken in ("done", "stopped") and exit_code in (0, None):
            state = spoken
        elif exit_code == 0:
            state = "stopped" if self.stopping else "done"
        elif self.stopping in ("terminated", "killed"):
            state, verdict = "stopped", {"cause": "did not end by itself when asked to stop, so it was ended"}
        else:
            verdict = causes.of_failure(
                self.run / "log", self.status.get("log_offset", 0), exit_code, self.status.get("oom_kills", 0)
            )
            state = "failed" if verdict or exit_code is not None else "lost"
            if state == "lost":
                verdict = {"cause": "ended while nothing watched it", "next_step": "Resume it."}
        self.save(state=state, exit_code=exit_code, swept=swept, ended_at=time.time(), stopping=None, **verdict)
        while self.unsaved:  # disk full: hold on until the verdict is on disk
            self._sleep()
            self.flush()
        (self.run / "reserve").unlink(missing_ok=True)

    def _sweep(self) -> int:
        """End whatever of the run outlived its job. Returns how many there were."""
        myself = (os.getpid(),)
        left = processes.signal_marked(self.spec["mark"], signal.SIGTERM, myself)
        for _ in range(40):
            if not processes.marked(self.spec["mark"], myself):
                break
            self._sleep()
            processes.signal_marked(self.spec["mark"], signal.SIGKILL, myself)
        return left


def _signal_group(pid: int, number: int) -> None:
    """Signal the job's session; its number is safe: the job leads it and is not reaped yet."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _become_subreaper() -> None:
    """Orphans of the job become our children (Linux only; elsewhere the mark finds them)."""
    if processes.LINUX:
        import ctypes

        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def supervise(mode: str, run: Path, ready_fd: int, expected_attempt: int) -> None:
    """The whole life of a supervisor, already detached from the terminal."""
    if statefiles.lock(run / "supervisor.lock", wait_seconds=1.0) is None:
        os.write(ready_fd, b"supervised\n")
        return
    supervisor = Supervisor(run, ready_fd)
    status = supervisor.status
    if mode == "start":
        if status.get("attempt", 0) != expected_attempt:
            supervisor.tell("started")  # somebody else was faster
            return
        (run / "stop.json").unlink(missing_ok=True)
    elif status.get("state") in ENDED:
        supervisor.tell("over")
        return
    elif status.get("state") == "running":
        supervisor.save(adopted=status.get("adopted", 0) + 1)
        same_boot = status.get("boot_id") == processes.boot_id()
        if same_boot and processes.start_time(status["pid"]) == status["pid_started"]:
            supervisor.tell("adopted")
            supervisor.wait_for_stranger(status["pid"])
        supervisor.finish(None)
        supervisor.tell("over")
        return
    elif status.get("boot_id") != processes.boot_id():  # queued before a reboot
        supervisor.save(state="lost", cause="the machine was restarted while it waited", ended_at=time.time())
        supervisor.tell("over")
        return
    pid = supervisor.start()
    if pid is not None:
        supervisor.tell("running")
        supervisor.finish(supervisor.wait_for_child(pid))


def daemonize(run: Path) -> None:
    """Leave the caller's session, terminal, folder and descriptors."""
    os.umask(0o077)
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    trouble = os.open(run / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, statefiles.PRIVATE_FILE)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(trouble, 2)


def launch(run: Path, mode: str, expected_attempt: int = 0) -> str:
    """Start a supervisor for `run` and return its first word.

    start: running, queued, failed; started or supervised if another one was faster.
    adopt: adopted, queued, running; over if there was nothing to adopt.
    "" means that it died before it could say anything. The caller may die at any moment.
    """
    reader, writer = os.pipe()
    home = Path(__file__).resolve().parent.parent
    argv = [sys.executable, "-S", "-m", "engines.supervisor", mode, str(run), str(writer), str(expected_attempt)]
    with os.fdopen(reader) as answer:
        starter = subprocess.Popen(
            argv,
            cwd=home,
            pass_fds=(writer,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(writer)
        starter.wait()
        return answer.readline().strip()


if __name__ == "__main__":
    _mode, _run, _fd, _attempt = sys.argv[1:]
    os.set_inheritable(int(_fd), False)  # the job must not hold the answer open
    daemonize(Path(_run))
    supervise(_mode, Path(_run), int(_fd), int(_attempt))
