"""Why a job ended badly, in one line, from its log and its exit code. Standard library only."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from engines import events, processes

TAIL_BYTES = 128 * 1024
_EXCEPTION = re.compile(
    r"^(?P<type>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning|Failure))(?:: (?P<text>.*))?$"
)
_OUT_OF_MEMORY = ("CUDA out of memory", "OutOfMemoryError", "MemoryError", "DefaultCPUAllocator: can't allocate")
LESS_MEMORY = "Lower the batch size or the max length, or turn on gradient checkpointing, then resume."


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
    if exit_code == -signal.SIGKILL and processes.out_of_memory_kills() > oom_kills_before:
        return {"cause": "killed by the kernel's out-of-memory killer", "next_step": LESS_MEMORY}
    exception = _last_exception(lines) if exit_code is None or exit_code > 0 else None
    if exception:
        if any(sign in exception for sign in _OUT_OF_MEMORY):
            return {"cause": f"out of memory: {exception}", "next_step": LESS_MEMORY}
        if "No space left on device" in exception:
            return {"cause": "the disk is full", "next_step": "Free some space, then resume."}
        return {"cause": exception, "next_step": f"The whole story is in {log}."}
    if exit_code is None:
        return {}
    if exit_code < 0:
        return {"cause": f"ended by {_signal_name(-exit_code)}", "next_step": "Resume it."}
    said = next((line.decode("utf-8", "replace").strip() for line in reversed(lines) if line.strip()), "")
    said = "" if said.startswith("{") else f": {said[:200]}"
    return {"cause": f"ended with exit code {exit_code}{said}", "next_step": f"Read {log}."}


def _last_lines(log: Path, offset: int) -> list[bytes]:
    try:
        with open(log, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(offset, end - TAIL_BYTES))
            return file.read().splitlines()
    except OSError:
        return []


def _last_error_event(lines: list[bytes]) -> dict[str, str] | None:
    for line in reversed(lines):
        event = events.parse(line) if line.startswith(b'{"event"') else None
        if event and event["event"] == "error":
            return {"cause": str(event.get("cause", "")), "next_step": str(event.get("next_step", ""))}
    return None


def _last_exception(lines: list[bytes]) -> str | None:
    """The last line of the last traceback, e.g. `ValueError: bad row 7`."""
    for line in reversed(lines):
        text = line.decode("utf-8", "replace").strip()
        if _EXCEPTION.match(text):
            return text[:300]
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
