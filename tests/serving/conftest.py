"""Real servers on this machine with real adapters that answer differently."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_adapters import strong_adapter

from engines.config.serve import ServeConfig
from engines.contract.errors import UserError
from engines.llm import LLMEngine
from engines.weights.adapter_transfer import import_adapter
from engines.workspace import Workspace

STARTS_IN = 600.0  # vLLM on a busy machine


def with_adapters(home: Path, model: Path, names: str = "ab") -> LLMEngine:
    """A workspace with a base model and an adapter for each letter, whose answers have nothing in common."""
    engine = LLMEngine(Workspace(home))
    base = engine.workspace.models / "base"
    shutil.copytree(model, base)
    for seed, name in enumerate(names, 1):
        made = strong_adapter(base, home / "made" / name, seed)
        import_adapter(engine.adapters, engine.models, made, name=name, base_model=str(base))
    return engine


def start(engine: LLMEngine, **config: object) -> str:
    """Start a server and wait until it answers; returns its name."""
    with socket.socket() as probe:  # one that no other test on this machine takes meanwhile
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    usual = {} if config.get("kind") == "llama-server" else {"precision": "fp32"}  # that has --gguf-weights
    run = engine.serving.start(ServeConfig(**{"base_model": "base", "port": port, **usual, **config}))  # type: ignore[arg-type]
    try:
        engine.serving.wait_until_ready(run, STARTS_IN)
    except UserError:
        stop_all(engine)
        raise
    return run.name


def stop_all(engine: LLMEngine) -> None:
    for server in engine.serving.servers():
        if server.run is not None:
            engine.serving.stop(server)
            engine.runs.wait(server.run, timeout=60)
            assert engine.runs.leftovers(server.run) == []


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMEngine]:
    """A workspace with the adapters a and b, and one light server for all tests of the module."""
    engine = with_adapters(tmp_path_factory.mktemp("served") / "home", tiny_model)
    start(engine)
    yield engine
    stop_all(engine)
