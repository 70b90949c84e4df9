"""The trained adapters on disk and the one that is active.

    finetune/adapters/{name}/final/    adapter_config.json, adapter_model.safetensors
    finetune/adapters/{name}/card.json what it was made from, and what its owner notes of it
    finetune/adapters/.active          the active one's name, no newline; absent: none

Weights are written once and never again; names may move. What a server loads has a path
of its own, see adapter_versions.py.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.fingerprints import ADAPTER_FILES as FILES
from engines.weights import adapter_card
from engines.weights.adapter_card import LONGEST_NOTE, MOST_TAGS
from engines.workspace import NAME, Workspace, check_name, is_real_dir, numbered


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
    figures: dict[str, float]
    run: str
    config: dict[str, Any]
    notes: str
    tags: tuple[str, ...]
    dataset_fingerprint: str

    @property
    def final(self) -> Path:
        """The folder with the weights, as peft writes it."""
        return self.path / "final"

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
        """Write `.active`, in one step that no crash can halve. Servers follow through activation.py alone."""
        self.check_complete(self.get(name))
        statefiles.write_bytes(self._active_file, name.encode())
        return self.get(name)

    def check_complete(self, adapter: Adapter) -> None:
        """Raises UserError for an adapter without its files."""
        if not adapter.complete:
            raise UserError(
                "conflict",
                f"the adapter {adapter.name} is incomplete ({' or '.join(FILES)} is missing)",
                "Train it again; an incomplete adapter cannot be activated.",
            )

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

    def rename(self, name: str, new_name: str) -> Adapter:
        """Give an adapter another name; if it is the active one, `.active` follows. Raises UserError if it is taken."""
        adapter = self.get(name)
        if not adapter.active:
            target = self.check_free(new_name)
            os.rename(adapter.path, target)
            statefiles.sync_dir(self.folder)
            self._change_card(target, name=new_name)
            return self.get(new_name)
        self.copy(name, new_name)  # so that at any moment `.active` names an adapter that is there
        self.activate(new_name)
        shutil.rmtree(adapter.path)
        return self.get(new_name)

    def copy(self, name: str, new_name: str) -> Adapter:
        """A second adapter with the same weights, whole or not at all."""
        adapter, target = self.get(name), self.check_free(new_name)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            shutil.copytree(adapter.path, partial)
            self._change_card(partial, name=new_name)
            os.rename(partial, target)
            statefiles.sync_dir(self.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return self.get(new_name)

    def note(self, name: str, text: str) -> Adapter:
        """Replace the notes on an adapter's card; an empty text removes them."""
        if len(text) > LONGEST_NOTE:
            raise UserError("usage", f"a note has at most {LONGEST_NOTE} characters", "Shorten it.")
        self._change_card(self.get(name).path, notes=text.strip())
        return self.get(name)

    def tag(self, name: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Adapter:
        """Put tags on an adapter's card, and take others off."""
        adapter = self.get(name)
        tags = [tag for tag in dict.fromkeys([*adapter.tags, *(check_name(tag, "a tag") for tag in add)])
                if tag not in set(remove)]  # fmt: skip
        if len(tags) > MOST_TAGS:
            raise UserError("usage", f"an adapter has at most {MOST_TAGS} tags", "Take some off.")
        self._change_card(adapter.path, tags=tags)
        return self.get(name)

    def add(self, partial: Path, name: str, card: dict[str, Any]) -> Adapter:
        """Take in a folder beside the adapters that holds `final/`, in one step."""
        target = self.check_free(name)
        statefiles.write_json(partial / "card.json", {"created_at": time.time(), **card, "name": name})
        os.rename(partial, target)
        statefiles.sync_dir(self.folder)
        return self.get(name)

    def check_free(self, name: str) -> Path:
        """The folder of a new name. Raises UserError if there is one."""
        target = self.folder / check_name(name, "an adapter")
        if target.exists() or target.is_symlink():
            raise UserError("conflict", f"there is an adapter {name} already", "Choose another name.")
        return target

    def _change_card(self, path: Path, **changes: Any) -> None:
        statefiles.write_json(path / "card.json", {**statefiles.read_object(path / "card.json"), **changes})

    def free_name(self, wanted: str) -> str:
        """`wanted`, or `wanted-2`, `wanted-3` … if it is taken."""
        return next(name for name in numbered(wanted) if not (self.folder / name).exists())

    def _read(self, path: Path, active: str | None) -> Adapter:
        card = adapter_card.believed(statefiles.read_object(path / "card.json"))
        peft = statefiles.read_object(path / "final" / FILES[0])
        dataset, figures, rank = card.get("dataset", {}), card.get("figures", {}), peft.get("r")
        complete = _is_complete(path)
        return Adapter(
            name=path.name,
            path=path,
            complete=complete,
            active=path.name == active,
            base_model=card.get("base_model")
            or adapter_card.text(peft.get("base_model_name_or_path"), adapter_card.LONGEST_PATH),
            base_identity=card.get("base_identity", ""),
            dataset=dataset.get("name", ""),
            dataset_path=dataset.get("path", ""),
            created_at=card.get("created_at", path.stat().st_mtime),
            size=sum(file.stat().st_size for file in (path / "final").glob("*") if file.is_file()) if complete else 0,
            rank=rank if type(rank) is int else None,
            loss=figures.get("loss"),
            eval_loss=figures.get("eval_loss"),
            figures=figures,
            run=card.get("run", ""),
            config=card.get("config", {}),
            notes=card.get("notes", ""),
            tags=tuple(card.get("tags", [])),
            dataset_fingerprint=dataset.get("fingerprint", ""),
        )


def _is_complete(path: Path) -> bool:
    final = path / "final"
    return is_real_dir(final) and all((final / name).is_file() for name in FILES)
