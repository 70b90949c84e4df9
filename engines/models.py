"""Base models: which are on this machine, and where a name leads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.config import DEFAULT_GPU_MODEL, EMBEDDED_FOLDER, EMBEDDED_MODEL
from engines.errors import UserError
from engines.workspace import Workspace, is_real_dir


@dataclass(frozen=True)
class BaseModel:
    """A base model on disk. `size` in bytes."""

    name: str
    path: Path
    size: int


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
        folders = [entry for entry in self.workspace.models.iterdir() if is_real_dir(entry) and entry.name[0] != "."]
        return [
            BaseModel(folder.name, folder, sum(file.stat().st_size for file in folder.iterdir() if file.is_file()))
            for folder in sorted(folders)
        ]

    def resolve(self, wanted: str, device: str) -> str:
        """The path or hub name that a script loads for `wanted` (auto, embedded, a path, a name).

        Raises UserError for a local path that cannot be a model. The embedded model's path
        is returned even while it is missing: the scripts make it.
        """
        if wanted == "auto":
            wanted = DEFAULT_GPU_MODEL if device.startswith("cuda") else EMBEDDED_MODEL
        if wanted == EMBEDDED_MODEL:
            return str(self.embedded)
        in_workspace = self.workspace.models / Path(wanted).name
        if "/" not in wanted and is_real_dir(in_workspace):
            return str(in_workspace)
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
