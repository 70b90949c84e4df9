"""From a fork to a running job, through a gate that opens when the job is recorded.

Standard library only (the supervisor uses it).
"""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

from engines.contract import statefiles
from engines.contract.events import Emitter
from engines.running import processes

CANNOT_START = 127


class StartingJob:
    """A forked child that waits: it becomes the job after `let_go`, and ends if we die before."""

    def __init__(self, run: Path, spec: dict[str, Any], attempt: int, device: int | None):
        gate_reader, self._gate = os.pipe()  # all close on exec
        self._failure, failure_writer = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(gate_reader)
            os.close(failure_writer)
            return
        try:
            os.close(self._gate)
            os.close(self._failure)
            os.setsid()
            if os.read(gate_reader, 2) == b"go":
                _become_job(run, spec, attempt, device)
        except BaseException as error:
            os.write(failure_writer, _describe(error).encode("utf-8", "replace")[:500])
        finally:
            os._exit(CANNOT_START)

    def let_go(self) -> str:
        """Open the gate. Returns why the job could not start, or nothing."""
        os.write(self._gate, b"go")
        os.close(self._gate)
        reason = os.read(self._failure, 500).decode("utf-8", "replace")  # ends at exec, which closes the pipe
        os.close(self._failure)
        if reason:
            os.waitpid(self.pid, 0)
        return reason

    def drop(self) -> None:
        """Let the child end without ever becoming the job."""
        os.close(self._gate)
        os.close(self._failure)
        os.waitpid(self.pid, 0)


def _become_job(run: Path, spec: dict[str, Any], attempt: int, device: int | None) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    log = os.open(run / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, statefiles.PRIVATE_FILE)
    header = Emitter(log)
    header.emit("attempt", attempt=attempt)
    if header.waiting:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if device is not None:
        os.set_inheritable(device, True)  # the job holds the device as long as it lives
    environment = {
        **os.environ,
        **spec.get("env", {}),
        processes.RUN_MARK: spec["mark"],
        "FTUI_RUN_DIR": str(run),
        "FTUI_ATTEMPT": str(attempt),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    os.chdir(spec.get("cwd") or run)
    argv = spec["argv"]
    try:
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        raise OSError(error.errno, error.strerror, argv[0]) from None


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"
