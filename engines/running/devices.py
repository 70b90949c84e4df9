"""What this machine can train on: GPUs as the NVIDIA driver reports them, memory, disk, cores. No torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from engines.contract.errors import UserError


@dataclass(frozen=True)
class Gpu:
    index: int
    name: str
    total_bytes: int
    free_bytes: int


def gpus() -> list[Gpu]:
    """The GPUs that nvidia-smi lists; none where it is not installed or fails."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=index,name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    found = []
    for line in output.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4 and parts[0].isdigit() and parts[2].isdigit() and parts[3].isdigit():
            found.append(Gpu(int(parts[0]), parts[1], int(parts[2]) << 20, int(parts[3]) << 20))
    return found


@lru_cache(maxsize=1)
def gpu_count() -> int:
    return len(gpus())


def resolve(wanted: str) -> str:
    """`auto`, `cpu`, `cuda`, `cuda:N` to the device that a run locks. Raises UserError if it is not there."""
    if wanted == "auto":
        return "cuda:0" if gpu_count() else "cpu"
    if wanted == "cpu":
        return "cpu"
    index = int(wanted.partition(":")[2] or 0)
    if index >= gpu_count():
        raise UserError(
            "not_ready",
            f"the device {wanted} was asked for, but this machine shows {gpu_count()} GPUs",
            "Set device to auto or cpu, or see what `ftui doctor` says about the driver.",
        )
    return f"cuda:{index}"


def free_memory() -> int:
    """Bytes of main memory that can be had without swapping (0 if the system does not say)."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def free_bytes(device: str) -> int:
    """Bytes of the device's own memory that can be had now; main memory for `cpu`."""
    if not device.startswith("cuda"):
        return free_memory()
    index = int(device.partition(":")[2] or 0)
    return next((gpu.free_bytes for gpu in gpus() if gpu.index == index), 0)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_disk(folder: Path) -> int:
    return shutil.disk_usage(folder).free
