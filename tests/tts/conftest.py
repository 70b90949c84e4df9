"""The voice tests: run by the voice environment's Python, on a tiny model of the real architecture."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture
def one_core() -> Iterator[None]:
    """Threads cost a tiny model more than they give: what is started here has one."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="session")
def voice_dataset(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tts_support.dataset import prepare_dataset

    return prepare_dataset(tiny_base, tmp_path_factory.mktemp("voice"), 12, 1.1)


@pytest.fixture
def build(tiny_base: Path, voice_dataset: Path, tmp_path: Path, one_core: None) -> Any:
    """Build a training as the script does; parameters by name, no preview sentences unless given."""
    from engines.config import job
    from engines.config.voice import VoiceConfig
    from tts import sft_12hz

    def make(base: Path = tiny_base, dataset: Path = voice_dataset, **values: Any) -> Any:
        start = {"preview_sentences": [], "device": "cpu", "precision": "fp32", "gradient_checkpointing": False}
        config = job.build(VoiceConfig, {**start, **values})
        number = len(list(tmp_path.iterdir()))
        arguments = argparse.Namespace(
            dataset=dataset, model=str(base), checkpoints=tmp_path / f"points-{number}",
            output=tmp_path / f"voice-{number}", name="Tester", whisper="",
        )  # fmt: skip
        return sft_12hz.build(arguments, config)[0]

    return make


@pytest.fixture(scope="session")
def dataset_of_tiny_base(voice_dataset: Path) -> Path:
    return voice_dataset


@pytest.fixture(scope="session")
def dataset_of_tiny_base_small(tiny_base_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tts_support.dataset import prepare_dataset

    return prepare_dataset(tiny_base_small, tmp_path_factory.mktemp("voice"), 4, 1.1)
