"""Readings of a GPU, of which there is none here: NVML's library is a stand-in in C, all above it is real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = """
typedef struct { unsigned int gpu, memory; } rates;
int nvmlInitWithFlags(unsigned int flags) { return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **found) { *found = (void *)(index + 1L); return 0; }
int nvmlDeviceGetUtilizationRates(void *one, rates *found) { found->gpu = 80 + (long)one; return 0; }
int nvmlDeviceGetTemperature(void *one, int sensor, unsigned int *found) {
    *found = 60 + (long)one;
    return TEMPERATURE_ERROR;
}
"""
READ = "import json, sys; from finetune.gauges import Gauges; print(json.dumps(Gauges(sys.argv[1]).read()))"


def readings(folder: Path, device: str, *, error: int = 0) -> dict[str, float]:
    """What is read of `device` where the driver's library answers so."""
    (folder / "nvml.c").write_text(LIBRARY)
    library = folder / "libnvidia-ml.so.1"
    build = ["cc", "-shared", "-fPIC", f"-DTEMPERATURE_ERROR={error}", "-o", str(library), str(folder / "nvml.c")]
    subprocess.run(build, check=True, timeout=60)
    done = subprocess.run(
        [sys.executable, "-c", READ, device], capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
def test_how_busy_and_how_hot_a_gpu_is(tmp_path: Path) -> None:
    found = readings(tmp_path, "cuda:1")
    assert (found["utilization"], found["temperature"]) == (0.82, 62)
    assert readings(tmp_path, "cuda:0")["temperature"] == 61


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
def test_a_card_that_does_not_tell_its_temperature_tells_the_rest(tmp_path: Path) -> None:
    found = readings(tmp_path, "cuda:0", error=3)  # NVML_ERROR_NOT_SUPPORTED
    assert found["utilization"] == 0.81 and "temperature" not in found


def test_a_cpu_is_read_without_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ, "cpu"], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    found = json.loads(done.stdout)
    assert found["memory"] > 1 << 20 and 0 <= found["utilization"] <= 1 and "temperature" not in found
