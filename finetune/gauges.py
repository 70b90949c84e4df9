"""What a training uses of the machine: memory, computing time, heat. Reads; never waits."""

from __future__ import annotations

import os
import resource
import sys
import time
from typing import Any

RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


def reset_peak() -> None:
    """Let `peak_rss` count from now on, where the system can; loading reads files that count as memory for a while."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


def peak_rss() -> int:
    """The most main memory that this process has held since `reset_peak`, or ever, in bytes."""
    found = _status("VmHWM")
    return found or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def rss() -> int:
    """Main memory that this process holds now, in bytes; the peak where the system does not say."""
    return _status("VmRSS") or peak_rss()


def _status(name: str) -> int:
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            line = next(line for line in file if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024


def peak_memory(device: str) -> int:
    """The most memory of the device that this process has held, in bytes."""
    if not device.startswith("cuda"):
        return peak_rss()
    import torch

    return int(torch.cuda.max_memory_reserved())


class Gauges:
    """Readings since the last reading."""

    def __init__(self, device: str):
        self.device = device
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def read(self) -> dict[str, Any]:
        """memory in bytes, utilization from 0 to 1, temperature in °C where the driver's library (NVML) tells it."""
        if self.device.startswith("cuda"):
            return self._gpu()
        wall, cpu = time.monotonic(), time.process_time()
        passed, used = wall - self._wall, cpu - self._cpu
        self._wall, self._cpu = wall, cpu
        share = min(1.0, used / (passed * self._cores)) if passed > 0 else None
        return {"memory": rss(), **({} if share is None else {"utilization": round(share, 3)})}

    def _gpu(self) -> dict[str, Any]:
        import torch

        readings: dict[str, Any] = {"memory": torch.cuda.max_memory_reserved(self.device)}
        for name, ask, scale in (
            ("utilization", torch.cuda.utilization, 100),
            ("temperature", torch.cuda.temperature, 1),
        ):
            try:
                readings[name] = ask(self.device) / scale
            except Exception:  # no NVML, or a card that does not tell
                pass
        return readings
