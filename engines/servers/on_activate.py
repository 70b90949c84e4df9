"""The user's command that is run after each activation. No shell reads it; it finds the adapter in its environment."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engines.contract.errors import UserError
from engines.running.runs import PRIVACY
from engines.weights.adapters import Adapter

SECONDS = 120.0
LONGEST_SAID = 200  # characters of its last line


def check(argv: Sequence[str], home: Path) -> None:
    """Raises UserError for a program that is not there, as seen from the workspace, where it runs."""
    program = argv[0]
    found = shutil.which(str(home / program) if "/" in program else program)
    if found is None:
        raise UserError("not_found", f"there is no program {program[:200]}", "Name one that can be run, or its path.")


def run(argv: Sequence[str], home: Path, adapter: Adapter | None) -> tuple[bool, str]:
    """(did it succeed, its last words). Waits for the program alone, not for what that leaves running.

    After SECONDS, and where this is interrupted, it is ended with all that it has started.
    """
    known = {
        "FTUI_ADAPTER": adapter.name if adapter else "",
        "FTUI_ADAPTER_PATH": str(adapter.final) if adapter else "",
        "FTUI_BASE_MODEL": adapter.base_model if adapter else "",
    }
    with tempfile.TemporaryFile() as output:
        try:
            child = subprocess.Popen(
                argv, env={**os.environ, **PRIVACY, **known}, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, cwd=home, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            return False, str(error)[:LONGEST_SAID]
        try:
            code = child.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return False, f"it took more than {SECONDS:.0f} s and was ended"
        finally:
            if child.returncode is None:
                _end(child)
        output.seek(max(0, output.seek(0, os.SEEK_END) - 10_000))
        last = output.read().decode("utf-8", "replace").strip().rpartition("\n")[2][:LONGEST_SAID]
    return code == 0, "done" if code == 0 else f"exit code {code}: {last}".removesuffix(": ")


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
