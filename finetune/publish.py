"""Putting a finished dataset in its place, with its report and its parts, and what it replaces out of the way.

They are several files, and no rename puts all of them in place at once. So what belongs to
an older dataset goes first: a crash at any moment leaves a dataset that may lack its report
or its parts, and never one with those of another. In a workspace the older one is in the
trash before anything of it is touched. Elsewhere only what a report shows to be made by us
is replaced; everything else is somebody's own file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.dataset_files import copy_to_trash, part_paths, remove_companions, report_path
from engines.contract.errors import UserError
from finetune.row_file import RowFile

BLOCK = 1 << 20


def publish(
    rows: RowFile, report: dict[str, Any], parts: Iterable[tuple[Path, Path]] = (), home: Path | None = None
) -> Path | None:
    """Make everything durable under its name. parts: (temporary file, place) of each; home: the workspace it is for.

    Returns where in the trash the dataset is that was there before. Raises UserError as `check_place`.
    """
    rows.make_durable()
    parts = list(parts)
    place = report_path(rows.path)
    written = rows.beside(".report")
    try:
        statefiles.write_json(written, report)
        replaced = None
        if home is not None:
            replaced = copy_to_trash(rows.path, home) if rows.path.exists() else None
            remove_companions(rows.path)
        else:
            for old in check_place(rows.path, has_parts=bool(parts)) - {rows.path}:
                old.unlink(missing_ok=True)
        statefiles.sync_dir(place.parent)
        rows.finish()
        os.rename(written, place)
        for temporary, part in parts:
            os.rename(temporary, part)
        statefiles.sync_dir(place.parent)
    finally:
        written.unlink(missing_ok=True)
    return replaced


def check_place(dataset: Path, *, has_parts: bool) -> set[Path]:
    """The files at and beside `dataset` that a former preparation has made, so that they can be replaced.

    Raises UserError (conflict) if a file would have to be replaced that is somebody else's.
    """
    ours = made_by_us(dataset)
    needed = [dataset, report_path(dataset), *(part_paths(dataset) if has_parts else ())]
    foreign = [path for path in needed if path.exists() and path not in ours]
    if foreign:
        raise UserError(
            "conflict",
            f"{foreign[0]} exists, and was made by no preparation or edited since",
            "Name another file with --output, or delete that one.",
        )
    return ours


def made_by_us(dataset: Path) -> set[Path]:
    """Those of a dataset's files that are surely what a former preparation has made: its report tells by a hash.

    A report alone tells of nothing that is still there.
    """
    report = statefiles.read_object(report_path(dataset))
    digest = report.get("output_sha256")
    if not digest:
        return set()
    if not dataset.exists():
        return {report_path(dataset)}
    if digest != _sha256(dataset):
        return set()
    return {dataset, report_path(dataset), *(part_paths(dataset) if report.get("split") else ())}


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()
