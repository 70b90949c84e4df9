"""Why a job ended badly, in one line, from its log and its exit code. Standard library only."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from engines.contract import events
from engines.running import processes

TAIL_BYTES = 128 * 1024
SHELL_SIGNAL = 128  # a shell or a launcher says 128 + N when its program was ended by signal N
LESS_MEMORY = "Lower the batch size or the max length, or turn on gradient checkpointing, then resume."
_TRACEBACK = "Traceback (most recent call last):"
_RANK = re.compile(r"^\[[\w.:/-]{1,40}\]:? ?")  # launchers of several processes put `[rank0]: ` before each line
_RAISED = re.compile(r"[A-Za-z_][\w.]*(: .*)?")  # how a traceback ends, whatever the exception is called
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Failure)(: .*)?")
_OUT_OF_MEMORY = ("CUDA out of memory", "OutOfMemoryError", "MemoryError", "DefaultCPUAllocator: can't allocate")
_WORKER_KILLED = "killed by signal: Killed"  # a data loader's words


def of_failure(log: Path, offset: int, exit_code: int | None, oom_kills_before: int) -> dict[str, str]:
    """`{"cause": …, "next_step": …}` of a job that failed; empty if nothing is known.

    log: the run's log, of which the part from `offset` belongs to this attempt;
    exit_code: as Popen gives it, None if unknown; oom_kills_before: the kernel's count
    of out-of-memory kills when the attempt began.
    """
    lines = _last_lines(log, offset)
    spoken = _last_error_event(lines)
    if spoken:
        return spoken
    exception = _last_exception(lines) if exit_code is None or exit_code > 0 else ""
    if exit_code is None and exception and not _is_at_the_end(exception, lines):
        return {}  # it may have been survived; nobody saw the exit code
    killed = exit_code in (-signal.SIGKILL, SHELL_SIGNAL + signal.SIGKILL) or _WORKER_KILLED in exception
    if killed and processes.out_of_memory_kills() > oom_kills_before:
        return {"cause": "killed by the kernel's out-of-memory killer", "next_step": LESS_MEMORY}
    if exception:
        return _of_exception(exception, log)
    if exit_code is None:
        return {}
    if exit_code < 0:
        return {"cause": f"ended by {_signal_name(-exit_code)}", "next_step": "Resume it."}
    said = next((line for line in reversed(lines) if line), "")
    words = f": {said[:200]}" if said and not said.startswith('{"event"') else ""
    return {"cause": f"ended with exit code {exit_code}{words}", "next_step": f"Read {log}."}


def _of_exception(exception: str, log: Path) -> dict[str, str]:
    if any(sign in exception for sign in _OUT_OF_MEMORY):
        return {"cause": f"out of memory: {exception}", "next_step": LESS_MEMORY}
    if "No space left on device" in exception or "Disk quota exceeded" in exception:
        return {"cause": "the disk is full", "next_step": "Free some space, then resume."}
    return {"cause": exception, "next_step": f"The whole story is in {log}."}


def _last_lines(log: Path, offset: int) -> list[str]:
    """The attempt's last lines, each without a launcher's prefix and trailing space."""
    try:
        with open(log, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(offset, end - TAIL_BYTES))
            data = file.read(TAIL_BYTES)
    except OSError:
        return []
    return [_RANK.sub("", line.decode("utf-8", "replace").rstrip(), count=1) for line in data.splitlines()]


def _last_error_event(lines: list[str]) -> dict[str, str] | None:
    for line in reversed(lines):
        event = events.parse(line.encode()) if line.startswith('{"event"') else None
        if event and event["event"] == "error":
            return {"cause": str(event.get("cause", "")), "next_step": str(event.get("next_step", ""))}
    return None


def _last_exception(lines: list[str]) -> str:
    """What the last traceback ends with, e.g. `ValueError: bad row 7`; or else a line that looks so."""
    begins = [number for number, line in enumerate(lines) if line == _TRACEBACK]
    story = lines[begins[-1] + 1 :] if begins else []
    found = next((line for line in story if _RAISED.fullmatch(line)), None)
    if found is None:
        found = next((line for line in reversed(lines) if _EXCEPTION.fullmatch(line)), "")
    return found[:300]


def _is_at_the_end(exception: str, lines: list[str]) -> bool:
    said = [line for line in lines if line]
    return bool(said) and said[-1].startswith(exception)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
