"""Several datasets made one, by a script that checks each row: the engine call behind `ftui data merge`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from engines.contract.errors import UserError
from engines.data.datasets import Datasets
from engines.running.questions import OnProgress, ask_script
from engines.workspace import name_from


def ignore(done: int, total: int) -> None:
    """No progress is wanted."""


def merge(registry: Datasets, names: list[str], name: str, on_progress: OnProgress = ignore) -> dict[str, Any]:
    """Make one dataset of several, with a report and a split. Equal rows stay: filters are for preparing.

    names: datasets of the workspace, or files whose rows are those of a dataset. Returns the report. Raises UserError.
    """
    target = registry.path(name)
    if target.exists():
        raise UserError("conflict", f"there is a dataset {name} already", "Choose another name, or delete that one.")
    datasets = {dataset.path: dataset for dataset in map(registry.get, names)}
    if len(datasets) < 2:
        raise UserError("usage", "at least two different datasets are merged", "Name two or more.")
    arguments = [str(target), "--home", str(registry.workspace.home)]
    taken: set[str] = set()
    for path, dataset in datasets.items():
        key = _free(name_from(dataset.name), taken)
        taken.add(key)
        arguments += ["--dataset", f"{key}={path}"]
    return ask_script(Path(sys.executable), "finetune.merge_datasets", arguments, on_progress=on_progress)


def _free(name: str, taken: set[str]) -> str:
    """`name`, or what tells it from the same name of another file."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free
