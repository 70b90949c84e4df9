"""The datasets of a workspace: which there are, what is in them, a look at their dialogs.

finetune/datasets/{name}_dataset.jsonl          rows of {"messages": [...], "conversation": "…"}
finetune/datasets/{name}_dataset.report.json    how it was made: counted, dropped, repaired
finetune/datasets/{name}_dataset_train.jsonl    its two parts, if it was prepared with a split
finetune/datasets/{name}_dataset_eval.jsonl
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.dataset_files import (
    COMPANIONS,
    companion,
    copy_from_trash,
    copy_to_trash,
    remove_companions,
    remove_from_trash,
    report_path,
)
from engines.contract.errors import UserError
from engines.workspace import Workspace, check_name, numbered

SUFFIX = "_dataset.jsonl"


@dataclass(frozen=True)
class Dataset:
    """One dataset. `report` is what its preparation counted; empty for one that came from elsewhere."""

    name: str
    path: Path
    size: int
    modified_at: float
    report: dict[str, Any]

    @property
    def dialogs(self) -> int | None:
        """Rows, as far as its preparation has counted them."""
        written = self.report.get("rows", {}).get("written", self.report.get("dialogs"))
        return None if written is None else int(written)

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "path": str(self.path)}


class Datasets:
    """The registry of a workspace's datasets."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace

    def path(self, name: str) -> Path:
        return self.workspace.datasets / f"{check_name(name, 'a dataset')}{SUFFIX}"

    def target(self, name: str, output: Path | str | None) -> Path:
        """Where a new dataset goes: exactly to `output`, else into the workspace. Raises UserError."""
        if output is None:
            return self.path(name)
        target = Path(output).expanduser().absolute()
        if not target.parent.is_dir():
            raise UserError("not_found", f"there is no folder {target.parent}", "Make it first.")
        return target

    def list(self) -> list[Dataset]:
        """Newest first."""
        files = [file for file in self.workspace.datasets.glob(f"*{SUFFIX}") if file.is_file()]
        found = [self._read(file) for file in files]
        return sorted(found, key=lambda dataset: -dataset.modified_at)

    def get(self, name: str) -> Dataset:
        """By name, or by the path of a file outside the workspace. Raises UserError if there is none."""
        outside = _file_called(name)
        return self._read(outside.resolve()) if outside is not None else self.named(name)

    def named(self, name: str) -> Dataset:
        """The dataset of the workspace, by its name alone. Raises UserError, also for the path of somebody's file."""
        if _file_called(name) is not None:
            cause = f"{name} is a file, not the name of a dataset in the workspace"
            raise UserError("usage", cause, "Give a name that `ftui data list` shows; a file of your own stays yours.")
        file = self.path(name.removesuffix(SUFFIX))
        if not file.is_file():
            names = ", ".join(dataset.name for dataset in self.list()[:10]) or "none yet"
            raise UserError(
                "not_found", f"there is no dataset {name}", f"There are: {names}. Make one: `ftui llm prepare FILE`."
            )
        return self._read(file)

    def _read(self, file: Path) -> Dataset:
        status = file.stat()
        report = statefiles.read_json(report_path(file), {})
        return Dataset(
            file.name.removesuffix(SUFFIX).removesuffix(".jsonl"), file, status.st_size, status.st_mtime, report
        )

    def preview(self, dataset: Dataset, first: int = 0, count: int = 20) -> Sequence[Sequence[dict[str, Any]]]:
        """The messages of up to `count` dialogs from row `first` on, or the text of a row without dialog as one.

        An answer that is not learned has `weight` 0. Rows that cannot be read are left out.
        """
        dialogs = []
        with open(dataset.path, encoding="utf-8", errors="replace") as file:
            for line in islice(file, first, first + count):
                try:
                    row = json.loads(line)
                    messages = row.get("messages") or [{"role": "text", "content": row["text"]}]
                    dialogs.append([_turn(message) for message in messages])
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    continue
        return dialogs

    def count_rows(self, dataset: Dataset) -> int:
        """Rows of the file; from the report if it fits, else counted."""
        if dataset.dialogs is not None:
            return dataset.dialogs
        with open(dataset.path, "rb") as file:
            return sum(1 for line in file if line.strip())

    def delete(self, name: str) -> Path:
        """Move a dataset and what lies beside it to the trash. Returns where it went, for `restore`."""
        dataset = self.named(name)
        trashed = copy_to_trash(dataset.path, self.workspace.home)
        remove_companions(dataset.path)
        dataset.path.unlink()
        statefiles.sync_dir(dataset.path.parent)
        return trashed

    def restore(self, trashed: Path) -> Dataset:
        """Bring back what was deleted or replaced; a dataset that has its name now goes to the trash for it.

        Raises UserError for what is not in the trash.
        """
        target = self.workspace.origin(trashed)
        if target.exists():
            copy_to_trash(target, self.workspace.home)
        copy_from_trash(trashed, target)
        remove_from_trash(trashed)
        return self._read(target)

    def free_name(self, wanted: str, source: str) -> str:
        """`wanted`, or with a number behind it where a dataset of another source has that name. source: of a report."""
        for name in numbered(wanted):
            if not self.path(name).exists():
                break
            report = statefiles.read_object(report_path(self.path(name)))
            if report.get("source_path", report.get("source")) in (source, Path(source).name):
                break
        return name

    def rename(self, name: str, new_name: str) -> Dataset:
        """Raises UserError if the new name is taken."""
        dataset, target = self.named(name), self.path(new_name)
        if target.exists():
            raise UserError("conflict", f"there is a dataset {new_name} already", "Choose another name.")
        for ending in COMPANIONS:
            if companion(dataset.path, ending).is_file():
                os.rename(companion(dataset.path, ending), companion(target, ending))
        os.rename(dataset.path, target)
        return self._read(target)


def _turn(message: dict[str, Any]) -> dict[str, Any]:
    turn = {"role": str(message["role"]), "content": str(message["content"])}
    return turn if message.get("weight", 1) else {**turn, "weight": 0}


def _file_called(name: str) -> Path | None:
    """The dataset file that `name` is the path of, if it is one."""
    file = Path(name).expanduser()
    return file if file.suffix == ".jsonl" and file.is_file() else None
