"""An environment for each kind of job: what one needs does not break another, and what is missing is told."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from engines.llm import LLMEngine
from engines.setup.environments import KINDS

ROOT = Path(__file__).resolve().parents[2]


def test_what_was_run_together_is_what_may_be_installed() -> None:
    """constraints.txt within the bounds of the extra that it is for."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*extras["dependencies"], *extras["optional-dependencies"]["llm"]]
    bounds = {found.name: found.specifier for found in map(Requirement, wanted)}
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert {"torch", "transformers", "trl", "peft", "nvidia-ml-py"} <= pins.keys()
    for name, version in pins.items():
        assert name in KINDS["llm"].bare or version in bounds[name], name


def test_each_kind_has_its_own_python_and_none_sees_the_packages_of_another(engine: LLMEngine) -> None:
    environments = engine.environments
    assert {environments.python(kind) for kind in KINDS} == {Path(sys.executable)}
    empty = environments.own_folder("tts")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(empty)], check=True, timeout=60)
    assert environments.python("tts") == empty / "bin" / "python"
    assert environments.python("llm") == Path(sys.executable) and environments.variables("llm") == {}

    code = Path(environments.variables("tts")["PYTHONPATH"])  # our scripts, and nothing that is installed beside them
    assert {entry.name for entry in code.iterdir()} == {"engines", "finetune", "tts"}
    asked = "import importlib.util as u; print(u.find_spec('tts') is not None, u.find_spec('textual') is None)"
    done = subprocess.run(
        [str(environments.python("tts")), "-c", asked], env=environments.variables("tts"), capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "True"]
    report = environments.report("tts")
    assert not report.ready and {"torch", "transformers", "qwen_tts"} <= set(report.missing)
    assert environments.report("llm").ready
