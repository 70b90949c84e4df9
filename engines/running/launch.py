"""Starting a supervisor, and how it leaves the terminal that it was started from.

Standard library only (the supervisor uses it).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from engines.contract import statefiles


def launch(run: Path, mode: str, expected_attempt: int = 0) -> str:
    """Start a supervisor for `run` and return its first word.

    start: running, queued, failed; started or supervised if another one was faster.
    adopt: adopted, queued, running; over if there was nothing to adopt.
    unsaved: the disk is so full that the verdict waits. "": it died before it could say
    anything. The caller may die at any moment.
    """
    reader, writer = os.pipe()
    home = Path(__file__).resolve().parents[2]
    program = [sys.executable, "-S", "-m", "engines.running.supervisor"]
    argv = [*program, mode, str(run), str(writer), str(expected_attempt)]
    with os.fdopen(reader) as answer:
        try:
            starter = subprocess.Popen(
                argv,
                cwd=home,
                pass_fds=(writer,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(writer)
        starter.wait()
        return answer.readline().strip()


def leave_terminal(run: Path) -> None:
    """Leave the caller's session, terminal, signal mask and descriptors, by a double fork and setsid."""
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    nothing = trouble = os.open(os.devnull, os.O_RDWR)
    try:
        trouble = os.open(run / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, statefiles.PRIVATE_FILE)
    except OSError:  # no room for a word about our trouble
        pass
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(trouble, 2)
