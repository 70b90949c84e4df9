"""The commands around servers as real processes: what they print, what they exit with, JSON for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engines.llm import LLMEngine

pytestmark = pytest.mark.model


def ftui(home: Path, *words: str, code: int = 0, said: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ftui", *words, "--home", str(home)] if "--" not in words else
        [sys.executable, "-m", "ftui", *words],
        capture_output=True, text=True, timeout=120, input=said or "", env={**os.environ, "FTUI_HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def as_json(home: Path, *words: str) -> Any:
    return json.loads(ftui(home, *words, "--json"))


def test_status_activation_and_a_conversation(served: LLMEngine, tmp_path: Path) -> None:
    home, server = served.workspace.home, served.serving.servers()[0]
    assert f"✓ {server.name}: answers with a@" in ftui(home, "adapters", "activate", "a")
    (state,) = as_json(home, "serve-llm", "status")["servers"]
    assert state["state"] == "ready" and state["active"].startswith("a@") and state["url"] == server.url
    assert "it runs already" in ftui(home, "serve-llm", "start", "--base-model", "base")
    assert f"answers at {server.url}/v1" in ftui(home, "serve-llm", "logs", server.name)

    answer = as_json(home, "llm", "chat", "--base", "--adapter", "a", "--prompt", "Hi", "--max-new-tokens", "6")
    assert [item["adapter"] for item in answer["answers"]] == [None, "a"]
    assert answer["answered_by"] == f"server {server.name}" and Path(answer["conversation"]).is_file()
    talk = ftui(home, "llm", "chat", "--max-new-tokens", "6", said="Hi\n/good\n/good 7\n/send kept\n/nonsense\n")
    assert "a: good" in talk and "no such answer" in talk and "in kept now: 1 more" in talk and "/bad [N]" in talk
    assert served.datasets.get("kept").size > 0

    assert "answers with the base model" in ftui(home, "adapters", "base")
    ftui(home, "serve-llm", "on-activate", "--", "false")
    failed = ftui(home, "adapters", "activate", "a", code=1)
    assert "✗ on_activate: exit code 1" in failed and "nothing has changed: the base model" in failed
    assert "nothing is run" in ftui(home, "serve-llm", "on-activate")

    for words in (["adopt", server.url, "--name", "second"], ["adopt", f"localhost:{server.url.rpartition(':')[2]}"]):
        assert f"{server.name} at {server.url} was started here" in ftui(home, "serve-llm", *words, code=6)
    assert f"ftui serve-llm stop {server.name}" in ftui(home, "serve-llm", "forget", code=6)
    assert [item["name"] for item in as_json(home, "serve-llm", "status")["servers"]] == [server.name]

    other = tmp_path / "other"
    assert "is not a name for a server" in ftui(other, "serve-llm", "adopt", server.url, "--name", "bad\nname", code=2)
    assert "● ready" in ftui(other, "serve-llm", "adopt", server.url, "--name", "theirs")
    assert "not started here" in ftui(other, "serve-llm", "stop", "theirs", code=6)
    assert "not followed any more" in ftui(other, "serve-llm", "forget", "theirs")
    assert "no server; start one" in ftui(other, "serve-llm", "status", code=5)
    assert "no address of this machine" in ftui(other, "serve-llm", "adopt", "http://example.com:80", code=2)


def test_the_registry_from_the_command_line(served: LLMEngine, tmp_path: Path) -> None:
    home = served.workspace.home
    ftui(home, "adapters", "copy", "a", "twin")
    ftui(home, "adapters", "note", "twin", "too chatty")
    ftui(home, "adapters", "tag", "twin", "faq", "good")
    assert "too chatty" in ftui(home, "adapters", "show", "twin")
    assert [item["name"] for item in as_json(home, "adapters", "list", "--filter", "FAQ chatty")] == ["twin"]
    assert "there is no column" in ftui(home, "adapters", "list", "--sort", "colour", code=2)
    ftui(home, "adapters", "export", "twin", str(tmp_path / "twin.zip"))
    ftui(home, "adapters", "rename", "twin", "gone")
    taken = as_json(home, "adapters", "import", str(tmp_path / "twin.zip"))
    assert taken["name"] == "twin" and taken["tags"] == ["faq", "good"]
    for name in ("twin", "gone"):
        ftui(home, "adapters", "delete", name)
    assert "is back" in ftui(home, "adapters", "restore", "twin")
    ftui(home, "adapters", "delete", "twin")
