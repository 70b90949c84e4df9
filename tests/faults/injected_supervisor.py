"""The real supervisor, whose k-th call to the system kills it or fails.

python -S injected_supervisor.py FAULT WHO K NOTE  start|adopt RUN_DIR READY_FD ATTEMPT

FAULT: kill, EIO, ENOSPC. WHO: supervisor, or child (the forked job before its exec).
NOTE is a file that gets the name of the call that was hit.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engines.running.launch import leave_terminal
from engines.running.supervisor import supervise

CALLS: list[tuple[Any, str]] = [
    *(
        (os, name)
        for name in [
            "open",
            "write",
            "read",
            "pread",
            "fsync",
            "rename",
            "unlink",
            "fork",
            "pipe",
            "close",
            "dup2",
            "waitpid",
            "stat",
        ]
    ),
    *(
        (os, name)
        for name in ["fstat", "listdir", "scandir", "setsid", "chdir", "pidfd_open", "killpg", "kill", "execvpe"]
    ),
    (builtins, "open"),
    (io, "open"),
    (select, "select"),
    (fcntl, "flock"),
]
NEED_SPACE = ("open", "write", "fsync", "rename")  # what can fail on a full disk


class Injector:
    """Counts the calls of one process and spoils the k-th."""

    def __init__(self, fault: str, who: str, k: int, note: str):
        self.fault, self.who, self.k, self.note = fault, who, k, note
        self.supervisor = os.getpid()
        self.count = 0
        self.write_note = Path(note).write_text

    def wrap(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not self._is_hit(name, args):
                return call(*args, **kwargs)
            if name == "close":  # the descriptor is gone, whatever close says
                call(*args, **kwargs)
            raise OSError(getattr(errno, self.fault), "injected")

        return wrapped

    def _is_hit(self, name: str, args: tuple[Any, ...]) -> bool:
        if (os.getpid() == self.supervisor) != (self.who == "supervisor"):
            return False
        if args and str(args[0]).startswith("/proc"):  # not a disk, and there are hundreds
            return False
        if self.fault == "ENOSPC" and name not in NEED_SPACE:
            return False
        self.count += 1
        if self.count != self.k:
            return False
        self.write_note(name)
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return True


def main() -> None:
    fault, who, k, note, mode, run, ready_fd, attempt = sys.argv[1:]
    os.set_inheritable(int(ready_fd), False)
    leave_terminal(Path(run))
    injector = Injector(fault, who, int(k), note)
    Path(note).touch()
    for module, name in CALLS:
        setattr(module, name, injector.wrap(getattr(module, name), name))
    supervise(mode, Path(run), int(ready_fd), int(attempt))


if __name__ == "__main__":
    main()
