"""What a preparation leaves behind that is killed: private temporary files, which the next one in the folder removes.

.x.jsonl.4711.tmp           rows of the process 4711, which holds a lock on the file
.x.jsonl.4711.tmp.report    what belongs to them
.x.jsonl.4711.inputs/       what it has unpacked or fetched
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from engines.contract import statefiles

_TEMPORARY = re.compile(r"\.(?P<output>.+)\.(?P<process>\d+)\.(?:tmp|inputs)(?:\.[\w.-]+)?")


def remove_leftovers(output: Path) -> None:
    """Remove those of `output`, and those of other datasets in its folder, of which the process is gone."""
    for path in output.parent.glob(".*"):
        found = _TEMPORARY.fullmatch(path.name)
        if not found or not (found["output"] == output.name or found["output"].endswith(".jsonl")):
            continue
        rows = path.with_name(f".{found['output']}.{found['process']}.tmp")
        if _is_alive(int(found["process"])) or _is_locked(rows):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _is_locked(rows: Path) -> bool:
    """Perhaps by a process of another container, whose number says nothing here."""
    try:
        return statefiles.is_locked(rows)
    except OSError:  # somebody else's
        return True
