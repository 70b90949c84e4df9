"""Which checkpoints count: those whose `.complete` mark stands, written last and durable.

The mark holds the name and size of every file and the fingerprint of the dataset, so a
checkpoint that a crash or a full disk left half-written is never resumed from.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError

MARK = ".complete"


def step_of(folder: Path) -> int:
    """The step of `checkpoint-N`, or -1 for any other name."""
    prefix, _, number = folder.name.rpartition("-")
    return int(number) if prefix == "checkpoint" and number.isdigit() else -1


def is_disk_full(error: BaseException) -> bool:
    """Whatever library says it, and however."""
    return "No space left on device" in str(error) or getattr(error, "errno", None) in statefiles.DISK_FULL


def mark_complete(folder: Path, **details: Any) -> None:
    """Make every file of a checkpoint durable, then set its mark. Raises OSError on a full disk."""
    sizes = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != MARK:
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
            sizes[file.name] = file.stat().st_size
    statefiles.sync_dir(folder)
    statefiles.write_json(folder / MARK, {"files": sizes, **details})


def read_mark(folder: Path) -> dict[str, Any] | None:
    """The mark of a complete checkpoint, or None if the folder is not one."""
    mark = statefiles.read_json(folder / MARK)
    if mark is None:
        return None
    whole = all(
        (folder / name).is_file() and (folder / name).stat().st_size == size for name, size in mark["files"].items()
    )
    return mark if whole else None


def newest_complete(folder: Path) -> Path | None:
    """The complete checkpoint with the highest step below `folder`."""
    if not folder.is_dir():
        return None
    found = [entry for entry in folder.iterdir() if step_of(entry) >= 0 and read_mark(entry) is not None]
    return max(found, key=step_of, default=None)


def to_resume(
    folder: Path,
    data: str,
    *,
    what: str = "the dataset",
    remedy: str = "Start a new run, or put the old dataset back.",
) -> Path | None:
    """The checkpoint to go on from. Raises UserError if it belongs to other data than the fingerprint `data`.

    what: the fingerprint is of; remedy: the next step.
    """
    newest = newest_complete(folder)
    mark = read_mark(newest) if newest else None
    if mark is not None and mark.get("data") != data:
        raise UserError("conflict", f"{what} has changed since this run's last checkpoint", remedy)
    return newest


def keep_best(folder: Path, count: int) -> None:
    """Delete all complete checkpoints but the newest and the `count` of the lowest held-out loss.

    A checkpoint without an evaluation counts as worse than any with one, the older the worse.
    """
    marks = {entry: read_mark(entry) for entry in folder.iterdir() if step_of(entry) >= 0}
    complete = [entry for entry, mark in marks.items() if mark is not None]
    by_loss = sorted(complete, key=lambda entry: (_loss(marks[entry]), -step_of(entry)))
    kept = {*by_loss[:count], max(complete, key=step_of, default=None)}
    for entry in complete:
        if entry not in kept:
            (entry / MARK).unlink(missing_ok=True)
            shutil.rmtree(entry, ignore_errors=True)


def best(folder: Path) -> tuple[Path, float] | None:
    """The complete checkpoint of the lowest held-out loss, and that loss; None if none was evaluated."""
    marks = {entry: read_mark(entry) for entry in folder.iterdir() if step_of(entry) >= 0}
    found = [(entry, _loss(mark)) for entry, mark in marks.items() if mark is not None and _loss(mark) < math.inf]
    return min(found, key=lambda item: item[1], default=None)


def _loss(mark: dict[str, Any] | None) -> float:
    loss = (mark or {}).get("eval_loss")
    return loss if isinstance(loss, int | float) and math.isfinite(loss) else math.inf
