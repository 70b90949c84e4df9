"""A trained voice as it lies on disk: its epochs, their figures, which one is the best.

    {voice}/voice.json                    what it was made of; `best_epoch`
    {voice}/checkpoint-epoch-{N}/         a folder that qwen_tts loads; card.json has its figures

Scripts read voices through this file too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError

EPOCH = re.compile(r"checkpoint-epoch-(\d{1,4})")


@dataclass(frozen=True)
class Epoch:
    """One epoch of a voice. size in bytes, created_at in Unix seconds; heard: see tts/listening.py, empty if not."""

    number: int
    path: Path
    size: int
    created_at: float
    eval_loss: float | None
    heard: dict[str, Any]
    sentences: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "path": str(self.path)}


@dataclass(frozen=True)
class Voice:
    """A voice and its epochs, in order. Size in bytes; files that epochs share count once."""

    name: str
    path: Path
    epochs: list[Epoch]
    best_epoch: int | None
    card: dict[str, Any]
    size: int

    @property
    def created_at(self) -> float:
        return max((epoch.created_at for epoch in self.epochs), default=self.path.stat().st_mtime)

    @property
    def speed(self) -> float:
        """The speaker's characters a second."""
        return float(self.card.get("dataset", {}).get("characters_per_second") or 14.0)

    def epoch(self, number: int | None = None) -> Epoch:
        """The epoch `number`, or else the best, or else the last. Raises UserError if there is none."""
        wanted = self.best_epoch if number is None else number
        found = [epoch for epoch in self.epochs if epoch.number == wanted]
        if not found and number is None:
            found = self.epochs[-1:]
        if not found:
            there = ", ".join(str(epoch.number) for epoch in self.epochs) or "none yet"
            raise UserError("not_found", f"the voice {self.name} has no epoch {wanted}", f"There are: {there}.")
        return found[0]

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": str(self.path),
            "best_epoch": self.best_epoch,
            "size": self.size,
            "created_at": self.created_at,
            "base_model": self.card.get("base_model"),
            "dataset": self.card.get("dataset", {}),
            "zero_shot": self.card.get("zero_shot", {}),
            "run": self.card.get("run", ""),
            "epochs": [epoch.as_dict() for epoch in self.epochs],
        }


def read_voice(path: Path) -> Voice:
    """The voice in a folder; one that another program trained has epochs without figures."""
    card = statefiles.read_object(path / "voice.json")
    found = []
    seen: dict[tuple[int, int], int] = {}
    for entry in path.iterdir():
        match = EPOCH.fullmatch(entry.name)
        if match and entry.is_dir() and not entry.is_symlink() and is_model(entry):
            found.append(_read_epoch(entry, int(match[1]), seen))
    found.sort(key=lambda epoch: epoch.number)
    best = card.get("best_epoch")
    return Voice(path.name, path, found, best if isinstance(best, int) else None, card, sum(seen.values()))


def is_model(path: Path) -> bool:
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))


def _read_epoch(path: Path, number: int, seen: dict[tuple[int, int], int]) -> Epoch:
    """seen: size of every file of the voice by device and inode, which is added to."""
    size = 0
    for file in path.rglob("*"):
        stat = file.lstat()
        if file.is_file():
            seen[stat.st_dev, stat.st_ino] = stat.st_size
            size += stat.st_size
    card = statefiles.read_object(path / "card.json")
    loss = card.get("eval_loss")
    return Epoch(
        number=number,
        path=path,
        size=size,
        created_at=float(card.get("created_at") or path.stat().st_mtime),
        eval_loss=float(loss) if isinstance(loss, int | float) else None,
        heard=card.get("heard") or {},
        sentences=card.get("sentences") or [],
    )
