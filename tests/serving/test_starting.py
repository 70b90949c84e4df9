"""Servers that start: with what, how many, and which adapter they have when they are ready."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.config.serve import ServeConfig
from engines.llm import LLMEngine
from engines.servers import server_start
from engines.servers.server import ServerState
from tests.serving.conftest import STARTS_IN, start, stop_all, with_adapters
from tests.serving.test_commands import as_json, ftui

pytestmark = pytest.mark.model


@pytest.fixture
def workspace(tiny_model: Path, tmp_path: Path) -> Iterator[LLMEngine]:
    engine = with_adapters(tmp_path / "home", tiny_model)
    yield engine
    stop_all(engine)


def only(engine: LLMEngine) -> ServerState:
    (server,) = engine.serving.servers()
    return engine.serving.state(server)


def test_what_became_active_during_the_start_answers_when_it_is_ready(workspace: LLMEngine) -> None:
    engine = workspace
    engine.adapters.activate("a")
    config = ServeConfig(base_model="base", precision="fp32")
    run = engine.serving.start(config)
    found = engine.serving.running(config)
    assert found is not None and found.state == "starting" and found.server.name == run.name
    outcome = engine.activation.activate("b")
    assert outcome.done and "follows when it is ready" in outcome.results[0].text
    engine.serving.wait_until_ready(run, STARTS_IN)
    until = time.monotonic() + 30
    while not (state := only(engine)).follows or len(state.adapters) > 1:  # the old one is let go of at the end
        assert time.monotonic() < until, state
        time.sleep(0.1)
    assert [name[:2] for name, _ in state.adapters] == ["b@"] and (state.active or "").startswith("b@")


def test_a_server_that_has_another_adapter_is_marked_until_it_has_the_active_one(workspace: LLMEngine) -> None:
    engine, home = workspace, workspace.workspace.home
    engine.activation.activate("a")
    name = start(engine)
    assert only(engine).follows and as_json(home, "serve-llm", "status")["servers"][0]["follows"]
    engine.adapters.activate("b")  # as a program does that writes the file alone
    said = ftui(home, "serve-llm", "status")
    assert f"{name} does not answer with b, which is active: ftui adapters activate b" in said
    engine.activation.catch_up(engine.serving.get(name))
    assert only(engine).follows and (only(engine).active or "").startswith("b@")
    engine.adapters.deactivate()
    assert "does not answer with the base model, which is active: ftui adapters base" in ftui(
        home, "serve-llm", "status"
    )
    engine.activation.catch_up(engine.serving.get(name))
    assert only(engine).active is None and only(engine).adapters == ()


def test_one_is_started_where_none_is_what_was_asked_for(workspace: LLMEngine) -> None:
    engine, home = workspace, workspace.workspace.home
    name = start(engine)  # in fp32
    running = engine.serving.running
    for asked in ({}, {"precision": "fp32"}, {"port": int(only(engine).server.url.rpartition(":")[2])}):
        found = running(ServeConfig(base_model="base", **asked))
        assert found is not None and found.server.name == name
    for asked in ({"precision": "bf16"}, {"quantization": "nf4"}, {"port": 1}, {"base_model": "embedded"}):
        assert running(ServeConfig(**{"base_model": "base", **asked})) is None
    other = as_json(home, "serve-llm", "start", "--base-model", "base", "--precision", "bf16", "--detach")
    assert other["name"] != name and other["state"] == "starting"
    again = as_json(home, "serve-llm", "start", "--base-model", "base", "--precision", "bf16")
    assert again["name"] == other["name"] and again["state"] == "ready"
    assert f"answers at {again['url']}" in ftui(home, "serve-llm", "logs")
    engine.serving.stop(engine.serving.get(other["name"]))
    engine.runs.wait(engine.serving.get(other["name"]).run, timeout=60)  # type: ignore[arg-type]
    assert f"answers at {only(engine).server.url}" in ftui(home, "serve-llm", "logs"), "not of one that has ended"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--max-model-len", "100"], "--max-model-len is for vllm and llama-server, not for light"),
        (["--max-loras", "2"], "--max-loras is for vllm, not for light"),
        (["--kind", "llama-server", "--precision", "fp32"], "--precision is for light and vllm, not for llama-server"),
        (["--kind", "vllm", "--gguf-weights", "q4_k_m"], "--gguf-weights is for llama-server, not for vllm"),
        (
            ["--kind", "vllm", "--gpu-memory-share", "0.5"],
            "--gpu-memory-share is for vllm on a GPU, this one is on cpu",
        ),
        (["--kind", "vllm", "--quantization", "nf4"], "--quantization nf4 is for vllm on a GPU"),
    ],
)
def test_what_a_kind_of_server_does_not_have_is_refused(engine: LLMEngine, flags: list[str], said: str) -> None:
    assert said in ftui(engine.workspace.home, "serve-llm", "start", "--device", "cpu", *flags, code=2)
    assert engine.serving.servers() == []


def test_a_base_model_without_a_template_gets_the_adapters_by_a_flag(tmp_path: Path) -> None:
    places = server_start.Llama(tmp_path / "tools", tmp_path / "programs", tmp_path / "cache")
    for kind, flag in (("vllm", "--chat-template"), ("llama-server", "--chat-template-file")):
        for template in (None, tmp_path / "chat_template.jinja"):
            config = ServeConfig(kind=kind)
            wish = server_start.Wish(
                config, Path("python"), "m", "cpu", 8000, 16, None, llama=places, template=template
            )
            argv, _ = server_start.command(wish)
            assert argv[argv.index(flag) + 1 :][:1] == [str(template)] if template else flag not in argv
