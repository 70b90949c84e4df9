"""The files that a dataset is: its rows, and what lies beside them; and their way into the trash and back.

x.jsonl             the rows
x.report.json       how they were made
x_train.jsonl       the two parts of a split
x_eval.jsonl

No rename moves several files at once. So what goes into the trash is there whole before
anything of it is gone from its place, and the other way round: a crash at any moment leaves
something twice, perhaps, and nothing lost.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from engines.contract import statefiles

REPORT = ".report.json"
PARTS = ("_train.jsonl", "_eval.jsonl")
COMPANIONS = (REPORT, *PARTS)  # what lies beside a dataset, after its stem


def report_path(dataset: Path) -> Path:
    return companion(dataset, REPORT)


def part_paths(dataset: Path) -> tuple[Path, Path]:
    """(training, held out)."""
    return companion(dataset, PARTS[0]), companion(dataset, PARTS[1])


def companion(dataset: Path, ending: str) -> Path:
    return dataset.with_name(f"{dataset.stem}{ending}")


def remove_companions(dataset: Path) -> None:
    for ending in COMPANIONS:
        companion(dataset, ending).unlink(missing_ok=True)


def copy_to_trash(dataset: Path, home: Path) -> Path:
    """Lay a dataset of the workspace `home` into its trash, too, without moving it. Returns where it is there."""
    trash = statefiles.make_private_dir(home / "trash")
    copy = trash / f"dataset-{time.time_ns()}-{dataset.name}"
    for ending in COMPANIONS:
        if companion(dataset, ending).is_file():
            _copy(companion(dataset, ending), _trashed(copy, ending))
    statefiles.write_json(_trashed(copy, ".json"), {"was": str(dataset.relative_to(home))})
    _copy(dataset, copy)  # last: by it the others are found
    statefiles.sync_dir(trash)
    return copy


def copy_from_trash(trashed: Path, dataset: Path) -> None:
    """Put a trashed dataset in the place of whatever is at `dataset`, which is gone then."""
    remove_companions(dataset)
    for ending in ("", *COMPANIONS):
        source, target = _trashed(trashed, ending), companion(dataset, ending) if ending else dataset
        if source.is_file():
            partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
            _copy(source, partial)
            os.rename(partial, target)
    statefiles.sync_dir(dataset.parent)


def remove_from_trash(trashed: Path) -> None:
    for ending in ("", *COMPANIONS, ".json"):
        _trashed(trashed, ending).unlink(missing_ok=True)


def _trashed(trashed: Path, ending: str) -> Path:
    return trashed.with_name(f"{trashed.name}{ending}")


def _copy(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy of it where the disk knows no such thing."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        with open(source, "rb") as whole, statefiles.open_private(target) as copy:
            shutil.copyfileobj(whole, copy)
            copy.flush()
            os.fsync(copy.fileno())
