"""llama.cpp built for this machine: llama-server, llama-quantize, llama-perplexity and their libraries.

    python -m engines.setup.llama_cpp FOLDER CONVERTERS_FOLDER

The source is in the archive that the converters to GGUF come from too (see gguf_tools.py), so those are put in their
place where they are missing. A build that was stopped goes on where it was. With a GPU and CUDA's compiler it is
built for that, which takes much longer.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, write_result
from engines.running import devices
from engines.running.runs import Run, Runs
from engines.setup import gguf_tools
from engines.workspace import Workspace

PROGRAMS = ("llama-server", "llama-quantize", "llama-perplexity")
TITLE = "llama.cpp"
COST = "fetches 77 MB, needs 0.4 GB while it builds and keeps 19 MB; 15 minutes of one core, shared by all cores"
# No web page, no downloads, no tests. The processor's own instructions are used up to AVX2, so that the folder can be
# taken to another machine. The libraries lie beside the programs.
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release", "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON", "CMAKE_INSTALL_RPATH": "$ORIGIN",
    "BUILD_SHARED_LIBS": "ON", "GGML_NATIVE": "OFF", "LLAMA_OPENSSL": "OFF", "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF", "LLAMA_USE_PREBUILT_UI": "OFF", "LLAMA_BUILD_TESTS": "OFF", "LLAMA_BUILD_EXAMPLES": "OFF",
}  # fmt: skip
COMPILERS = ("c++", "g++", "clang++")
_NINJA = re.compile(r"\[(\d+)/(\d+)\]")


def folder(workspace: Workspace) -> Path:
    return workspace.home / "environments" / f"llama-{gguf_tools.VERSION}"


def require(workspace: Workspace) -> Path:
    """The folder with the programs. Raises UserError if they are not there."""
    place = folder(workspace)
    if not place.is_dir():
        raise UserError("not_ready", "llama.cpp is not built here", f"Run `ftui setup llama` ({COST}).")
    return place


def make(workspace: Workspace) -> Run | None:
    """Start building; None if it is there. Raises UserError where no compiler is."""
    place, converters = folder(workspace), gguf_tools.folder(workspace)
    if place.is_dir() and converters.is_dir():
        return None
    if not any(shutil.which(name) for name in [os.environ.get("CXX", ""), *COMPILERS] if name):
        raise UserError(
            "not_ready", "there is no C++ compiler on this machine", "Install one, on Debian: apt install g++."
        )
    runs = Runs(workspace)
    argv = [sys.executable, "-m", "engines.setup.llama_cpp", str(place), str(converters)]
    run = runs.create("setup", "llama", argv)
    runs.start(run)
    return run


def build(source: Path, work: Path, place: Path) -> None:
    """Compile in `work`, then move the programs with their libraries to `place`, whole or not at all."""
    env = _with_tools(work)
    made = work / "build" / "bin"
    if not _configure(source, work / "build", env, cuda=_wants_cuda()):
        emit(
            "warning", text=f"CUDA is not here as a whole, so this is for the CPU; with it delete {place}, set up again"
        )
        shutil.rmtree(work / "build")
        if not _configure(source, work / "build", env, cuda=False):
            raise UserError("failed", "the build could not be prepared", "The log says why; then run the setup again.")
    emit("phase", name="compile", text=f"compiling on {os.cpu_count()} cores")
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
    if not _run(["cmake", "--build", str(work / "build"), "--parallel", jobs, "--target", *PROGRAMS], env):
        raise UserError("failed", "llama.cpp could not be built", "The log says why; then run the setup again.")
    subprocess.run([str(made / PROGRAMS[0]), "--version"], check=True, stdin=subprocess.DEVNULL, timeout=60)
    shutil.copyfile(source / "LICENSE", made / "LICENSE")
    os.rename(made, place)
    statefiles.sync_dir(place.parent)


def _wants_cuda() -> bool:
    if not devices.gpu_count():
        return False
    if not shutil.which("nvcc"):
        emit("warning", text="there is a GPU, but not CUDA's compiler (nvcc): llama.cpp will compute on the CPU")
        return False
    return True


def _configure(source: Path, build: Path, env: dict[str, str], *, cuda: bool) -> bool:
    emit("phase", name="configure", text=f"preparing the build, for the {'GPU' if cuda else 'CPU'}")
    options = {**OPTIONS, "GGML_CUDA": "ON" if cuda else "OFF"}
    flags = [f"-D{name}={value}" for name, value in options.items()]
    return _run(["cmake", "-S", str(source), "-B", str(build), "-G", "Ninja", *flags], env)


def _with_tools(work: Path) -> dict[str, str]:
    """The environment with cmake and ninja in its path; those that the machine has not come by pip."""
    missing = [name for name in ("cmake", "ninja") if not shutil.which(name)]
    tools = work / "tools"
    if missing and not tools.is_dir():
        emit("phase", name="tools", text=f"installing {' and '.join(missing)}")
        gguf_tools.pip("install", "--target", str(tools), *missing)
    path = f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(tools)} if missing else dict(os.environ)


def _run(argv: list[str], env: dict[str, str]) -> bool:
    """Run a step of the build, and say whether it could; what ninja counts becomes progress."""
    process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if counted := _NINJA.match(line):
            emit("progress", done=int(counted[1]), total=int(counted[2]), unit="files")
    return process.wait() == 0


def main() -> None:
    place, converters = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    work = statefiles.make_private_dir(place.with_name(f".{place.name}.build"))
    source = work / "source"
    os.nice(5)
    emit("phase", name="fetch", text=f"llama.cpp: {COST}")
    if not source.is_dir() or not converters.is_dir():
        archive = gguf_tools.fetch(work)
        if not converters.is_dir():
            gguf_tools.unpack(archive, converters)
        if not source.is_dir():
            emit("phase", name="unpack", text="unpacking the source")
            gguf_tools.unpack(archive, source, kept=None)
        archive.unlink()
    if not place.is_dir():
        build(source, work, place)
    shutil.rmtree(work)
    write_result("done", folder=str(place))


if __name__ == "__main__":
    run_script(main)
