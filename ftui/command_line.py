"""The command that does what a key is about to do, word for word."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from engines.workspace import default_home


def exact(value: float) -> str:
    """The shortest text that reads back as the same number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def as_text(value: Any, separator: str = ",") -> str:
    """A value as it is typed into a field."""
    if value is None:
        return ""
    if isinstance(value, list):
        return f"{separator} ".join(map(str, value))
    return exact(value) if isinstance(value, float) else str(value)


def flags(values: dict[str, Any]) -> list[str]:
    """`{"lora_rank": 4, "include_groups": True}` as flags."""
    words = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            for item in value:
                words += [f"--{flag}", str(item)]
        else:
            words += [f"--{flag}", exact(value) if isinstance(value, float) else str(value)]
    return words


def train(home: Path, dataset: str, preset: str, values: dict[str, Any], name: str = "") -> str:
    words = ["ftui", "llm", "train", dataset, "--preset", preset]
    return _join([*words, *(["--name", name] if name else []), *flags(values)], home)


def prepare(home: Path, source: Path, name: str, values: dict[str, Any]) -> str:
    return _join(["ftui", "llm", "prepare", str(source), "--name", name, *flags(values)], home)


def generate(home: Path, project: Path, name: str, values: dict[str, Any]) -> str:
    return _join(["ftui", "llm", "generate", "--from-project", str(project), "--name", name, *flags(values)], home)


def data(home: Path, words: list[str]) -> str:
    return _join(["ftui", "data", *words], home)


def evaluate(home: Path, adapter: str, values: dict[str, Any]) -> str:
    return _join(["ftui", "llm", "evaluate", adapter, *flags(values)], home)


def export(home: Path, to: str, adapters: list[str], values: dict[str, Any]) -> str:
    return _join(["ftui", "llm", "export", to, *adapters, *flags(values)], home)


def combine(home: Path, adapters: list[str], name: str, values: dict[str, Any]) -> str:
    return _join(["ftui", "llm", "combine", *adapters, "--name", name, *flags(values)], home)


def merge(home: Path, adapter: str, values: dict[str, Any]) -> str:
    return _join(["ftui", "llm", "merge", adapter, *flags(values)], home)


def chat(home: Path, partners: list[str | None], values: dict[str, Any]) -> str:
    """partners: adapters by name, None for the base model."""
    base = ["--base"] if None in partners else []
    adapters = [word for name in partners if name is not None for word in ("--adapter", name)]
    return _join(["ftui", "llm", "chat", *base, *adapters, *flags(values)], home)


def sweep(home: Path, space: Path, dataset: str, name: str, values: dict[str, Any]) -> str:
    return _join(["ftui", "llm", "sweep", str(space), "--dataset", dataset, "--name", name, *flags(values)], home)


def serve(home: Path, values: dict[str, Any]) -> str:
    return _join(["ftui", "serve-llm", "start", *flags(values)], home)


def tts(home: Path, words: list[str], values: dict[str, Any]) -> str:
    """`ftui tts …` with parameters as flags."""
    return _join(["ftui", "tts", *words, *flags(values)], home)


def _join(words: list[str], home: Path) -> str:
    where = [] if home == default_home() else ["--home", str(home)]
    return shlex.join([*words, *where])
