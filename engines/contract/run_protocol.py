"""A script's side of a supervised run: is a stop wanted, the last word, and errors as events.

Under a supervisor FTUI_RUN_DIR and FTUI_ATTEMPT are set; without one every function
here still works, so that a script can be run by hand.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit, protect_output


def run_dir() -> Path | None:
    folder = os.environ.get("FTUI_RUN_DIR")
    return Path(folder) if folder else None


def stop_requested() -> bool:
    """Has somebody asked this run to stop? One system call."""
    folder = run_dir()
    return folder is not None and (folder / "stop.json").exists()


def write_result(state: str, **figures: Any) -> None:
    """The script's last word: `state` is done or stopped. Also printed as a result event.

    Never raises on a full disk: then the exit code 0 alone speaks for the script.
    """
    emit("result", state=state, **figures)
    folder = run_dir()
    if folder is not None:
        word = {"attempt": int(os.environ.get("FTUI_ATTEMPT", "1")), "state": state, **figures}
        try:
            statefiles.write_json(folder / "result.json", word, folder / "reserve")
        except OSError as error:
            if error.errno not in statefiles.DISK_FULL:
                raise


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main`; a UserError becomes an error event and its exit code."""
    protect_output()
    try:
        main()
    except UserError as error:
        emit("error", code=error.code, cause=error.cause, next_step=error.next_step)
        sys.exit(error.exit_code)
