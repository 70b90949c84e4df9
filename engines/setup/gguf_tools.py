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
TITLE = "converters to GGUF"
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


def pip(*arguments: str) -> None:
    """Raises UserError where pip cannot do it."""
    command = [sys.executable, "-m", "pip", arguments[0], "--disable-pip-version-check", "--progress-bar", "off"]
    if subprocess.run([*command, *arguments[1:]], stdin=subprocess.DEVNULL, check=False).returncode:
        raise UserError(
            "not_ready", f"pip could not {arguments[0]} {arguments[-1]}", "Read the log; then run it again."
        )


def fetch(where: Path) -> Path:
    """The source archive, downloaded into the folder `where`. Raises UserError."""
    pip("download", "--no-deps", "--no-binary", PACKAGE, "--dest", str(where), f"{PACKAGE}=={VERSION}")
    return next(where.glob("*.tar.gz"))


def unpack(archive: Path, place: Path, kept: tuple[str, ...] | None = KEPT) -> None:
    """What is needed of llama.cpp's tree in the archive, whole or not at all. kept: None for all of it."""
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    statefiles.make_private_dir(partial)
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                parts = PurePosixPath(member.name).parts
                wanted = len(parts) > 3 and (kept is None or parts[3] in kept)
                if parts[1:3] == ("vendor", "llama.cpp") and wanted and member.isfile():
                    member.name = str(PurePosixPath(*parts[3:]))
                    packed.extract(member, partial, filter="data")
        missing = [name for name in kept or () if not (partial / name).exists()]
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
        archive = fetch(Path(temporary))
        emit("phase", name="unpack", text=f"unpacking into {place}")
        unpack(archive, place)
    write_result("done", folder=str(place))


if __name__ == "__main__":
    run_script(main)
