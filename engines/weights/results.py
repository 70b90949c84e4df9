"""Names and places of what trainings make: an adapter, or a model whose weights were all trained."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from engines.config.train import TrainConfig
from engines.contract.errors import UserError
from engines.running.runs import Runs
from engines.weights.adapters import Adapters
from engines.weights.models import Models
from engines.workspace import check_name, name_from, numbered


@dataclass(frozen=True)
class Results:
    runs: Runs
    models: Models
    adapters: Adapters

    def place(self, config: TrainConfig, name: str | None, dataset: str) -> Path:
        """Where a result will lie. name: that asked for; None: one after the dataset and the time that is free.

        Raises UserError for a name that is taken, also by a training that has not ended.
        """
        if name is None:
            name = self.free_name(f"{name_from(dataset)}-{time.strftime('%Y%m%d-%H%M')}", config)
        folder = self._folder(config)
        check_name(name, "a model" if config.method == "full" else "an adapter")
        if (folder / name).exists():
            raise UserError("conflict", f"there is {folder / name} already", "Choose another name, or delete that one.")
        if name in self._being_made():
            raise UserError("conflict", f"a run is training {name} already", "Choose another name.")
        return folder / name

    def free_name(self, wanted: str, config: TrainConfig) -> str:
        """`wanted`, with a number behind it if there is such a result, or soon will be."""
        taken, folder = self._being_made(), self._folder(config)
        return next(name for name in numbered(wanted) if name not in taken and not (folder / name).exists())

    def _folder(self, config: TrainConfig) -> Path:
        return self.models.folder if config.method == "full" else self.adapters.folder

    def _being_made(self) -> set[str]:
        """What the trainings that run or wait will be called."""
        return {str(run.spec.get("adapter")) for run in self.runs.list("train") if run.status().active}
