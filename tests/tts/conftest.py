"""The voice tests: run by the voice environment's Python, on a tiny model of the real architecture."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

if importlib.util.find_spec("qwen_tts") is None:  # `make test` runs this folder with the environment that has it
    collect_ignore_glob = ["test_*.py"]


def made_once(request: pytest.FixtureRequest, size: str) -> Path:
    from tts import tiny_model

    folder = Path(str(request.config.cache.mkdir("tiny-voice"))) / size
    if not (folder / "config.json").is_file():
        tiny_model.make(folder, size)
    return folder


@pytest.fixture(scope="session")
def tiny_base(request: pytest.FixtureRequest) -> Path:
    """A tiny model shaped like the 1.7B one."""
    return made_once(request, "1.7B")


@pytest.fixture(scope="session")
def tiny_base_small(request: pytest.FixtureRequest) -> Path:
    """A tiny model shaped like the 0.6B one: its text is wider than its talker."""
    return made_once(request, "0.6B")
