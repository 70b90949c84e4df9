"""A training needs no network and asks for none: every connection is noted and forbidden, and the kernel has none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.llm import LLMEngine

# Imported by every Python that finds it on its path, before anything else.
GUARD = """
import os, socket

def refuse(what):
    with open(os.environ["ATTEMPTS"], "a") as file:
        file.write(f"{what}\\n")
    raise OSError("no network here")

def connect(self, address, connect=socket.socket.connect):
    return refuse(f"connect {address}") if self.family != socket.AF_UNIX else connect(self, address)

socket.socket.connect = socket.socket.connect_ex = connect
socket.getaddrinfo = lambda host, *_, **__: refuse(f"look up {host}")
"""
WITHOUT_NETWORK = ["unshare", "--map-root-user", "--net"]  # of the kernel's; compiled code has none either


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which each attempt to reach something is noted."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "guard"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("ATTEMPTS", str(tmp_path / "attempts"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # libraries may ask if they want to
    for name in ("HF_ENDPOINT", "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "attempts"


def without_network(*argv: str) -> subprocess.CompletedProcess[str]:
    can = subprocess.run([*WITHOUT_NETWORK, "true"], capture_output=True, check=False).returncode == 0
    return subprocess.run(
        [*(WITHOUT_NETWORK if can else []), *argv], capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.timeout(300)
def test_the_guard_sees_what_a_run_tries(engine: LLMEngine, attempts: Path) -> None:
    argv = [sys.executable, "-m", "ftui", "models", "download", "owner/name", "--home", str(engine.workspace.home)]
    done = without_network(*argv)
    assert done.returncode == 5 and "no network here" in done.stderr, done.stderr
    assert attempts.read_text() == "look up huggingface.co\n"


@pytest.mark.timeout(300)
def test_check_train_and_evaluate_try_nothing(engine: LLMEngine, tiny_model: Path, attempts: Path) -> None:
    write_dataset(engine.datasets.path("talk"), dialog_rows(40))

    def ftui(*arguments: str) -> Any:
        home = ["--home", str(engine.workspace.home), "--json"]
        done = without_network(sys.executable, "-m", "ftui", "llm", *arguments, *home)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    wanted = ["--base-model", str(tiny_model), "--gradient-accumulation-steps", "2", "--device", "cpu"]
    assert ftui("check", "talk", *wanted)["fits"]
    assert ftui("train", "talk", *wanted, "--max-steps", "2", "--name", "quiet")["result"]["steps"] == 2
    assert ftui("evaluate", "quiet", "--answers", "1", "--no-general")["result"]["adapters"] == ["quiet"]
    assert not attempts.exists(), attempts.read_text()
