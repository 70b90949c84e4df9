"""Which checkpoints count: those whose `.complete` mark stands, written last and durable.

The mark holds the name and size of every file and the fingerprint of the dataset, so a
checkpoint that a crash or a full disk left half-written is never resumed from.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from engines import statefiles

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
