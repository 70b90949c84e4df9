"""The trained adapters on disk and the one that is active.

    finetune/adapters/{name}/final/    adapter_config.json, adapter_model.safetensors
    finetune/adapters/{name}/card.json what it was made from; written by training
    finetune/adapters/.active          the active one's name, no newline; absent: none

A folder is written once and never again, so a server may cache what it read from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines import statefiles
from engines.errors import UserError
from engines.workspace import NAME, Workspace, check_name, is_real_dir

FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Adapter:
    """One adapter. Sizes in bytes, times in Unix seconds; what is not known is empty or None."""

    name: str
    path: Path
    complete: bool
    active: bool
    base_model: str
    base_identity: str
    dataset: str
    dataset_path: str
    created_at: float | None
    size: int
    rank: int | None
    loss: float | None
    eval_loss: float | None
    run: str
    config: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "path": str(self.path)}


class Adapters:
    """The registry of a workspace. Nothing is cached: another face may have changed it."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace

    @property
    def folder(self) -> Path:
        return self.workspace.adapters

    @property
    def _active_file(self) -> Path:
        return self.folder / ".active"

    def list(self) -> list[Adapter]:
        """All adapters, newest first, the incomplete ones among them."""
        active = self.active()
        entries = [entry for entry in self.folder.iterdir() if NAME.fullmatch(entry.name) and is_real_dir(entry)]
        adapters = [self._read(entry, active) for entry in entries]
        return sorted(adapters, key=lambda adapter: (-(adapter.created_at or 0), adapter.name))

    def get(self, name: str) -> Adapter:
        """Raises UserError if there is none of that name, or its folder is a link."""
        path = self.folder / check_name(name, "an adapter")
        if not is_real_dir(path):
            names = ", ".join(adapter.name for adapter in self.list()[:10]) or "none yet"
            raise UserError("not_found", f"there is no adapter {name}", f"There are: {names}.")
        return self._read(path, self.active())

    def active(self) -> str | None:
        """The name in `.active` if it names a complete adapter, else None."""
        try:
            name = self._active_file.read_text(encoding="utf-8")[:200].strip()
        except (OSError, UnicodeDecodeError):
            return None
        path = self.folder / name
        return name if NAME.fullmatch(name) and is_real_dir(path) and _is_complete(path) else None

    def activate(self, name: str) -> Adapter:
        """Make `name` the active adapter, in one step that no crash can halve."""
        adapter = self.get(name)
        if not adapter.complete:
            raise UserError(
                "conflict",
                f"the adapter {name} is incomplete ({' or '.join(FILES)} is missing)",
                "Train it again; an incomplete adapter cannot be activated.",
            )
        statefiles.write_bytes(self._active_file, name.encode())
        return self.get(name)

    def deactivate(self) -> str | None:
        """Back to the base model. Returns the adapter that was active."""
        was = self.active()
        if self._active_file.exists() or self._active_file.is_symlink():
            self._active_file.unlink()
            statefiles.sync_dir(self.folder)
        return was

    def delete(self, name: str, *, even_if_active: bool = False) -> Path:
        """Move an adapter to the trash. Returns where it went, for `restore`.

        The active one only with `even_if_active`, and then `.active` is cleared first.
        """
        adapter = self.get(name)
        if adapter.active:
            if not even_if_active:
                raise UserError("conflict", f"{name} is the active adapter", "Confirm, or deactivate it first.")
            self.deactivate()
        return self.workspace.move_to_trash(adapter.path, "adapter")

    def restore(self, trashed: Path) -> Adapter:
        """Bring a deleted adapter back."""
        return self.get(self.workspace.restore(trashed).name)

    def free_name(self, wanted: str) -> str:
        """`wanted`, or `wanted-2`, `wanted-3` … if it is taken."""
        name, number = wanted, 1
        while (self.folder / name).exists():
            number += 1
            name = f"{wanted}-{number}"
        return name

    def _read(self, path: Path, active: str | None) -> Adapter:
        card = statefiles.read_json(path / "card.json", {})
        peft = statefiles.read_json(path / "final" / FILES[0], {})
        figures = card.get("figures", {})
        complete = _is_complete(path)
        return Adapter(
            name=path.name,
            path=path,
            complete=complete,
            active=path.name == active,
            base_model=str(card.get("base_model") or peft.get("base_model_name_or_path") or ""),
            base_identity=str(card.get("base_identity", "")),
            dataset=str(card.get("dataset", {}).get("name", "")),
            dataset_path=str(card.get("dataset", {}).get("path", "")),
            created_at=card.get("created_at") or path.stat().st_mtime,
            size=sum(file.stat().st_size for file in (path / "final").glob("*") if file.is_file()) if complete else 0,
            rank=peft.get("r"),
            loss=figures.get("loss"),
            eval_loss=figures.get("eval_loss"),
            run=str(card.get("run", "")),
            config=card.get("config", {}),
        )


def _is_complete(path: Path) -> bool:
    final = path / "final"
    return is_real_dir(final) and all((final / name).is_file() for name in FILES)
