"""Make a Python environment for one kind of job, with the pip that comes with Python.

    python -m engines.setup.setup_environment FOLDER KIND

torch is pinned and installed first: which build comes (CPU or CUDA) is a matter of the
package index that pip sees (PIP_INDEX_URL). Then comes the extra KIND of our own
distribution, and last what is installed without its dependencies (see `KINDS`).
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, write_result
from engines.setup.environments import KINDS, TORCH_PIN, requirements
from engines.setup.setup_vllm import install_vllm

LIGHT = ["pydantic", "msgspec", "platformdirs"]  # what our own packages need beside torch


def install(python: Path, title: str, *arguments: str) -> None:
    emit("phase", name="install", text=title)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *arguments]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
        raise UserError("not_ready", f"pip could not do this: {title}", "Read the log; then run the setup again.")


def make_environment(folder: Path) -> Path:
    """An environment with pip, also where the system's Python comes without ensurepip (Debian)."""
    python = folder / "bin" / "python"
    try:
        venv.create(folder, with_pip=True)
    except subprocess.CalledProcessError:
        venv.create(folder, with_pip=False)
        subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", "pip"], check=True)
    return python


def main() -> None:
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    emit("phase", name="environment", text=f"making {folder}")
    python = make_environment(folder)
    if kind == "vllm":
        install_vllm(python, install)
    else:
        install(python, "installing torch", TORCH_PIN)
        bare = KINDS[kind].bare
        install(python, f"installing the {KINDS[kind].title} packages", *LIGHT, *requirements(kind))
        if bare:
            install(python, f"installing {' '.join(bare)}", "--no-deps", *bare)
    write_result("done", python=str(python))


if __name__ == "__main__":
    run_script(main)
