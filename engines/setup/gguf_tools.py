"""llama.cpp's converters to GGUF: kept in the workspace, taken from the source archive of llama-cpp-python (MIT).

    python -m engines.setup.gguf_tools FOLDER

The archive carries the whole tree of llama.cpp, so neither git nor a compiler is needed. 77 MB are fetched by pip and
2 MB are kept. The converters run in the training environment, which has what they import.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, write_result
from engines.running.runs import Run, Runs
from engines.workspace import Workspace

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
COST = "fetches 77 MB, keeps 2 MB, takes about a minute"
KEPT = ("LICENSE", "convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion", "gguf-py")


def folder(workspace: Workspace) -> Path:
    return workspace.home / "environments" / f"export-gguf-{VERSION}"


def require(workspace: Workspace) -> Path:
    """The folder with the converters. Raises UserError if they are not there."""
    place = folder(workspace)
    if not place.is_dir():
        raise UserError("not_ready", "the converters to GGUF are not here", f"Run `ftui setup export-gguf` ({COST}).")
    return place


def make(workspace: Workspace) -> Run | None:
    """Start fetching the converters; None if they are there."""
    place = folder(workspace)
    if place.is_dir():
        return None
    runs = Runs(workspace)
    run = runs.create("setup", "export-gguf", [sys.executable, "-m", "engines.setup.gguf_tools", str(place)])
    runs.start(run)
    return run


def unpack(archive: Path, place: Path) -> None:
    """What is needed of the archive, whole or not at all."""
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    statefiles.make_private_dir(partial)
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                parts = PurePosixPath(member.name).parts
                if parts[1:3] == ("vendor", "llama.cpp") and len(parts) > 3 and parts[3] in KEPT and member.isfile():
                    member.name = str(PurePosixPath(*parts[3:]))
                    packed.extract(member, partial, filter="data")
        missing = [name for name in KEPT if not (partial / name).exists()]
        if missing:
            raise UserError("failed", f"{archive.name} has no {missing[0]}", "Tell the authors of ftui.")
        os.rename(partial, place)
        statefiles.sync_dir(place.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main() -> None:
    place = Path(sys.argv[1]).absolute()
    statefiles.make_private_dir(place.parent)
    emit("phase", name="fetch", text=f"fetching the source of {PACKAGE} {VERSION}: {COST}")
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--progress-bar", "off"]
        command += ["--no-deps", "--no-binary", PACKAGE, f"{PACKAGE}=={VERSION}", "--dest", temporary]
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
            raise UserError("not_ready", f"pip could not fetch {PACKAGE}", "Read the log; then run the setup again.")
        emit("phase", name="unpack", text=f"unpacking into {place}")
        unpack(next(Path(temporary).glob("*.tar.gz")), place)
    write_result("done", folder=str(place))


if __name__ == "__main__":
    run_script(main)
