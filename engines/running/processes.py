"""Who a process is, beyond its number: start time, boot, and the mark of its run.

Standard library only (the supervisor uses it). Linux reads /proc; macOS asks `ps` and `sysctl`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

LINUX = sys.platform.startswith("linux")
RUN_MARK = "FTUI_RUN"


def _ask(*argv: str) -> str:
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC0"}  # the answer must not depend on either
    return subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=5, env=environment).stdout


def boot_id() -> str:
    """A name for this boot of the machine: pids recorded under another one mean nothing."""
    if LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return _ask("sysctl", "-n", "kern.bootsessionuuid").strip()  # kern.boottime moves when the clock is set


def start_time(pid: int) -> str | None:
    """When the process started, as the kernel counts it; None if it is gone or a zombie.

    Unlike a wall-clock time this does not move when the clock is set.
    """
    if not LINUX:
        fields = _ask("ps", "-o", "stat=,lstart=", "-p", str(pid)).split(maxsplit=1)
        return fields[1].strip() if len(fields) == 2 and "Z" not in fields[0] else None
    fields = _stat(pid)
    return None if not fields or fields[0] == "Z" else fields[19]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold anything; empty if the process is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return []
    return stat[stat.rindex(b")") + 2 :].decode().split()


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def marked(mark: str, skip: Collection[int] = ()) -> list[int]:
    """Live processes whose environment carries `FTUI_RUN=mark`.

    The environment survives setsid, double forks and re-parenting, so this finds
    data-loader workers and escaped daemons of a run.
    """
    if LINUX:
        return [pid for pid in _all_pids() if pid not in skip and _carries(pid, mark)]
    rows = (row.split(maxsplit=1) for row in _ask("ps", "-axEww", "-o", "pid=,command=").splitlines())
    found = [int(row[0]) for row in rows if len(row) == 2 and f"{RUN_MARK}={mark}" in row[1].split()]
    return [pid for pid in found if pid not in skip]


def _carries(pid: int, mark: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{RUN_MARK}={mark}".encode() in environment.split(b"\0") and start_time(pid) is not None


def open_handle(pid: int) -> int | None:
    """A descriptor that pins the process and is readable once it has ended; None where there is none to be had."""
    if not LINUX:
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # gone, or a kernel before 5.3
        return None


def signal_marked(mark: str, signal_number: int, skip: Collection[int] = ()) -> int:
    """Send a signal to every process of a run; returns how many got it."""
    sent = 0
    for pid in marked(mark, skip):
        handle = open_handle(pid)
        try:
            if handle is None:
                os.kill(pid, signal_number)
            elif _carries(pid, mark):  # looked at again now that it is pinned
                signal.pidfd_send_signal(handle, signal_number)
            else:
                continue
            sent += 1
        except (ProcessLookupError, PermissionError):
            pass
        finally:
            if handle is not None:
                os.close(handle)
    return sent


def become_subreaper() -> None:
    """From now on orphans among our descendants become our children (Linux only)."""
    if LINUX:
        import ctypes

        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def children() -> list[int]:
    """Our own children that live, as far as they can be listed (Linux only)."""
    if not LINUX:
        return []
    myself = str(os.getpid())
    stats = {pid: _stat(pid) for pid in _all_pids()}
    return [pid for pid, fields in stats.items() if fields and fields[1] == myself and fields[0] != "Z"]


def out_of_memory_kills() -> int:
    """How many processes the kernel's out-of-memory killer has ended since boot (0 if unknown)."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    except OSError:
        pass
    return 0
