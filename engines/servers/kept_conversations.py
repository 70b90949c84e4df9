"""The conversations that are kept: which there are, and what one needs to be gone on with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.config.chat import ChatConfig
from engines.config.job import build
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.servers.conversation import BAD, BASE, GOOD, Turn, folder
from engines.weights.adapters import Adapter, Adapters
from engines.workspace import Workspace

LAST = "last"


@dataclass(frozen=True)
class Kept:
    """A conversation on disk. at: when something was said or rated last, in Unix seconds; partners: names."""

    id: str
    at: float
    partners: tuple[str, ...]
    base_model: str
    config: ChatConfig
    turns: list[Turn]

    @property
    def first_question(self) -> str:
        return self.turns[0].question if self.turns else ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id, "at": self.at, "partners": list(self.partners), "base_model": self.base_model,
            "options": self.config.model_dump(), "turns": len(self.turns), "first_question": self.first_question,
        }  # fmt: skip

    def adapters(self, adapters: Adapters) -> list[Adapter | None]:
        """Who took part; None: the base model. Raises UserError for an adapter that is gone."""
        return [None if name == BASE else adapters.get(name) for name in self.partners]


def all_of(workspace: Workspace) -> list[Kept]:
    """The one that went on last first; what cannot be read is left out."""
    found = [kept for file in folder(workspace).glob("[!.]*.json") if (kept := _read(file)) is not None]
    return sorted(found, key=lambda kept: (-kept.at, kept.id))


def get(workspace: Workspace, wanted: str) -> Kept:
    """By its id, the beginning of one, or `last`. Raises UserError if there is not exactly one."""
    there = all_of(workspace)
    found = there[:1] if wanted == LAST else [kept for kept in there if kept.id == wanted]
    found = found or [kept for kept in there if wanted and kept.id.startswith(wanted)]
    if len(found) != 1:
        cause = "several conversations begin so" if found else f"there is no conversation {wanted[:60]}"
        raise UserError("not_found", cause, "See `ftui llm chat --list`.")
    return found[0]


def _read(file: Path) -> Kept | None:
    document = statefiles.read_object(file)
    partners, turns = document.get("partners"), document.get("turns")
    options = document.get("options")
    if not isinstance(partners, list) or not isinstance(turns, list) or not partners:
        return None
    system = {"system": document["system"]} if isinstance(document.get("system"), str) else {}  # of an older version
    try:
        config = build(ChatConfig, {**system, **(options if isinstance(options, dict) else {})})
        at = file.stat().st_mtime
    except (UserError, OSError):
        return None
    read = [_turn(turn, len(partners)) for turn in turns if isinstance(turn, dict)]
    base = document.get("base_model")
    names = tuple(str(name) for name in partners)
    return Kept(file.stem, at, names, base if isinstance(base, str) and base else "auto", config, read)


def _turn(turn: dict[str, Any], count: int) -> Turn:
    """Each list as long as there are partners."""

    def column(name: str, wanted: type, empty: Any) -> list[Any]:
        values = turn.get(name)
        values = values if isinstance(values, list) else []
        return [value if isinstance(value, wanted) else empty for value in [*values, *[empty] * count][:count]]

    ratings = [rating if rating in (GOOD, BAD) else None for rating in column("ratings", str, None)]
    return Turn(str(turn.get("question", "")), column("answers", str, None), ratings, column("sent", bool, False))
