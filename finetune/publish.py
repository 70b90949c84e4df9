"""Putting a finished dataset in its place, with its report and its parts.

They are several files, and no rename puts all of them in place at once. So what belongs to
an older dataset goes first: a crash at any moment leaves a dataset that may lack its report
or its parts, and never one with those of another.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from finetune.row_file import RowFile
from finetune.split_files import part_paths


def report_path(dataset: Path) -> Path:
    return dataset.with_name(f"{dataset.stem}.report.json")


def publish(rows: RowFile, report: dict[str, Any], parts: Iterable[tuple[Path, Path]] = ()) -> None:
    """Make everything durable under its name. parts: (temporary file, place) of each."""
    rows.make_durable()
    place = report_path(rows.path)
    written = rows.temporary.with_suffix(".report")
    try:
        statefiles.write_json(written, report)
        for old in (*part_paths(rows.path), place):
            old.unlink(missing_ok=True)
        statefiles.sync_dir(place.parent)
        rows.finish()
        os.rename(written, place)
        for temporary, part in parts:
            os.rename(temporary, part)
        statefiles.sync_dir(place.parent)
    finally:
        written.unlink(missing_ok=True)
