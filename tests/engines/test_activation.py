"""Activation with a command of the user's, where no server runs: real programs, real interruptions."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sample_adapters import write_adapter

from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.servers import on_activate
from engines.weights.adapter_transfer import import_adapter


@pytest.fixture
def two(engine: LLMEngine, tmp_path: Path) -> LLMEngine:
    """The adapters a, which is active, and b."""
    for name in "ab":
        import_adapter(engine.adapters, engine.models, write_adapter(tmp_path / name, "owner/base"))
    engine.adapters.activate("a")
    return engine


def until(condition: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_command_leaves_running_is_not_waited_for(two: LLMEngine, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    two.serving.set_on_activate(["sh", "-c", f"sleep 100 & echo $! > {pid}; echo started"])
    began = time.monotonic()
    outcome = two.activation.activate("b")
    assert outcome.done and time.monotonic() - began < 10
    left = int(pid.read_text())
    assert is_alive(left)
    os.kill(left, signal.SIGKILL)


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(
    two: LLMEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_activate, "SECONDS", 0.5)
    pid = tmp_path / "pid"
    two.serving.set_on_activate(["sh", "-c", f"sleep 100 & echo $! > {pid}; test $FTUI_ADAPTER = a || sleep 100"])
    outcome = two.activation.activate("b")
    assert not outcome.done and two.adapters.active() == "a"
    first, second = outcome.results
    assert (first.ok, first.server) == (False, "on_activate") and "more than" in first.text
    assert (second.ok, second.server, second.text) == (True, "on_activate again", "for a: done")
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_what_the_second_run_said_is_told(two: LLMEngine) -> None:
    two.serving.set_on_activate(["sh", "-c", "echo bot $FTUI_ADAPTER is down >&2; exit 3"])
    outcome = two.activation.activate("b")
    assert [result.text for result in outcome.results] == [
        "exit code 3: bot b is down",
        "for a: exit code 3: bot a is down",
    ]


def test_a_program_that_is_not_there_is_not_taken(two: LLMEngine) -> None:
    for program in ("no-such-program", "./no-such-program", str(two.workspace.home)):
        with pytest.raises(UserError, match="there is no program"):
            two.serving.set_on_activate([program, "x"])
    assert two.serving.on_activate() == []
    script = two.workspace.home / "tell.sh"
    script.write_text("#!/bin/sh\necho $FTUI_ADAPTER > told\n")
    script.chmod(0o755)
    two.serving.set_on_activate(["./tell.sh"])
    assert two.activation.activate("b").done
    assert (two.workspace.home / "told").read_text() == "b\n"


def test_what_the_servers_cannot_follow_is_neither_renamed_nor_deleted(two: LLMEngine) -> None:
    two.serving.set_on_activate(["sh", "-c", "test $FTUI_ADAPTER = a || { echo no such bot; exit 3; }"])
    for change in (
        lambda: two.activation.rename("a", "c"),
        lambda: two.activation.delete("a", even_if_active=True),
    ):
        with pytest.raises(UserError, match="nothing has changed: on_activate: exit code 3: no such bot"):
            change()
        assert two.adapters.active() == "a"
        assert sorted(adapter.name for adapter in two.adapters.list()) == ["a", "b"]
    two.serving.set_on_activate(["true"])
    assert two.activation.rename("a", "c").active
    two.activation.delete("c", even_if_active=True)
    assert two.adapters.active() is None and [adapter.name for adapter in two.adapters.list()] == ["b"]


def test_ctrl_c_takes_an_activation_back_and_says_so(two: LLMEngine, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = f"echo $FTUI_ADAPTER >> {shlex.quote(str(told))}; test $FTUI_ADAPTER = a || sleep 100"
    two.serving.set_on_activate(["sh", "-c", script])
    argv = [sys.executable, "-m", "ftui", "adapters", "activate", "b", "--json", "--home", str(two.workspace.home)]
    face = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: told.exists() and told.read_text() == "b\n")
    assert two.adapters.active() == "b"
    os.killpg(face.pid, signal.SIGINT)  # as a terminal does
    said, _ = face.communicate(timeout=30)
    assert face.returncode == 130
    assert json.loads(said) == {
        "error": "interrupted", "cause": "interrupted: a is active", "next_step": "Give the command again.",
    }  # fmt: skip
    assert two.adapters.active() == "a" and told.read_text() == "b\na\n"
    two.serving.set_on_activate([])
    assert two.activation.deactivate().done  # nobody holds the lock
