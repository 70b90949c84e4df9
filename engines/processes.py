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
    return subprocess.run(argv, capture_output=True, text=True, timeout=5).stdout


def boot_id() -> str:
    """A name for this boot of the machine: pids recorded under another one mean nothing."""
    if LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return _ask("sysctl", "-n", "kern.boottime").strip()


def start_time(pid: int) -> str | None:
    """When the process started, as the kernel counts it; None if it is gone or a zombie.

    Unlike a wall-clock time this does not move when the clock is set.
    """
    if not LINUX:
        fields = _ask("ps", "-o", "stat=,lstart=", "-p", str(pid)).split(maxsplit=1)
        return fields[1].strip() if len(fields) == 2 and "Z" not in fields[0] else None
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] == b"Z" else fields[19].decode()


def marked(mark: str, skip: Collection[int] = ()) -> list[int]:
    """Live processes whose environment carries `FTUI_RUN=mark`.

    The environment survives setsid, double forks and re-parenting, so this finds
    data-loader workers and escaped daemons of a run.
    """
    wanted = f"{RUN_MARK}={mark}"
    if not LINUX:
        rows = (row.split(maxsplit=1) for row in _ask("ps", "-axEww", "-o", "pid=,command=").splitlines())
        found = [int(row[0]) for row in rows if len(row) == 2 and wanted in row[1].split()]
        return [pid for pid in found if pid not in skip]
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in skip:
            continue
        try:
            environment = Path(f"/proc/{entry}/environ").read_bytes()
        except OSError:
            continue
        if wanted.encode() in environment.split(b"\0") and start_time(int(entry)) is not None:
            found.append(int(entry))
    return found


def signal_marked(mark: str, signal_number: int, skip: Collection[int] = ()) -> int:
    """Send a signal to every process of a run; returns how many got it."""
    sent = 0
    for pid in marked(mark, skip):
        try:
            if not LINUX:
                os.kill(pid, signal_number)
                sent += 1
                continue
            handle = os.pidfd_open(pid)  # pin the process, look again, then signal
            try:
                if pid in marked(mark, skip):
                    signal.pidfd_send_signal(handle, signal_number)
                    sent += 1
            finally:
                os.close(handle)
        except (ProcessLookupError, PermissionError):
            pass
    return sent


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
