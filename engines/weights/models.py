"""Base models: which are on this machine, and where a name leads."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.config.families import Family, family_of, model_type_of
from engines.config.train import DEFAULT_GPU_MODEL, EMBEDDED_FOLDER, EMBEDDED_MODEL
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.weights import tensor_files
from engines.weights.known_models import KNOWN
from engines.workspace import Workspace, check_name, is_real_dir


@dataclass(frozen=True)
class BaseModel:
    """A base model on disk.

    size: bytes of all files; dtype: of most of the weights, e.g. BF16; parameters: their number; kind: its
    model_type; what cannot be read is empty or 0. from_hub: it lies in the hub's cache, under its name there.
    """

    name: str
    path: Path
    size: int
    dtype: str = ""
    parameters: int = 0
    kind: str = ""
    from_hub: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "path": str(self.path)}


class Models:
    """The base models of a workspace."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace

    @property
    def folder(self) -> Path:
        return self.workspace.models

    @property
    def embedded(self) -> Path:
        return self.workspace.models / EMBEDDED_FOLDER

    def embedded_is_ready(self) -> bool:
        return (self.embedded / "config.json").is_file()

    def list(self) -> list[BaseModel]:
        """Those of the workspace, then those in the hub's cache."""
        folders = [entry for entry in self.folder.iterdir() if is_real_dir(entry) and entry.name[0] != "."]
        own = [_read(folder.name, folder) for folder in sorted(folders)]
        return own + [_read(name, folder, from_hub=True) for name, folder in sorted(_cached())]

    def delete(self, name: str) -> Path:
        """Move a model of the workspace to the trash. Raises UserError for any other."""
        path = self.folder / check_name(name, "a model")
        if not is_real_dir(path):
            raise UserError("not_found", f"there is no model {name} in the workspace", "See `ftui models list`.")
        return self.workspace.move_to_trash(path, "model")

    def folder_of(self, model: str) -> Path | None:
        """Where the files of a model lie that `resolve` has named; None for a single file, and for one not here."""
        return Path(model) if Path(model).is_dir() else dict(_cached()).get(model)

    def family(self, model: str) -> Family:
        """What a model as `resolve` names it needs: by its files, or by its name if it has to be fetched."""
        folder = self.folder_of(model)
        if folder is not None:
            return family_of(model_type_of(str(folder)))
        return family_of(next((known.model_type for known in KNOWN if known.name == model), ""))

    def resolve(self, wanted: str, device: str) -> str:
        """The path or hub name that a script loads for `wanted` (auto, embedded, a path, a name).

        Raises UserError for a local path that cannot be a model. The embedded model's path
        is returned even while it is missing: the scripts make it.
        """
        if wanted == "auto":
            wanted = DEFAULT_GPU_MODEL if device.startswith("cuda") else EMBEDDED_MODEL
        if wanted == EMBEDDED_MODEL:
            return str(self.embedded)
        if self._is_ours(wanted):
            return str(self.folder / wanted)
        path = Path(wanted).expanduser()
        if path.is_dir():
            if not any(path.glob("*.safetensors")):
                raise UserError(
                    "bad_input",
                    f"the model folder {path} has no weights (*.safetensors)",
                    "Download it again, or choose another folder.",
                )
            return str(path.resolve())
        if path.is_file():
            if path.suffix.lower() != ".gguf":
                raise UserError("bad_input", f"{path} is not a model", "Name a folder, a .gguf file or a hub name.")
            return str(path.resolve())
        if wanted.startswith(("/", ".", "~")) or wanted.count("/") != 1:
            raise UserError(
                "not_found",
                f"there is no base model {wanted}",
                "Use embedded, a folder with *.safetensors, a .gguf file or a hub name such as owner/name.",
            )
        return wanted

    def from_here(self, wanted: str) -> str:
        """`wanted` for a run, which works in another folder: a path that is relative to this one becomes whole."""
        path = Path(wanted).expanduser()
        is_name = wanted in ("auto", EMBEDDED_MODEL) or self._is_ours(wanted) or not path.exists()
        return wanted if is_name else str(path.absolute())

    def _is_ours(self, wanted: str) -> bool:
        """Is it the name of a model of the workspace?"""
        return "/" not in wanted and not wanted.startswith(".") and is_real_dir(self.folder / wanted)


def _read(name: str, folder: Path, *, from_hub: bool = False) -> BaseModel:
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    by_dtype: Counter[str] = Counter()
    try:
        for tensor in tensor_files.read_model(folder).values():
            by_dtype[tensor.dtype] += math.prod(tensor.shape)
    except (UserError, OSError):
        pass
    dtype = by_dtype.most_common(1)[0][0] if by_dtype else ""
    return BaseModel(name, folder, size, dtype, by_dtype.total(), model_type_of(str(folder)), from_hub)


def _cached() -> Iterator[tuple[str, Path]]:
    """(owner/name, newest snapshot) of all causal language models in the hub's cache."""
    home = (
        os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface"
    )
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    for folder in cache.glob("models--*--*"):
        snapshots = [entry for entry in folder.glob("snapshots/*") if any(entry.glob("*.safetensors"))]
        newest = max(snapshots, key=lambda entry: entry.stat().st_mtime, default=None)
        if newest is not None and _is_language_model(newest):
            yield folder.name.removeprefix("models--").replace("--", "/", 1), newest


def _is_language_model(folder: Path) -> bool:
    names = statefiles.read_object(folder / "config.json").get("architectures") or [""]
    return str(names[0]).endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel"))
